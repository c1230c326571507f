"""Token after token from a steered language model: several rows side by side, each with a dose of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sae.language_model import LanguageModel
from sae.language_model.norms import close
from sae.steering.errors import SteeringError
from sae.steering.hooks import Changes, Scope, steered
from sae.steering.plan import SteeringPlan

PASS_TOKENS = (
    128  # of each row in one pass; not of all rows, so that an answer does not depend on how many are beside it
)
_CACHED: WeakKeyDictionary[LanguageModel, bool] = WeakKeyDictionary()  # whether keys and values can be kept


class Prompt(NamedTuple):
    """Token ids of a prompt, and which of them are special tokens."""

    ids: list[int]
    special: list[bool]


class Decoder:
    """Rows that begin with one prompt, and maybe an answer. Row i is steered with `doses[i]` times the change; 0: unsteered.

    Keys and values of earlier tokens are kept where that gives what whole passes give, which is tried once for each model;
    elsewhere each token costs a whole pass.
    """

    def __init__(
        self, lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, doses: Sequence[float], answer: Sequence[int] = ()
    ) -> None:
        if not prompt.ids:
            raise SteeringError("the prompt has no tokens: give some text")
        self._lm, self._plan, self._prompt = lm, plan, prompt
        self._doses = torch.tensor(list(doses), dtype=torch.float32)
        self.tokens = torch.tensor([[*prompt.ids, *answer]]).repeat(len(doses), 1)
        self.changes = Changes(len(doses))
        self._ended = torch.zeros(len(doses), dtype=torch.bool)
        self._cache: Any = None
        self._seen = 0  # tokens that the model has read and keeps

    def read(self, last: int = 1) -> Iterator[Tensor | None]:
        """Reads the tokens that were not read yet; gives logits [B, last, V] behind the last ones.

        Long texts are read PASS_TOKENS at a time, if the model keeps what it has read: None comes after each pass but the last,
        so that others can use the model then.
        """
        kept, stop = keeps_cache(self._lm), self.tokens.shape[1]
        start = self._seen if kept else 0
        found: list[Tensor] = []
        for first in range(start, stop, PASS_TOKENS if kept else stop):
            end = min(first + PASS_TOKENS, stop) if kept else stop
            wanted = end - max(first, stop - last)
            logits = self._forward(self.tokens[:, first:end], first, kept, max(1, wanted))
            if wanted > 0:
                found.append(logits)
            if end < stop:
                yield None
        yield torch.cat(found, 1)

    def logits(self) -> Tensor:
        """Logits [B, V] of the next token, fp32, all passes at once."""
        *_, found = self.read()
        assert found is not None
        return found[:, -1].float().cpu()

    def append(self, tokens: Sequence[int]) -> None:
        """The next token of each row."""
        self.tokens = torch.cat([self.tokens, torch.tensor([list(tokens)]).T], dim=1)

    def end(self, row: int) -> None:
        """The answer of a row has ended: what is changed at its last token and after it no longer counts."""
        self._ended[row] = True

    @torch.inference_mode()
    def _forward(self, ids: Tensor, start: int, keep: bool, count: int) -> Tensor:
        """Logits [B, count, V] of the last of the tokens `ids` [B, L], which begin at position `start`."""
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
            out, logits = last_logits(self._lm, inputs, count)
        if keep:
            self._cache, self._seen = out.past_key_values, start + ids.shape[1]
            fresh.positions += self.changes.positions
            fresh.relative += self.changes.relative
        # A pass whose output is not finite changed nothing that an answer comes from.
        skipped = self._ended | ~torch.isfinite(logits).all(-1).all(-1).cpu()
        self.changes.positions = torch.where(skipped, self.changes.positions, fresh.positions)
        self.changes.relative = torch.where(skipped, self.changes.relative, fresh.relative)
        return logits


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
