"""Reads the source of a dataset on several workers: its chunks first, then the files of the dataset are written.

The bytes are those of one pass on one worker. Only what is missing is done: parts of an earlier attempt count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.dataset_workers import DatasetFileTask, DatasetTask, make_worker
from actors.download_task import Fetched, Result
from actors.pool import Pool
from cluster.store import StoredFiles
from configs.artifact_ids import ArtifactRef
from configs.download import DatasetOptions
from jobs.life.stage_context import JobContext, Stopped
from sae.formats.dataset import DOCUMENTS_JSON, DatasetError, DatasetInfo, documents_name
from sae.formats.gram_index import index_name
from sae.text.dataset_in_chunks import (
    DatasetFile,
    chunk_name,
    dataset_files,
    sizes_name,
    statistics_name,
    total_findings,
    total_info,
)
from sae.text.source_chunks import SourceChunk
from sae.text.source_findings import SourceFindings
from sae.text.write_dataset import dataset_summary, has_train_alone, no_documents

if TYPE_CHECKING:
    from cluster.store import StoredFile


def read_in_chunks(job: JobContext, fetched: Fetched, shared: ArtifactRef) -> Result | None:
    """The files of the dataset, and its summary; None if only one pass over the source can tell which columns it has.

    What workers need of each other is stored as parts of `shared`. Raises Stopped, and the DatasetError that one pass would:
    that of the first fault in the order of files.
    """
    options = job.config.dataset or DatasetOptions()
    task = DatasetTask(options, job.outputs[0].ref, shared, job.store, job.attempt, job.requirement)
    with Pool() as pool:
        found = total_findings(_read(job, pool, task, fetched))
        if found is None:
            return None
        info, statistics = _write(job, pool, task, fetched.source.chunks, found)
    summary = dataset_summary(found, fetched.source.shape, info, statistics, options)
    return Result(_files(job, info), {**summary, "notes": [*fetched.notes, *summary["notes"]]})


def _read(job: JobContext, pool: Pool, task: DatasetTask, fetched: Fetched) -> list[SourceFindings]:
    """Reads all chunks. Gives what each one has. Raises the error of the first that cannot be read."""
    chunks, stored = fetched.source.chunks, job.store.parts(task.shared)
    found = {
        number: SourceFindings.from_json(stored[chunk_name(number)][1])
        for number in range(len(chunks))
        if chunk_name(number) in stored
    }
    faults: dict[int, str] = {}
    job.progress.start("read", sum(chunk.size for chunk in chunks), "bytes", sum(chunks[i].size for i in found))

    def on_done(numbered: tuple[int, SourceChunk], result: SourceFindings | str) -> None:
        if isinstance(result, str):
            faults[numbered[0]] = result
        else:
            found[numbered[0]] = result
            job.progress.update(sum(chunks[i].size for i in found))

    def waiting() -> list[tuple[int, SourceChunk]]:
        before = min(faults, default=len(chunks))  # a fault behind another is not the one to name
        return [(i, chunk) for i, chunk in enumerate(chunks[:before]) if i not in found]

    # Again after a fault: a chunk before it whose worker had died just then may not have been read.
    while some := waiting():
        has_new = partial(_has_new_fault, job, faults, len(faults))
        pool.run(lambda: make_worker(task, fetched.node), some, job.requirement.workers, "read", on_done, has_new)
    if faults:
        raise DatasetError(faults[min(faults)])
    return [found[number] for number in range(len(chunks))]


def _has_new_fault(job: JobContext, faults: dict[int, str], known: int) -> bool:
    return _check_stop(job) or len(faults) > known


def _write(
    job: JobContext, pool: Pool, task: DatasetTask, chunks: list[SourceChunk], found: SourceFindings
) -> tuple[DatasetInfo, dict[str, Any]]:
    """Writes all files of the dataset. Gives what documents.json says, and the statistics."""
    shared, stored = job.store.parts(task.shared), job.store.parts(task.dataset)
    sizes = _stored(job, task, shared, [sizes_name(number) for number in range(len(chunks))])
    files = dataset_files(map(sizes.path, sizes.names))
    if not files:
        raise no_documents(dict.fromkeys(file.name for chunk in chunks for file in chunk.files), found.counts)
    infos = {
        file.number: DatasetInfo(**stored[name][1]) for file in files if (name := documents_name(file.number)) in stored
    }
    done = sum(info.documents for info in infos.values())
    job.progress.start("write", sum(file.documents for file in files), "documents", done)

    def on_done(one: DatasetFileTask, info: DatasetInfo) -> None:
        infos[one.file.number] = info
        job.progress.update(sum(info.documents for info in infos.values()))

    def task_of(file: DatasetFile) -> DatasetFileTask:
        own = _stored(job, task, shared, [chunk_name(one.chunk) for one in file.ranges])
        return DatasetFileTask(file, own, has_train_alone(found, task.options))

    waiting = [task_of(file) for file in files if file.number not in infos]
    make, stop = partial(make_worker, task), partial(_check_stop, job)
    pool.run(make, waiting, job.requirement.workers, "write", on_done, stop)
    # Added up by a worker: they may take the memory of one.
    names = [statistics_name(file.number) for file in files]
    figures: list[dict[str, Any]] = []
    parts = _stored(job, task, job.store.parts(task.shared), names)
    pool.run(make, [parts], 1, "figures", lambda _, result: figures.append(result), stop)
    return total_info([infos[file.number] for file in files]), figures[0]


def _stored(
    job: JobContext, task: DatasetTask, parts: Mapping[str, tuple[StoredFile, Any]], names: Iterable[str]
) -> StoredFiles:
    return StoredFiles(job.store, task.shared, [parts[name][0] for name in names])


def _files(job: JobContext, info: DatasetInfo) -> list[StoredFile]:
    """The files of the dataset, documents.json last."""
    output = job.outputs[0].ref
    path = job.scratch / DOCUMENTS_JSON
    info.save(path)
    stored = job.store.parts(output)
    files = [stored[own][0] for name in info.files for own in (index_name(name), name)]
    return [*files, job.store.put(output, job.attempt, DOCUMENTS_JSON, path)]


def _check_stop(job: JobContext) -> bool:
    if job.stop_requested():
        raise Stopped("stopped; the chunks that were read are kept, and the next attempt goes on from there")
    return False
