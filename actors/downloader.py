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

REPORT_S = 1.0


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
    source = resolve_source(config.source, config.what)
    if source.identity != identity:
        raise SourceError(
            f"{source.label} has changed since this job was made, or is another one on node "
            f"{ray.util.get_node_ip_address()}: submit the job again"
        )
    root = yield from _fetch(source)
    with temporary_folder() as scratch:
        folder = Path(scratch, "artifact")
        folder.mkdir()
        if config.what == "dataset":
            summary = yield from _documents(source, root, config.dataset or DatasetOptions(), folder)
        else:
            yield Step("convert", 0, 1)
            summary = _model(source, root, Path(scratch, "source"), folder, threads)
        stored = [store.put(ref, attempt, path.name, path) for path in sorted(folder.iterdir())]
    yield Result(stored, {**summary, "source": source.identity})


def _fetch(source: ResolvedSource) -> Generator[Step, None, Path]:
    done = [0]
    total = len(source.names)
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(source.fetch, lambda count: done.__setitem__(0, count))
        while not fetching.done():
            yield Step("fetch", done[0], total)
            wait([fetching], REPORT_S)
    return fetching.result()


def _documents(
    source: ResolvedSource, root: Path, options: DatasetOptions, folder: Path
) -> Generator[Step, None, dict[str, Any]]:
    from sae.text.readers import SourceFile
    from sae.text.write_dataset import write_dataset

    files = [SourceFile(name, root / name) for name in source.names]
    writing = write_dataset(files, options, folder, source.splits)
    reported = 0.0
    while True:
        try:
            files_done = next(writing)
        except StopIteration as done:
            summary: dict[str, Any] = done.value
            return {**summary, "notes": [*source.notes, *summary["notes"]]}
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            yield Step("documents", files_done, len(files))


def _model(source: ResolvedSource, root: Path, links: Path, folder: Path, threads: int) -> dict[str, Any]:
    import torch

    from sae.language_model import ModelError, convert_model

    torch.set_num_threads(threads)
    if len(source.names) == 1 and source.names[0].endswith(".gguf"):
        return convert_model(root / source.names[0], folder)
    links.mkdir()  # only the files that were chosen: they are what the identity speaks of
    for name in source.names:
        (links / PurePosixPath(name).name).symlink_to((root / name).resolve())
    try:
        return convert_model(links, folder)
    except ModelError as error:  # name what the user knows, not the folder of links
        raise ModelError(str(error).replace(str(links), source.label)) from None
