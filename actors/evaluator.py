"""The evaluator: measures an SAE and its controls on chunks of rows; the stage adds the stored sums in row order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from actors.pool import worker_options
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.requirements import Requirement
from sae.formats.planted import PlantedReader
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.metrics.batch_evaluation import Batch, RowResults, evaluate_saes, join
from sae.metrics.chunk_results import results_name, save_results
from sae.metrics.crosscoder_evaluation import evaluate_crosscoders
from sae.metrics.directions import nearest
from sae.metrics.planted_batch import evaluate_planted


class EvaluatorSettings(NamedTuple):
    """What an evaluator works on. `lm_dtype` is fp32, bf16 or fp16; the first `loss_rows` are measured for CE and KL.

    `controls` and `seeds` are measured beside `sae`, seeds by their weights alone. `activations`: planted ones, in place of
    model and tokens.
    """

    sae: ArtifactRef
    output: ArtifactRef
    model: ArtifactRef | None
    tokens: ArtifactRef | None
    split: str
    policy: DataPolicy
    lm_dtype: str
    batch_rows: int
    loss_rows: int
    attempt: int
    controls: tuple[ArtifactRef, ...] = ()
    seeds: tuple[ArtifactRef, ...] = ()
    activations: ArtifactRef | None = None


class Chunk(NamedTuple):
    """Rows [start, stop) of the split."""

    start: int
    stop: int


class Evaluator:
    """Holds the SAE, its controls and what they are measured on, from its first call on."""

    def __init__(self, store: Store, settings: EvaluatorSettings, requirement: Requirement) -> None:
        set_up(requirement)
        self._store, self._settings, self._requirement = store, settings, requirement
        self._saes: list[Sae] = []
        self._rows: RowMeter | None = None

    def measure(self, chunk: Chunk) -> int:
        """Stores the sums of the chunk's rows as one part of the evaluation; returns the rows done.

        Raises NonFiniteActivations naming hook, row and position.
        """
        settings = self._settings
        if self._rows is None:
            self._rows = self._load()
        batches = range(chunk.start, chunk.stop, settings.batch_rows)
        found = [self._rows(start, min(start + settings.batch_rows, chunk.stop)) for start in batches]
        with temporary_folder() as folder:
            path = Path(folder) / "part"
            save_results([join(one) for one in zip(*found, strict=True)], path)
            self._store.put(settings.output, settings.attempt, results_name(chunk.start), path, part=True)
        return chunk.stop - chunk.start

    def weights(self, _: None) -> None:
        """Stores what is measured of the weights of the SAE and its controls, as one part."""
        from sae.metrics.weights import NAME, measure_weights, save_weights

        settings, directions = self._settings, None
        saes, seeds = self._load_saes(), [self._sae(ref) for ref in settings.seeds]
        if settings.activations is not None:
            reader = PlantedReader(self._store.files(settings.activations), "heldout")
            directions = torch.from_numpy(reader.dictionary.directions)
        found = [measure_weights(one, () if number else seeds, directions) for number, one in enumerate(saes)]
        with temporary_folder() as folder:
            save_weights(found, Path(folder) / NAME)
            self._store.put(settings.output, settings.attempt, NAME, Path(folder) / NAME, part=True)

    def _load(self) -> RowMeter:
        settings, saes = self._settings, self._load_saes()
        if settings.activations is not None:
            return _planted_meter(PlantedReader(self._store.files(settings.activations), "heldout"), saes)
        assert settings.model is not None and settings.tokens is not None, "without planted activations there are both"
        refuse_emulated(self._requirement, settings.lm_dtype)
        folder = self._store.files(settings.model).directory()
        model = LanguageModel.load(folder, settings.lm_dtype, self._requirement.device)
        tokens = TokensReader(self._store.files(settings.tokens), settings.split, settings.policy.speakers)
        return _token_meter(settings, model, tokens, saes)

    def _load_saes(self) -> list[Sae]:
        """The SAE and its controls. Raises ValueError for one that is of other activations."""
        if not self._saes:
            self._saes = [self._sae(ref) for ref in (self._settings.sae, *self._settings.controls)]
            for ref, other in zip(self._settings.controls, self._saes[1:], strict=True):
                if not _same_activations(self._saes[0], other):
                    raise ValueError(f"{ref} is of other activations than {self._settings.sae}: it is no control of it")
        return self._saes

    def _sae(self, ref: ArtifactRef) -> Sae:
        return load_sae(self._store.files(ref).directory(), self._requirement.device)


RowMeter = Callable[[int, int], list[RowResults]]


def _token_meter(settings: EvaluatorSettings, model: LanguageModel, tokens: TokensReader, saes: list[Sae]) -> RowMeter:
    measure_saes: Callable[..., list[RowResults]] = partial(evaluate_crosscoders, model)
    if not saes[0].is_crosscoder:
        measure_saes = partial(evaluate_saes, model, model.hook(saes[0].target_hook))

    def measure(start: int, stop: int) -> list[RowResults]:
        batch = Batch(start, tokens.read(start, stop), min(max(0, settings.loss_rows - start), stop - start))
        return measure_saes(saes, batch, settings.policy, tokens.attention, tokens.padding_side)

    return measure


def _planted_meter(reader: PlantedReader, saes: list[Sae]) -> RowMeter:
    directions = torch.from_numpy(reader.dictionary.directions)
    features = [nearest(one.W_dec.cpu(), directions)[1] for one in saes]

    def measure(start: int, stop: int) -> list[RowResults]:
        return evaluate_planted(reader, saes, features, start, stop)

    return measure


def _same_activations(a: Sae, b: Sae) -> bool:
    hooks = (a.hooks, a.target_hook) == (b.hooks, b.target_hook)
    return hooks and all(
        torch.equal(one.mean, other.mean) and one.sink_threshold == other.sink_threshold
        for one, other in zip(a.calibrations, b.calibrations, strict=True)
    )


def make_evaluator(store: Store, settings: EvaluatorSettings, requirement: Requirement) -> Any:
    """Starts an evaluator actor of the size that the job was granted."""
    return ray.remote(Evaluator).options(**worker_options(requirement)).remote(store, settings, requirement)
