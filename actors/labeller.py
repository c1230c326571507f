"""The worker of the label stage: an actor that reads activations of some rows, and labels and scores every feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
import torch

from actors.endpoint_labels import EndpointLabels, answers_of, endpoint_labels
from actors.label_source import LabelSource, LabelTask
from actors.pool import worker_options
from actors.progress_channel import ProgressChannel
from actors.worker_setup import set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.requirements import Requirement
from sae.features.coactivation import count_coactivation
from sae.features.map import feature_map
from sae.features.row_sketcher import HookRows, rows_from_cache, rows_from_model, side_by_side
from sae.formats.activations import DTYPES
from sae.formats.coactivation import write_coactivation
from sae.formats.feature_map import write_map
from sae.formats.labels import LabelsInfo, write_labels
from sae.formats.sae_folder import Sae
from sae.formats.search_index import write_index
from sae.formats.text_labels import write_text_labels
from sae.labels.activations import Activations, by_feature
from sae.labels.effect_columns import COLUMNS, discovered, effect_columns, input_scores
from sae.labels.effects import (
    NEUTRAL_PROMPT,
    Decoder,
    amplified,
    controls,
    draw_effect_examples,
    effects,
    output_scores,
)
from sae.labels.embedding_scores import with_embedding_scores
from sae.labels.endpoint.merge import merged
from sae.labels.label_features import Directions, FeatureLabels, find_labels, score_labels
from sae.labels.label_rows import label_rows
from sae.labels.search_index import make_index
from sae.labels.search_text import search_texts
from sae.labels.steering_example import steering_example
from sae.labels.text import Float64, LabelText
from sae.labels.text_windows import TextWindows
from sae.row_activations import model_inputs
from sae.text.word_vectors import word_vectors

ANSWERS = " answers"  # behind the output's name: the figure of a model server's answers


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
        source = LabelSource(self.store, task, self.requirement)
        read = self._activations(source)
        if read is None:
            return None
        active, data = read
        rows, pieces, directions = source.tokens.read(0, task.rows), source.token_text, source.directions()
        text = LabelText(rows.input_ids, data, rows.document, pieces.string, task.settings.seed)
        columns = self._effects(source, text, active)
        if columns is None:
            return None
        labels = find_labels(text, active, directions, task.settings)
        found = list(score_labels(text, active, labels, task.settings, discovered(columns, "promotion")))
        asked = None
        if task.endpoint is not None:
            asked = self._asked(source, text, active, found)
            if asked is None:
                return None
            found = merged(found, asked.labels)
        found = with_embedding_scores(found, TextWindows(text, pieces.strings, words), words)
        made = label_rows(found, text, active, columns, () if asked is None else asked.labels)
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
            steering=_steering(source, found, columns["input_score"], active),
            coactivation_positions=together.positions,
            endpoint=None if asked is None else asked.record,
            settings=task.science,
            inputs=inputs,
            **made.counts,
        )
        with temporary_folder() as scratch:
            folder = Path(scratch)
            names = write_labels(folder, made.features, made.labels, info)
            names += [write_coactivation(folder, together), write_index(folder, index)]
            names.append(write_map(folder, _map(source, directions)))
            if asked is not None and task.endpoint is not None:
                names += write_text_labels(folder, asked.labels, asked.answers, task.endpoint.runtime.prices)
            files = [self.store.put(task.output, self.attempt, name, folder / name) for name in names]
        return Labelled(files, info.model_dump(mode="json"))

    @torch.inference_mode()
    def _activations(self, source: LabelSource) -> tuple[Activations, np.ndarray[Any, Any]] | None:
        """Active positions of every feature, and which positions [rows, length] are data."""
        task, tokens, sae = source.task, source.tokens, source.sae
        calibrations, caches = dict(zip(sae.hooks, sae.calibrations, strict=False)), source.caches()
        data = np.zeros((task.rows, tokens.context_length), np.bool_)
        parts: list[tuple[np.ndarray[Any, Any], ...]] = []
        for start in range(0, task.rows, task.pass_rows):
            stop = min(start + task.pass_rows, task.rows)
            if caches is not None:
                found = {
                    hook: rows_from_cache(caches[hook], tokens, own, task.policy, start, stop)
                    for hook, own in calibrations.items()
                }
            else:
                found = rows_from_model(source.lm, tokens, calibrations, task.policy, start, stop, task.pass_rows)
            rows = side_by_side([found[hook] for hook in sae.hooks], tokens.context_length)
            data[rows.row.cpu().numpy(), rows.position.cpu().numpy()] = True
            parts.append(_codes(sae, rows, task.dtype, tokens.context_length))
            if not self._goes_on(task, stop):
                return None
        feature, position, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return by_feature(feature, position, value.astype(np.float32, copy=False), sae.d_sae), data

    def _effects(self, source: LabelSource, text: LabelText, active: Activations) -> dict[str, Float64] | None:
        """What every feature reads and does, by column; None if a stop was requested."""
        task, sae, settings = source.task, source.sae, source.task.settings
        control = controls(active, settings.seed)
        columns = dict(zip(COLUMNS, input_scores(active, text.tokens, source.promoted, control), strict=False))
        all_rows = task.passes * task.rows
        # What an SAE adds that scales each input is not the activation times the direction; a crosscoder adds at several hooks.
        if not settings.effect_examples or sae.scales_each_input or sae.is_crosscoder:
            return columns if self._goes_on(task, all_rows) else None
        lm, hook = source.lm, source.lm.hook(sae.target_hook)
        promoted, others = (torch.from_numpy(x).to(sae.device) for x in (source.promoted, control))
        decoder = Decoder(sae.W_dec, promoted, others)
        examples = draw_effect_examples(active, settings.effect_examples, settings.strength, settings.seed)

        def read(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor | None]:
            return model_inputs(source.tokens.read(start, min(stop, task.rows)), source.tokens, lm.device)

        parts = []
        for at, part in effects(lm, hook, read, examples, decoder, text.length, task.pass_rows):
            parts.append(part)
            if not self._goes_on(task, task.rows + min(at, task.rows)):
                return None
        if not self._goes_on(task, all_rows):  # the last rows may have no examples
            return None
        prompt = source.tokenizer(NEUTRAL_PROMPT)["input_ids"]
        scores = output_scores(lm, hook, prompt, amplified(active), decoder)
        return columns | dict(zip(COLUMNS[2:], scores, strict=False)) | effect_columns(parts, active.features)

    def _asked(
        self, source: LabelSource, text: LabelText, active: Activations, found: list[FeatureLabels]
    ) -> EndpointLabels | None:
        """What the model server says; None if a stop was requested."""

        def goes_on(answers: int) -> bool:
            self.channel.report(f"{source.task.output}{ANSWERS}", answers)
            return not self.channel.stop_requested()

        with temporary_folder() as scratch:
            kept = answers_of(source, self.attempt, Path(scratch))
            return endpoint_labels(source, text, active, found, kept, goes_on)

    def _goes_on(self, task: LabelTask, rows: int) -> bool:
        """Reports rows of both passes; whether no stop was requested."""
        self.channel.report(str(task.output), rows)
        return not self.channel.stop_requested()


def make_labeller(store: Store, attempt: int, requirement: Requirement, channel: ProgressChannel) -> Any:
    """Starts a labeller actor, which reports the rows read of each task to `channel` under its output."""
    return ray.remote(Labeller).options(**worker_options(requirement)).remote(store, attempt, requirement, channel)


def _map(source: LabelSource, directions: Directions) -> npt.NDArray[np.float32]:
    """Places of all features in the plane."""
    decoder = source.sae.directions.float().cpu()
    decoder = (decoder / decoder.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy()
    neighbours, cosines = np.array(directions.neighbours, np.int64), np.array(directions.cosines, np.float32)
    return feature_map(decoder, neighbours, cosines, source.task.settings.seed)


def _steering(
    source: LabelSource, found: list[FeatureLabels], input_score: Float64, active: Activations
) -> dict[str, Any] | None:
    """The example of steering, if one is asked for."""
    settings = source.task.settings
    if settings.steering_prompt is None:
        return None
    control = controls(active, settings.seed)
    sae = str(source.task.inputs["sae"])
    return steering_example(source.steerable(), sae, settings.steering_prompt, found, input_score, control)


def _codes(sae: Sae, rows: HookRows, dtype: str, length: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Feature, flat position and activation of the codes of some rows."""
    acts = rows.acts.to(sae.device)
    if dtype != "fp32":
        acts = acts.to(DTYPES[dtype]).float()
    codes = sae.encode_sparse(acts)
    at = codes.position.cpu()
    position = rows.row.cpu()[at] * length + rows.position.cpu()[at]
    return codes.latent.cpu().numpy().astype(np.int64), position.numpy(), codes.value.cpu().numpy()
