"""The evaluator: measures one SAE on chunks of rows and stores the sums of each; the stage adds them in row order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ray

from actors.pool import worker_options
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.requirements import Requirement
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.metrics.batch_evaluation import Batch, evaluate_batch, join
from sae.metrics.chunk_results import results_name, save_results


class EvaluatorSettings(NamedTuple):
    """What an evaluator works on. `lm_dtype` is fp32, bf16 or fp16; the first `loss_rows` are measured for CE and KL."""

    sae: ArtifactRef
    output: ArtifactRef
    model: ArtifactRef
    tokens: ArtifactRef
    split: str
    policy: DataPolicy
    lm_dtype: str
    batch_rows: int
    loss_rows: int
    attempt: int


class Chunk(NamedTuple):
    """Rows [start, stop) of the split."""

    start: int
    stop: int


class _Loaded(NamedTuple):
    sae: Sae
    model: LanguageModel
    hook: HookPoint
    tokens: TokensReader


class Evaluator:
    """Holds the language model, the SAE and the tokens, from its first call on."""

    def __init__(self, store: Store, settings: EvaluatorSettings, requirement: Requirement) -> None:
        set_up(requirement)
        self._store, self._settings, self._requirement = store, settings, requirement
        self._loaded: _Loaded | None = None

    def measure(self, chunk: Chunk) -> int:
        """Stores the sums of the chunk's rows as one part of the evaluation; returns the rows done.

        Raises NonFiniteActivations naming hook, row and position.
        """
        settings = self._settings
        if self._loaded is None:
            self._loaded = self._load()
        sae, model, hook, tokens = self._loaded
        results = []
        for start in range(chunk.start, chunk.stop, settings.batch_rows):
            rows = tokens.read(start, min(start + settings.batch_rows, chunk.stop))
            batch = Batch(start, rows, min(max(0, settings.loss_rows - start), len(rows.roles)))
            results.append(
                evaluate_batch(model, hook, sae, batch, settings.policy, tokens.attention, tokens.padding_side)
            )
        with temporary_folder() as folder:
            path = Path(folder) / "part"
            save_results(join(results), path)
            self._store.put(settings.output, settings.attempt, results_name(chunk.start), path, part=True)
        return chunk.stop - chunk.start

    def _load(self) -> _Loaded:
        store, settings, device = self._store, self._settings, self._requirement.device
        refuse_emulated(self._requirement, settings.lm_dtype)
        sae = load_sae(store.files(settings.sae).directory(), device)
        model = LanguageModel.load(store.files(settings.model).directory(), settings.lm_dtype, device)
        tokens = TokensReader(store.files(settings.tokens), settings.split, settings.policy.speakers)
        return _Loaded(sae, model, model.hook(sae.metadata["hook_name"]), tokens)


def make_evaluator(store: Store, settings: EvaluatorSettings, requirement: Requirement) -> Any:
    """Starts an evaluator actor of the size that the job was granted."""
    return ray.remote(Evaluator).options(**worker_options(requirement)).remote(store, settings, requirement)
