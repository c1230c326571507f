"""Downloading in a Ray task of the stage's size: fetches a source's files, makes an artifact of them, stores it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import ray

from actors.worker_setup import temporary_folder
from cluster.store import Store, StoredFile
from configs.download import DatasetOptions, DownloadConfig
from configs.identity import ArtifactRef
from sae.sources import ResolvedSource, SourceError, resolve_source

SAY_SECONDS = 1.0


class Step(NamedTuple):
    """How far a download is: `done` of `total` files in a phase (`fetch`, `documents` or `convert`)."""

    phase: str
    done: int
    total: int


class Result(NamedTuple):
    """What a download stored, and figures on it."""

    files: list[StoredFile]
    summary: dict[str, Any]


@ray.remote
def download(
    config: DownloadConfig, identity: dict[str, Any], store: Store, ref: ArtifactRef, attempt: int, threads: int
) -> Iterator[Step | Result]:
    """Gives Steps, then one Result. Raises SourceError, DatasetError, ModelError.

    `identity` is what the source was when the job was made; a source that has changed since is refused.
    """
    found = resolve_source(config.source, config.what)
    if found.identity != identity:
        raise SourceError(
            f"{found.label} has changed since this job was made, or is another one on node "
            f"{ray.util.get_node_ip_address()}: submit the job again"
        )
    root = yield from _fetch(found)
    with temporary_folder() as scratch:
        folder = Path(scratch, "artifact")
        folder.mkdir()
        if config.what == "dataset":
            summary = yield from _documents(found, root, config.dataset or DatasetOptions(), folder)
        else:
            yield Step("convert", 0, 1)
            summary = _model(found, root, Path(scratch, "source"), folder, threads)
        stored = [store.put(ref, attempt, path.name, path) for path in sorted(folder.iterdir())]
    yield Result(stored, {**summary, "source": found.identity})


def _fetch(found: ResolvedSource) -> Generator[Step, None, Path]:
    done = [0]
    total = len(found.names)
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(found.fetch, lambda count: done.__setitem__(0, count))
        while not fetching.done():
            yield Step("fetch", done[0], total)
            wait([fetching], SAY_SECONDS)
    return fetching.result()


def _documents(
    found: ResolvedSource, root: Path, options: DatasetOptions, folder: Path
) -> Generator[Step, None, dict[str, Any]]:
    from sae.formats.dataset import DatasetWriter
    from sae.text.source_documents import SourceDocuments, SourceFile

    source = SourceDocuments([SourceFile(name, root / name) for name in found.names], options)
    writer = DatasetWriter(folder)
    said = 0.0
    for document in source:
        writer.add(document)
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            yield Step("documents", source.files_done, len(found.names))
    info = writer.finish()
    return {
        "documents": info.documents, "text_bytes": info.text_bytes, "splits": info.splits, "columns": info.columns,
        "empty_documents": source.empty,
    }  # fmt: skip


def _model(found: ResolvedSource, root: Path, source: Path, folder: Path, threads: int) -> dict[str, Any]:
    import torch

    from sae.language_model import ModelError, convert_model

    torch.set_num_threads(threads)
    if len(found.names) == 1 and found.names[0].endswith(".gguf"):
        source = root / found.names[0]
    else:
        source.mkdir()  # only the files that were chosen: they are what the identity speaks of
        for name in found.names:
            (source / PurePosixPath(name).name).symlink_to((root / name).resolve())
    try:
        return convert_model(source, folder)
    except ModelError as error:
        raise ModelError(f"{found.label}: {error}") from error
