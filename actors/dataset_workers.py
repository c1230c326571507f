"""Workers that make a dataset together: they read chunks of its source, then write its files.

What a worker has finished is stored as a part, so that a later attempt does not do it again. Only counts travel through Ray.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.pool import worker_options
from actors.worker_setup import temporary_folder
from cluster.store import Store, StoredFiles
from configs.artifact_ids import ArtifactRef
from configs.download import DatasetOptions
from configs.requirements import Requirement
from sae.formats.dataset import DatasetError, DatasetInfo, documents_name, release_unused
from sae.formats.gram_index import index_name
from sae.text.dataset_in_chunks import (
    DatasetFile,
    chunk_name,
    read_chunk,
    sizes_name,
    statistics_name,
    total_statistics,
    write_file,
)
from sae.text.source_chunks import SourceChunk
from sae.text.source_findings import SourceFindings


class DatasetTask(NamedTuple):
    """What every worker of a job gets. `shared`: where they store what is needed until the dataset is there."""

    options: DatasetOptions
    dataset: ArtifactRef
    shared: ArtifactRef
    store: Store
    attempt: int
    requirement: Requirement

    def put_shared(self, path: Path, extra: dict[str, Any] | None = None) -> None:
        """Stores a finished part that other workers need."""
        self.store.put(self.shared, self.attempt, path.name, path, extra, part=True)


class DatasetFileTask(NamedTuple):
    """A file of the dataset to be written from the documents of `chunks`, see write_file."""

    file: DatasetFile
    chunks: StoredFiles
    hold_out: bool


class DatasetWorker:
    """Reads chunks of a source, or writes files of the dataset."""

    def __init__(self, task: DatasetTask) -> None:
        self._task = task

    def read(self, numbered: tuple[int, SourceChunk]) -> SourceFindings | str:
        """Stores the documents of a chunk. Gives what is wrong with it if it cannot be read: whether an earlier one has a
        fault as well may not be known yet."""
        number, chunk = numbered
        with temporary_folder() as folder:
            try:
                found = read_chunk(chunk, number, self._task.options, Path(folder))
            except DatasetError as error:
                return str(error)
            release_unused()
            self._task.put_shared(Path(folder, sizes_name(number)))
            self._task.put_shared(
                Path(folder, chunk_name(number)), found.to_json()
            )  # last: a chunk with a note is whole
        return found

    def write(self, one: DatasetFileTask) -> DatasetInfo:
        """Stores a file, its index and its statistics. Gives what documents.json says of it alone."""
        task, number = self._task, one.file.number
        with temporary_folder() as temporary:
            folder, statistics = Path(temporary, "files"), Path(temporary, statistics_name(number))
            folder.mkdir()
            info = write_file(
                one.file, task.options, one.hold_out, lambda i: one.chunks.path(chunk_name(i)), folder, statistics
            )
            release_unused()
            task.put_shared(statistics)
            name = documents_name(number)
            for own in (
                index_name(name),
                name,
            ):  # last what is looked for: a file with a note has all that belongs to it
                task.store.put(task.dataset, task.attempt, own, folder / own, asdict(info), part=True)
        return info

    def figures(self, statistics: StoredFiles) -> dict[str, Any]:
        """The figures of the dataset, of the statistics of all of its files, in order."""
        return total_statistics(map(statistics.path, statistics.names), self._task.options)


def make_worker(task: DatasetTask, node: str | None = None) -> Any:
    """Starts a worker of the size that the job was granted, on a node if one is given."""
    options = worker_options(task.requirement)
    if node is not None:  # that of a task of the job, so it has the labels that the job requires
        options |= {"label_selector": None, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
    return ray.remote(DatasetWorker).options(**options).remote(task)
