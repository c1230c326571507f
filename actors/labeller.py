"""The worker of the label stage: an actor that reads activations of some rows, and labels and scores every feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
import torch

from actors.pool import worker_options
from actors.progress_channel import ProgressChannel
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.requirements import Requirement
from sae.features.coactivation import count_coactivation
from sae.features.map import feature_map
from sae.features.row_sketcher import HookRows, rows_from_cache, rows_from_model
from sae.features.similar import decoder_directions
from sae.formats.activations import DTYPES, ActivationsReader
from sae.formats.coactivation import write_coactivation
from sae.formats.feature_map import write_map
from sae.formats.features import FeaturesReader
from sae.formats.labels import LabelsInfo, write_labels
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.search_index import write_index
from sae.formats.tokens import TokensReader
from sae.labels.activations import Activations, by_feature
from sae.labels.label_features import Directions, LabelSettings, find_labels, score_labels
from sae.labels.label_rows import label_rows
from sae.labels.search_index import make_index
from sae.labels.search_text import search_texts
from sae.labels.text import LabelText
from sae.language_model import LanguageModel
from sae.report.sources import TOKENIZER
from sae.report.token_text import TokenText
from sae.text.word_vectors import word_vectors


class LabelTask(NamedTuple):
    """One features artifact and the labels to make. `cache`: activations to read instead of running the model.

    `dtype`, `pass_rows` and `policy` are those of the SAE's training; `science` is the label config's, without the features.
    """

    features: ArtifactRef
    output: ArtifactRef
    inputs: dict[str, ArtifactRef]
    cache: ArtifactRef | None
    split: str
    rows: int
    policy: DataPolicy
    lm_dtype: str
    dtype: str
    pass_rows: int
    settings: LabelSettings
    coactive: int
    science: dict[str, Any]


class Labelled(NamedTuple):
    """The files of a finished labels artifact, and what its labels.json says."""

    files: list[StoredFile]
    info: dict[str, Any]


class Labeller:
    """An actor that labels the features of one SAE a call. It keeps nothing between calls."""

    def __init__(self, store: Store, attempt: int, requirement: Requirement, channel: ProgressChannel) -> None:
        self.store, self.attempt, self.requirement, self.channel = store, attempt, requirement, channel

    def label(self, task: LabelTask) -> Labelled | None:
        """Labels, scores and stores. None if a stop was requested meanwhile."""
        set_up(self.requirement)
        words = word_vectors()  # first, so that a missing package is said before the work
        tokens = TokensReader(self.store.files(task.inputs["tokens"]), task.split, task.policy.speakers)
        read = self._activations(task, tokens)
        if read is None:
            return None
        active, data = read
        rows = tokens.read(0, task.rows)
        tokenizer = self.store.files(task.inputs["model"]).path(TOKENIZER).read_text(encoding="utf-8")
        pieces = TokenText(tokenizer)
        text = LabelText(rows.input_ids, data, rows.document, pieces.string, task.settings.seed)
        directions = self._directions(task)
        found = find_labels(text, active, directions, task.settings)
        made = label_rows(score_labels(text, active, found, task.settings), text, active)
        together = count_coactivation(
            active.starts, active.positions, data.reshape(-1), task.coactive, self.requirement.threads
        )
        index = make_index(
            search_texts(text, active, made.labels, directions, pieces.strings), words, task.settings.seed
        )
        inputs = {role: str(ref) for role, ref in {"features": task.features, **task.inputs}.items()}
        info = LabelsInfo(
            rows=task.rows,
            n_features=active.features,
            coactivation_positions=together.positions,
            settings=task.science,
            inputs=inputs,
            **made.counts,
        )
        with temporary_folder() as scratch:
            folder = Path(scratch)
            names = write_labels(folder, made.features, made.labels, info)
            names += [write_coactivation(folder, together), write_index(folder, index)]
            names.append(write_map(folder, self._map(task, directions)))
            files = [self.store.put(task.output, self.attempt, name, folder / name) for name in names]
        return Labelled(files, info.model_dump(mode="json"))

    @torch.inference_mode()
    def _activations(self, task: LabelTask, tokens: TokensReader) -> tuple[Activations, np.ndarray[Any, Any]] | None:
        """Active positions of every feature, and which positions [rows, length] are data."""
        sae = load_sae(self.store.files(task.inputs["sae"]).directory(), self.requirement.device)
        hook, length = sae.metadata["hook_name"], tokens.context_length
        cache = None if task.cache is None else ActivationsReader(self.store.files(task.cache), hook)
        lm: LanguageModel | None = None
        if cache is None:
            refuse_emulated(self.requirement, task.lm_dtype)
            folder = self.store.files(task.inputs["model"]).directory()
            lm = LanguageModel.load(folder, task.lm_dtype, self.requirement.device)
        data = np.zeros((task.rows, length), np.bool_)
        parts: list[tuple[np.ndarray[Any, Any], ...]] = []
        for start in range(0, task.rows, task.pass_rows):
            stop = min(start + task.pass_rows, task.rows)
            if cache is not None:
                rows = rows_from_cache(cache, tokens, sae.calibration, task.policy, start, stop)
            else:
                assert lm is not None
                found = rows_from_model(lm, tokens, {hook: sae.calibration}, task.policy, start, stop, task.pass_rows)
                rows = found[hook]
            data[rows.row.cpu().numpy(), rows.position.cpu().numpy()] = True
            parts.append(_codes(sae, rows, task.dtype, length))
            self.channel.report(str(task.output), stop)
            if self.channel.stop_requested():
                return None
        feature, position, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return by_feature(feature, position, value.astype(np.float32, copy=False), sae.d_sae), data

    def _map(self, task: LabelTask, directions: Directions) -> npt.NDArray[np.float32]:
        decoder = decoder_directions(self.store.files(task.inputs["sae"]).directory())
        neighbours, cosines = np.array(directions.neighbours, np.int64), np.array(directions.cosines, np.float32)
        return feature_map(decoder, neighbours, cosines, task.settings.seed)

    def _directions(self, task: LabelTask) -> Directions:
        columns = ("promoted_tokens", "neighbours", "neighbour_cosines")
        table = FeaturesReader(self.store.files(task.features)).features(columns)
        promoted, neighbours, cosines = (table[name].to_pylist() for name in columns)
        return Directions([tokens or [] for tokens in promoted], neighbours, cosines)


def make_labeller(store: Store, attempt: int, requirement: Requirement, channel: ProgressChannel) -> Any:
    """Starts a labeller actor, which reports the rows read of each task to `channel` under its output."""
    return ray.remote(Labeller).options(**worker_options(requirement)).remote(store, attempt, requirement, channel)


def _codes(sae: Sae, rows: HookRows, dtype: str, length: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Feature, flat position and activation of the codes of some rows."""
    acts = rows.acts.to(sae.device)
    if dtype != "fp32":
        acts = acts.to(DTYPES[dtype]).float()
    codes = sae.encode_sparse(acts)
    at = codes.position.cpu()
    position = rows.row.cpu()[at] * length + rows.position.cpu()[at]
    return codes.latent.cpu().numpy().astype(np.int64), position.numpy(), codes.value.cpu().numpy()
