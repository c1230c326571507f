"""Makes a dataset on several workers: readers of a source's chunks, then writers of the dataset's files.

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
from sae.formats.dataset import DatasetError, DatasetInfo, release_unused
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


class ChunkReader:
    """Reads chunks of a source."""

    def __init__(self, task: DatasetTask) -> None:
        self._task = task

    def read(self, numbered: tuple[int, SourceChunk]) -> SourceFindings | str:
        """Stores the documents of a chunk. Gives what is wrong with the chunk if it cannot be read: that an earlier one has
        a fault as well may not be known yet."""
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


class DatasetFileWriter:
    """Writes files of the dataset from the documents of `chunks`."""

    def __init__(self, task: DatasetTask, chunks: StoredFiles, hold_out: bool) -> None:
        self._task, self._chunks, self._hold_out = task, chunks, hold_out

    def write(self, file: DatasetFile) -> DatasetInfo:
        """Stores a file, its index and its statistics."""
        task = self._task
        with temporary_folder() as temporary:
            folder, statistics = Path(temporary, "files"), Path(temporary, statistics_name(file.number))
            folder.mkdir()
            info = write_file(
                file, task.options, self._hold_out, lambda i: self._chunks.path(chunk_name(i)), folder, statistics
            )
            release_unused()
            task.put_shared(statistics)
            (name,) = info.files
            for own in (
                index_name(name),
                name,
            ):  # last what is looked for: a file with a note has all that belongs to it
                task.store.put(task.dataset, task.attempt, own, folder / own, asdict(info), part=True)
        return info

    def figures(self, statistics: StoredFiles) -> dict[str, Any]:
        """The figures of the dataset, of the statistics of all of its files, in order."""
        return total_statistics(map(statistics.path, statistics.names), self._task.options)


def make_reader(task: DatasetTask, node: str) -> Any:
    """Starts a reader of the size that the job was granted, on the node that has the source's files."""
    options = {**worker_options(task.requirement), "label_selector": None}
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(ChunkReader).options(**options, scheduling_strategy=here).remote(task)


def make_writer(task: DatasetTask, chunks: StoredFiles, hold_out: bool) -> Any:
    """Starts a writer of the size that the job was granted, on any node."""
    return ray.remote(DatasetFileWriter).options(**worker_options(task.requirement)).remote(task, chunks, hold_out)
