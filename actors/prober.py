"""The prober: sums activations and codes over the rows of labelled documents, and makes the figures of all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ray

from actors.pool import worker_options
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.probe import ProbeConfig
from configs.requirements import Requirement
from sae.formats.probes import write_probes
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.probing.document_means import DocumentMeans
from sae.probing.documents import Labelled
from sae.probing.figures import ProbingFigures
from sae.probing.row_sums import file_name, join_rows, save_row_sums, sum_rows


class ProberSettings(NamedTuple):
    """What a prober works on. `beside`: the SAEs that stand beside `sae`, of the same hook and model."""

    sae: ArtifactRef
    beside: tuple[ArtifactRef, ...]
    output: ArtifactRef
    model: ArtifactRef
    tokens: ArtifactRef
    policy: DataPolicy
    config: ProbeConfig
    attempt: int


class Chunk(NamedTuple):
    """The numbers of consecutive rows among those that are read, by the number of the chunk."""

    number: int
    rows: tuple[int, ...]


class FiguresTask(NamedTuple):
    """All chunks' number, and what their rows hold. `more`: what probes.json says beside the figures."""

    chunks: int
    documents: Labelled
    more: dict[str, Any]


class Probed(NamedTuple):
    """The files of a finished artifact, and what probes.json says."""

    files: list[StoredFile]
    body: dict[str, Any]


class Prober:
    """Holds the SAEs and the language model, from its first chunk on."""

    def __init__(self, store: Store, settings: ProberSettings, requirement: Requirement) -> None:
        set_up(requirement)
        self._store, self._settings, self._requirement = store, settings, requirement
        self._loaded: tuple[LanguageModel, TokensReader, list[Sae]] | None = None

    def measure(self, chunk: Chunk) -> int:
        """Stores the sums of the chunk's rows as one part; returns the rows done. Raises NonFiniteActivations."""
        settings = self._settings
        if self._loaded is None:
            self._loaded = self._load()
        lm, tokens, saes = self._loaded
        size = settings.config.batch_rows
        parts = [chunk.rows[start : start + size] for start in range(0, len(chunk.rows), size)]
        found = join_rows([sum_rows(lm, tokens, saes, rows, settings.policy) for rows in parts])
        with temporary_folder() as folder:
            path = Path(folder) / "part"
            save_row_sums(found, path)
            self._store.put(settings.output, settings.attempt, file_name(chunk.number), path, part=True)
        return len(chunk.rows)

    def figures(self, task: FiguresTask) -> Probed:
        """The artifact's files, from all parts. Raises ProbingError for too few documents with data positions."""
        settings, store = self._settings, self._store
        parts, saes = store.part_files(settings.output), self._load_saes("cpu")
        paths = [parts.path(file_name(number)) for number in range(task.chunks)]
        means = DocumentMeans(paths, task.documents.document, len(task.documents.label))
        names = [str(ref) for ref in (settings.sae, *settings.beside)]
        body = {**task.more, **ProbingFigures(means, task.documents, saes, names, settings.config).body()}
        with temporary_folder() as folder:
            written = write_probes(Path(folder), body)
            files = [store.put(settings.output, settings.attempt, name, Path(folder) / name) for name in written]
        return Probed(files, body)

    def _load(self) -> tuple[LanguageModel, TokensReader, list[Sae]]:
        settings, config, requirement = self._settings, self._settings.config, self._requirement
        refuse_emulated(requirement, config.lm_dtype)
        lm = LanguageModel.load(self._store.files(settings.model).directory(), config.lm_dtype, requirement.device)
        tokens = TokensReader(self._store.files(settings.tokens), config.split, settings.policy.speakers)
        return lm, tokens, self._load_saes(requirement.device)

    def _load_saes(self, device: str) -> list[Sae]:
        refs = (self._settings.sae, *self._settings.beside)
        return [load_sae(self._store.files(ref).directory(), device) for ref in refs]


def make_prober(store: Store, settings: ProberSettings, requirement: Requirement) -> Any:
    """Starts a prober actor of the size that the job was granted."""
    return ray.remote(Prober).options(**worker_options(requirement)).remote(store, settings, requirement)
