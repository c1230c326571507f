"""Language models and SAEs held in memory for questions about single texts. Knows no Ray: interactive.py serves it."""

from __future__ import annotations

import gc
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.store import Store
from configs.identity import ArtifactRef
from configs.train import TrainConfig
from sae.formats.sae_folder import Sae, load_sae
from sae.language_model import LanguageModel
from serve_app.language_models.model_memory import needed_bytes

_SAES = 4  # held at once
_SPARE = 512 << 20  # bytes of memory that stay free


class NotEnoughMemory(RuntimeError):
    """A model does not fit into the memory that is free now."""


class ActivationsQuery(NamedTuple):
    """Which features of an SAE fire on a row of tokens? `roles` as in a tokens artifact."""

    sae: str
    ids: list[int]
    roles: list[int]
    top: int
    features: list[int]


@dataclass
class _Held:
    sae: Sae
    train: TrainConfig


class LanguageModelPool:
    """Answers questions. One thread at a time: a model's hooks are shared."""

    def __init__(self, store: Store, device: str) -> None:
        self._store, self._device = store, device
        self._saes: OrderedDict[str, _Held] = OrderedDict()

    def load(self, key: str) -> LanguageModel:
        """A model by `ID:DTYPE`. Raises NotEnoughMemory, StoreError, ModelError."""
        gc.collect()  # of a model that was just dropped
        id, _, dtype = key.partition(":")
        files = self._store.files(ArtifactRef("models", id))
        parameters = int(files.manifest.summary.get("parameters") or 0)
        requirement = needed_bytes(parameters, dtype)
        free = self._free()
        if requirement > free:
            raise NotEnoughMemory(
                f"models/{id} needs {requirement / 2**30:.2f} GiB of memory and {free / 2**30:.2f} GiB are free"
            )
        return LanguageModel.load(files.directory(), dtype, self._device)

    def answer(self, lm: LanguageModel, question: ActivationsQuery) -> dict[str, Any]:
        """The answer as plain values. Raises ValueError for a feature that the SAE has not."""
        from sae.features.text_activations import features_on_text

        held = self._sae(question.sae)
        harvest = held.train.harvest()
        dtype = "fp32" if harvest is None else harvest.dtype
        found = features_on_text(
            lm, held.sae, question.ids, question.roles, held.train.policy, dtype, question.top, question.features
        )
        return {
            "hook": held.sae.calibration.hook,
            "tokens": [firing._asdict() for firing in found.tokens],
            "top": [list(one) for one in found.top],
            "features": {str(feature): values for feature, values in found.wanted.items()},
        }

    def _sae(self, id: str) -> _Held:
        if id in self._saes:
            self._saes.move_to_end(id)
            return self._saes[id]
        files = self._store.files(ArtifactRef("saes", id))
        train = TrainConfig.model_validate(files.manifest.config)
        self._saes[id] = _Held(load_sae(files.directory(), self._device), train)
        while len(self._saes) > _SAES:
            self._saes.popitem(last=False)
        return self._saes[id]

    def _free(self) -> int:
        if self._device == "cuda":
            import torch

            return int(torch.cuda.mem_get_info()[0])
        import psutil

        return int(psutil.virtual_memory().available) - _SPARE
