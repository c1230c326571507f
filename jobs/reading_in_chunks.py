"""Reads the source of a dataset on several workers: its chunks first, then the files of the dataset are written.

The bytes are those of one pass on one worker. Only what is missing is done: parts of an earlier attempt count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.dataset_workers import DatasetTask, make_reader, make_writer
from actors.download_task import Fetched, Result
from actors.pool import run_chunks
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
    chunks, shape = fetched.source
    found = total_findings(_read(job, task, chunks, fetched.node))
    if found is None:
        return None
    stored = job.store.part_files(task.shared)
    files = dataset_files(stored.path(sizes_name(number)) for number in range(len(chunks)))
    if not files:
        raise no_documents(list(dict.fromkeys(file.name for chunk in chunks for file in chunk.files)), found.counts)

    def new_writer() -> Any:
        return make_writer(task, stored, has_train_alone(found, options))

    info = total_info(_write(job, task, files, new_writer))
    summary = dataset_summary(found, shape, info, _figures(job, task, files, new_writer), options)
    return Result(_files(job, info), {**summary, "notes": [*fetched.notes, *summary["notes"]]})


def _read(job: JobContext, task: DatasetTask, chunks: list[SourceChunk], node: str) -> list[SourceFindings]:
    """Reads all chunks. Gives what each one has. Raises the error of the first that cannot be read."""
    stored = job.store.parts(task.shared)
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
        run_chunks(lambda: make_reader(task, node), some, job.requirement.workers, "read", on_done, has_new)
    if faults:
        raise DatasetError(faults[min(faults)])
    return [found[number] for number in range(len(chunks))]


def _has_new_fault(job: JobContext, faults: dict[int, str], known: int) -> bool:
    return _check_stop(job) or len(faults) > known


def _write(
    job: JobContext, task: DatasetTask, files: list[DatasetFile], new_writer: Callable[[], Any]
) -> list[DatasetInfo]:
    """Writes all files of the dataset. Gives what documents.json says of each one."""
    stored = job.store.parts(task.dataset)
    found = {
        file.number: DatasetInfo(**stored[name][1]) for file in files if (name := documents_name(file.number)) in stored
    }
    done = sum(info.documents for info in found.values())
    job.progress.start("write", sum(file.documents for file in files), "documents", done)

    def on_done(file: DatasetFile, info: DatasetInfo) -> None:
        found[file.number] = info
        job.progress.update(sum(info.documents for info in found.values()))

    waiting = [file for file in files if file.number not in found]
    run_chunks(new_writer, waiting, job.requirement.workers, "write", on_done, lambda: _check_stop(job))
    return [found[file.number] for file in files]


def _figures(
    job: JobContext, task: DatasetTask, files: list[DatasetFile], new_writer: Callable[[], Any]
) -> dict[str, Any]:
    """The statistics of the dataset, added up by a worker: they may take the memory of one."""
    stored = job.store.parts(task.shared)
    statistics = [stored[statistics_name(file.number)][0] for file in files]
    figures: list[dict[str, Any]] = []
    run_chunks(
        new_writer, [StoredFiles(job.store, task.shared, statistics)], 1, "figures",
        lambda _, found: figures.append(found), lambda: _check_stop(job),
    )  # fmt: skip
    return figures[0]


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
