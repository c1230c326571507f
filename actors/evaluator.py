"""The evaluator: measures one SAE on batches of rows and stores each batch's sums; the stage adds them in row order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import ray

from actors.setup import set_up
from cluster.store import Store
from configs.activations import DataPolicy
from configs.identity import ArtifactRef
from configs.requirements import Requirement
from sae.formats.sae_folder import load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.metrics.partial import partial_name, save_results
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


class Evaluator:
    """Holds the language model, the SAE and the tokens."""

    def __init__(self, store: Store, settings: EvaluatorSettings, need: Requirement) -> None:
        set_up(need)
        self._store, self._settings = store, settings
        self._sae = load_sae(store.files(settings.sae).directory(), need.device)
        self._model = LanguageModel.load(store.files(settings.model).directory(), settings.lm_dtype, need.device)
        self._hook = self._model.hook(self._sae.metadata["hook_name"])
        self._tokens = TokensReader(store.files(settings.tokens), settings.split)

    def measure(self, chunk: Chunk) -> int:
        """Stores the sums of the chunk's rows as a part of the evaluation; returns the rows done.

        Raises NonFiniteActivations naming hook, row and position.
        """
        settings = self._settings
        batch = Batch(chunk.start, self._tokens.read(chunk.start, chunk.stop), chunk.loss_rows)
        results = evaluate_batch(self._model, self._hook, self._sae, batch, settings.policy, self._tokens.attention)
        with tempfile.TemporaryDirectory(prefix="raylens-evaluate-") as folder:
            path = Path(folder) / "part"
            save_results(results, path)
            self._store.put(settings.output, settings.attempt, partial_name(chunk.start), path, part=True)
        return chunk.stop - chunk.start


def make_evaluator(store: Store, settings: EvaluatorSettings, need: Requirement) -> Any:
    """Starts an evaluator actor of the size that the job was granted."""
    options = {
        "num_cpus": need.cpus,
        "num_gpus": need.gpus,
        "memory": need.memory or None,
        "label_selector": need.labels or None,
    }
    return ray.remote(Evaluator).options(**options).remote(store, settings, need)
