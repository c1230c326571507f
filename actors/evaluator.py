"""The evaluator: measures one SAE on batches of rows and stores each batch's sums; the stage adds them in row order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ray

from actors.pool import worker_options
from actors.worker_setup import set_up, temporary_folder
from cluster.store import Store
from configs.data_policy import DataPolicy
from configs.identity import ArtifactRef
from configs.requirements import Requirement
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.metrics.results_file import partial_name, save_results
from sae.metrics.rows import Batch, evaluate_batch


class EvaluatorSettings(NamedTuple):
    """What an evaluator works on. `lm_dtype` is fp32, bf16 or fp16."""

    sae: ArtifactRef
    output: ArtifactRef
    model: ArtifactRef
    tokens: ArtifactRef
    split: str
    policy: DataPolicy
    lm_dtype: str
    attempt: int


class Chunk(NamedTuple):
    """Rows [start, stop) of the split: one forward pass. The first `loss_rows` of them are measured for CE and KL."""

    start: int
    stop: int
    loss_rows: int


class _Loaded(NamedTuple):
    sae: Sae
    model: LanguageModel
    hook: HookPoint
    tokens: TokensReader


class Evaluator:
    """Holds the language model, the SAE and the tokens, from its first call on."""

    def __init__(self, store: Store, settings: EvaluatorSettings, requirement: Requirement) -> None:
        set_up(requirement)
        self._store, self._settings, self._need = store, settings, requirement
        self._loaded: _Loaded | None = None

    def measure(self, chunk: Chunk) -> int:
        """Stores the sums of the chunk's rows as a part of the evaluation; returns the rows done.

        Raises NonFiniteActivations naming hook, row and position.
        """
        settings = self._settings
        if self._loaded is None:
            self._loaded = self._load()
        sae, model, hook, tokens = self._loaded
        batch = Batch(chunk.start, tokens.read(chunk.start, chunk.stop), chunk.loss_rows)
        results = evaluate_batch(model, hook, sae, batch, settings.policy, tokens.attention)
        with temporary_folder() as folder:
            path = Path(folder) / "part"
            save_results(results, path)
            self._store.put(settings.output, settings.attempt, partial_name(chunk.start), path, part=True)
        return chunk.stop - chunk.start

    def _load(self) -> _Loaded:
        store, settings, device = self._store, self._settings, self._need.device
        sae = load_sae(store.files(settings.sae).directory(), device)
        model = LanguageModel.load(store.files(settings.model).directory(), settings.lm_dtype, device)
        tokens = TokensReader(store.files(settings.tokens), settings.split)
        return _Loaded(sae, model, model.hook(sae.metadata["hook_name"]), tokens)


def make_evaluator(store: Store, settings: EvaluatorSettings, requirement: Requirement) -> Any:
    """Starts an evaluator actor of the size that the job was granted."""
    return ray.remote(Evaluator).options(**worker_options(requirement)).remote(store, settings, requirement)
