"""Language models and SAEs in memory, for questions about short texts. Knows no Ray: interactive.py serves it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cachetools import LRUCache

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.sae_origin import SaeOrigin, sae_origin
from configs.steering import SteeringRequest
from sae.formats.sae_folder import Sae, load_sae
from sae.language_model import LanguageModel
from sae.language_model.loading import load_tokenizer
from sae.report.token_text import TokenText
from serve_app.language_models.model_memory import needed_bytes

if TYPE_CHECKING:
    from sae.steering.run import AnswerText, Steered

_SAES, _TOKENIZERS = 4, 2
_SPARE = 512 << 20  # bytes of memory that stay free
MOST_POSITIONS = 16_384  # of one request to steer: its answers times their tokens


class NotEnoughMemory(RuntimeError):
    """A model does not fit into the memory that is free now."""


class ActivationsQuery(NamedTuple):
    """A row of tokens for an SAE: `roles` as in a tokens artifact, `top` features to return, `latents` to return too."""

    sae: str
    ids: list[int]
    roles: list[int]
    top: int
    latents: list[int]


class ContrastQuery(NamedTuple):
    """Two groups of rows for an SAE, each row as its ids and its roles; `top` features to return."""

    sae: str
    groups: list[list[tuple[list[int], list[int]]]]
    top: int
    seed: int


class LanguageModelPool:
    """Answers queries. For one thread at a time: a model's hooks are shared."""

    def __init__(self, store: Store, device: str) -> None:
        self._store, self._device = store, device
        self._saes: LRUCache[str, tuple[Sae, SaeOrigin]] = LRUCache(_SAES)
        self._tokenizers: LRUCache[str, tuple[Any, TokenText]] = LRUCache(_TOKENIZERS)

    def load(self, key: str) -> LanguageModel:
        """A model by `ID:DTYPE`. Raises NotEnoughMemory, StoreError, ModelError."""
        gc.collect()  # frees a model that was just dropped
        id, _, dtype = key.partition(":")
        files = self._store.files(ArtifactRef("models", id))
        needed = needed_bytes(int(files.manifest.summary.get("parameters") or 0), dtype)
        free = self._free_bytes()
        if needed > free:
            raise NotEnoughMemory(
                f"models/{id} needs {needed / 2**30:.2f} GiB of memory and {free / 2**30:.2f} GiB are free"
            )
        return LanguageModel.load(files.directory(), dtype, self._device)

    def answer(self, lm: LanguageModel, query: dict[str, Any]) -> dict[str, Any]:
        """The answer to an ActivationsQuery or a ContrastQuery, as plain values. Raises ValueError."""
        return (
            self._contrast(lm, ContrastQuery(**query))
            if "groups" in query
            else self._active(lm, ActivationsQuery(**query))
        )

    def _contrast(self, lm: LanguageModel, query: ContrastQuery) -> dict[str, Any]:
        from sae.features.contrast import contrast
        from sae.features.text_activations import largest_on_texts

        sae, origin = self._sae(query.sae)
        a, b = (largest_on_texts(lm, sae, group, origin.policy, origin.dtype) for group in query.groups)
        found = contrast(a, b, query.top, query.seed)
        return {"features": [one._asdict() for one in found.features], "chance": found.chance}

    def _active(self, lm: LanguageModel, query: ActivationsQuery) -> dict[str, Any]:
        from sae.features.text_activations import activations_on_text

        sae, origin = self._sae(query.sae)
        found = activations_on_text(
            lm, sae, query.ids, query.roles, origin.policy, origin.dtype, query.top, query.latents
        )
        return {
            "hook": sae.calibration.hook,
            "tokens": [
                {"excluded": token.left_out, "active": token.active,
                 "top": [{"latent": latent, "activation": value} for latent, value in token.top]}
                for token in found.tokens
            ],
            "top": [
                {"latent": latent, "max": value, "at": position, "tokens": tokens}
                for latent, value, position, tokens in found.top
            ],
            "latents": {str(latent): values for latent, values in found.wanted.items()},
        }  # fmt: skip

    def steer(
        self, lm: LanguageModel, key: str, query: dict[str, Any], stopped: Callable[[], bool]
    ) -> Iterator[dict[str, Any]]:
        """`{"token": ...}` for each token and `{"answers": ...}` at last, as plain values; see sae.steering.run.

        `{}` after each pass that gives no token. One request has at most MOST_POSITIONS.
        `query`: `request` (a SteeringRequest), `maxima` as [sae, latent, largest activation] and `bos`. Raises SteeringError.
        """
        from sae.steering.run import NewToken, Steerable, run

        request = SteeringRequest.model_validate(query["request"])
        saes = {ref: self._sae(ref.removeprefix("saes/"))[0] for ref in request.sae_ids()}
        maxima = {(sae, latent): largest for sae, latent, largest in query["maxima"]}
        tokenizer, pieces = self._tokenizer(key.partition(":")[0])
        on = Steerable(lm, tokenizer, pieces, saes, maxima, query["bos"])
        for item in run(on, request, stopped, MOST_POSITIONS):
            if item is None:
                yield {}
                continue
            yield {"token": item._asdict()} if isinstance(item, NewToken) else {"answers": _plain(item)}

    def _tokenizer(self, id: str) -> tuple[Any, TokenText]:
        if id not in self._tokenizers:
            files = self._store.files(ArtifactRef("models", id))
            pieces = TokenText(files.path("tokenizer.json").read_text(encoding="utf-8"))
            self._tokenizers[id] = load_tokenizer(files.directory()), pieces
        return self._tokenizers[id]

    def _sae(self, id: str) -> tuple[Sae, SaeOrigin]:
        if id not in self._saes:
            files = self._store.files(ArtifactRef("saes", id))
            self._saes[id] = load_sae(files.directory(), self._device), sae_origin(files.manifest.config)
        return self._saes[id]

    def _free_bytes(self) -> int:
        if self._device == "cuda":
            import torch

            return int(torch.cuda.mem_get_info()[0])
        import psutil

        return int(psutil.virtual_memory().available) - _SPARE


def _plain(found: Steered) -> dict[str, Any]:
    return {
        "prompt": found.prompt,
        "unsteered": _plain_answer(found.unsteered),
        "steered": [_plain_answer(one) for one in found.steered],
        "budget": None if found.budget is None else {"dose": found.budget[0], "kl": found.budget[1]},
    }


def _plain_answer(answer: AnswerText) -> dict[str, Any]:
    return {"text": answer.text, "tokens": answer.tokens, **answer.measured._asdict()}
