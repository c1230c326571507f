"""The exporter: writes an SAE in the format of another library, and stores the files as an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ray

from actors.pool import worker_options
from actors.progress_channel import ProgressChannel
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.export import ExportConfig
from configs.requirements import Requirement
from sae.exporters import ExportSource, NotExportable, refuse_crosscoder, write_export
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader

BATCH_ROWS = 8  # in one forward pass


class ExportTask(NamedTuple):
    """What an exporter works on. `rows` of `split` are read where the format holds codes; `channel` gets how many are done."""

    config: ExportConfig
    sae: ArtifactRef
    features: ArtifactRef | None
    labels: ArtifactRef | None
    model: ArtifactRef | None
    tokens: ArtifactRef | None
    dataset: str
    policy: DataPolicy
    split: str
    rows: int
    output: ArtifactRef
    store: Store
    attempt: int
    requirement: Requirement
    channel: ProgressChannel


class Exporter:
    """An actor with one piece of work."""

    def __init__(self, task: ExportTask) -> None:
        self._task = task

    def run(self, _: None) -> list[StoredFile]:
        """Stores the files of the format. Raises NotExportable."""
        task = self._task
        set_up(task.requirement)
        sae = load_sae(task.store.files(task.sae).directory(), task.requirement.device)
        refuse_crosscoder(sae, str(task.sae), task.config.format)
        source = _SOURCES.get(task.config.format, _weights)(task, sae)
        with temporary_folder() as scratch:
            folder = Path(scratch)
            names = write_export(task.config.format, source, folder)
            return [task.store.put(task.output, task.attempt, name, folder / name) for name in names]


def _weights(task: ExportTask, sae: Sae) -> ExportSource:
    return ExportSource(sae, str(task.sae), task.dataset)


def _with_codes(task: ExportTask, sae: Sae) -> ExportSource:
    from sae.exporters.codes import TokenCodes
    from sae.language_model import LanguageModel

    if task.model is None or task.tokens is None:
        raise NotExportable(f"{task.sae} was trained on planted activations: it has no tokens for {task.config.format}")
    refuse_emulated(task.requirement, task.config.lm_dtype)
    folder = task.store.files(task.model).directory()
    model = LanguageModel.load(folder, task.config.lm_dtype, task.requirement.device)
    tokens = TokensReader(task.store.files(task.tokens), task.split, task.policy.speakers)

    def report(rows: int) -> None:
        task.channel.report("rows", rows)

    codes = TokenCodes(model, sae, tokens, task.policy, task.rows, task.config.batch_rows or BATCH_ROWS, report)
    return ExportSource(sae, str(task.sae), task.dataset, codes=codes)


def _with_features(task: ExportTask, sae: Sae) -> ExportSource:
    from sae.formats.features import FeaturesReader
    from sae.formats.labels import LabelsReader
    from sae.report.token_text import TokenText

    assert task.features is not None and task.model is not None and task.tokens is not None, "the stage checks them"
    features = FeaturesReader(task.store.files(task.features))
    tokens = TokensReader(task.store.files(task.tokens), features.info.split)
    text = TokenText(task.store.files(task.model).path("tokenizer.json").read_text(encoding="utf-8"))
    labels = None if task.labels is None else LabelsReader(task.store.files(task.labels))
    return ExportSource(
        sae, str(task.sae), task.dataset, features=features, tokens=tokens, token_text=text, labels=labels
    )


_SOURCES: dict[str, Callable[[ExportTask, Sae], ExportSource]] = {"delphi": _with_codes, "neuronpedia": _with_features}


def make_exporter(task: ExportTask) -> Any:
    """Starts an exporter actor of the size that the job was granted."""
    return ray.remote(Exporter).options(**worker_options(task.requirement)).remote(task)
