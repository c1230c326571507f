"""Token after token from a steered language model: several rows side by side, each with a dose of its own."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sae.language_model import LanguageModel
from sae.language_model.norms import close
from sae.steering.errors import SteeringError
from sae.steering.hooks import Changes, Scope, steered
from sae.steering.plan import SteeringPlan

_CACHED: WeakKeyDictionary[LanguageModel, bool] = WeakKeyDictionary()  # whether keys and values can be kept


class Prompt(NamedTuple):
    """Token ids of a prompt, and which of them are special tokens."""

    ids: list[int]
    special: list[bool]


class Decoder:
    """Rows that begin with one prompt. Row i is steered with `doses[i]` times the change; 0 leaves it unsteered.

    Keys and values of earlier tokens are kept where that gives what whole passes give, which is tried once for each model;
    elsewhere each token costs a whole pass.
    """

    def __init__(self, lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, doses: Sequence[float]) -> None:
        if not prompt.ids:
            raise SteeringError("the prompt has no tokens: give some text")
        self._lm, self._plan, self._prompt = lm, plan, prompt
        self._doses = torch.tensor(list(doses), dtype=torch.float32)
        self.tokens = torch.tensor([prompt.ids]).repeat(len(doses), 1)
        self.changes = Changes(len(doses))
        self._ended = torch.zeros(len(doses), dtype=torch.bool)
        self._cache: Any = None
        self._seen = 0  # tokens that the model has read and keeps

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """Logits [B, V] of the next token, fp32. Raises SteeringError for values that are not finite."""
        kept = keeps_cache(self._lm)
        start = self._seen if kept else 0
        logits = self._forward(self.tokens[:, start:], start, kept)
        if not bool(torch.isfinite(logits).all()):
            row = int((~torch.isfinite(logits)).any(1).nonzero()[0, 0])
            strong = float(self._doses[row]) != 0
            raise SteeringError(
                f"the model's output is not finite after {self.tokens.shape[1]} tokens"
                + (
                    ": the change is too strong, use a smaller value"
                    if strong
                    else ", without any change: use a wider dtype"
                )
            )
        return logits

    def append(self, tokens: Sequence[int]) -> None:
        """The next token of each row."""
        self.tokens = torch.cat([self.tokens, torch.tensor([list(tokens)]).T], dim=1)

    def end(self, row: int) -> None:
        """The answer of a row has ended: what is changed at its last token and after it no longer counts."""
        self._ended[row] = True

    def _forward(self, ids: Tensor, start: int, keep: bool) -> Tensor:
        positions = torch.arange(start, start + ids.shape[1])
        prompt = len(self._prompt.ids)
        special = torch.tensor([p < prompt and self._prompt.special[p] for p in positions.tolist()])
        scope = Scope(positions, special, prompt, self._doses)
        self._lm.check_context(start + ids.shape[1])
        inputs: dict[str, Any] = {"input_ids": ids.to(self._lm.device), "use_cache": keep}
        if keep and self._cache is not None:
            inputs["past_key_values"] = self._cache
        fresh = Changes(len(self._doses))
        with steered(self._lm, self._plan, scope, fresh):
            out, logits = last_logits(self._lm, inputs, 1)
        if keep:
            self._cache, self._seen = out.past_key_values, start + ids.shape[1]
            fresh.positions += self.changes.positions
            fresh.relative += self.changes.relative
        self.changes.positions = torch.where(self._ended, self.changes.positions, fresh.positions)
        self.changes.relative = torch.where(self._ended, self.changes.relative, fresh.relative)
        return logits[:, -1].float().cpu()


def last_logits(lm: LanguageModel, inputs: dict[str, Any], count: int) -> tuple[Any, Tensor]:
    """The model's output, and logits [B, count, V] of the last positions.

    Those of the others are not computed if the model can leave them out: for a long prompt they are gigabytes.
    """
    fewer = {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(lm._model.forward).parameters else {}
    out = lm._model(**inputs, **fewer)
    return out, out.logits[:, -count:]


@torch.inference_mode()
def keeps_cache(lm: LanguageModel) -> bool:
    """Whether tokens one by one, with keys and values kept, give the logits of a whole pass."""
    if lm not in _CACHED:
        _CACHED[lm] = _tries_cache(lm)
    return _CACHED[lm]


def _tries_cache(lm: LanguageModel) -> bool:
    ids = lm._probe_rows[:1]
    whole = lm.logits(ids)[0]
    try:
        with lm._lock:
            out = lm._model(input_ids=ids[:, :-2], use_cache=True)
            parts = [out.logits[0]]
            for at in (-2, -1):
                one = ids[:, at:][:, :1]
                out = lm._model(input_ids=one, past_key_values=out.past_key_values, use_cache=True)
                parts.append(out.logits[0])
        return close(torch.cat(parts), whole)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 (a model without such a cache fails in its own code)
        return False
