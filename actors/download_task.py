"""Downloading in a Ray task of the stage's size: fetches a source's files, makes an artifact of them, stores it.

If a dataset is for several workers and its source can be divided, the task ends when the files are there.
actors/dataset_workers.py reads them then.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from actors.error_serialization import stream_errors_as_text
from actors.worker_setup import temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef
from configs.download import DatasetOptions, DownloadConfig, HubSource
from sae.sources import ResolvedSource, SourceError, resolve_source

if TYPE_CHECKING:  # a model is downloaded without what reads text
    from sae.text.readers import SourceFile
    from sae.text.source_chunks import DividedSource

REPORT_S = 1.0
_WEIGHTS = (".safetensors", ".gguf")


class Step(NamedTuple):
    """How far a download is: `done` of `total` units in a phase (`fetch`, `documents` or `convert`)."""

    phase: str
    done: int
    total: int
    unit: str = "files"


class Result(NamedTuple):
    """What a download stored, and figures on it."""

    files: list[StoredFile]
    summary: dict[str, Any]


class Fetched(NamedTuple):
    """A dataset's source whose files are on `node`, to be read in chunks there. `notes` on the source are for people."""

    source: DividedSource
    node: str
    notes: tuple[str, ...]


@ray.remote
@stream_errors_as_text
def download(
    config: DownloadConfig,
    identity: dict[str, Any],
    store: Store,
    ref: ArtifactRef,
    attempt: int,
    threads: int,
    in_chunks: bool,
) -> Generator[Step | Fetched | Result, None, None]:
    """Gives Steps, then one Result; with `in_chunks` one Fetched, if it is a dataset whose source can be divided.

    `identity` is what the source was when the job was made; a source that has changed since is refused. Raises SourceError,
    DatasetError, ModelError.
    """
    source = resolve_source(config.source, config.what)
    if source.identity != identity:
        raise SourceError(
            f"{source.label} has changed since this job was made, or is another one on node "
            f"{ray.util.get_node_ip_address()}: submit the job again"
        )
    first = (
        [name for name in source.names if not name.endswith(_WEIGHTS)] if isinstance(config.source, HubSource) else []
    )
    if config.what == "model" and "config.json" in first:
        _check_model((yield from _fetch(source, first)), source.label)
    root = yield from _fetch(source, source.names)
    if in_chunks and config.what == "dataset":
        from sae.text.source_chunks import divide

        divided = divide(_files(source, root), config.dataset or DatasetOptions(), source.splits)
        if divided is not None:
            yield Fetched(divided, ray.get_runtime_context().get_node_id(), source.notes)
            return
    with temporary_folder() as scratch:
        folder = Path(scratch, "artifact")
        folder.mkdir()
        if config.what == "dataset":
            summary = yield from _documents(source, root, config.dataset or DatasetOptions(), folder)
        else:
            yield Step("convert", 0, 1)
            summary = _model(source, root, Path(scratch, "source"), folder, threads)
            if config.quantization is not None:
                from sae.language_model.quantization import write_quantization

                write_quantization(folder, config.quantization)
                summary["quantization"] = config.quantization
        stored = [store.put(ref, attempt, path.name, path) for path in sorted(folder.iterdir())]
    yield Result(stored, {**summary, "source": source.identity})


def _fetch(source: ResolvedSource, names: Sequence[str]) -> Generator[Step, None, Path]:
    """Makes files of a source local, those that are already for nothing; gives the folder that holds them."""
    done = [0]
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(source.fetch, names, lambda count: done.__setitem__(0, count))
        while not fetching.done():
            yield Step("fetch", done[0], source.size, "bytes")
            wait([fetching], REPORT_S)
    return fetching.result()


def _files(source: ResolvedSource, root: Path) -> list[SourceFile]:
    from sae.text.readers import SourceFile

    return [SourceFile(name, root / name) for name in source.names]


def _documents(
    source: ResolvedSource, root: Path, options: DatasetOptions, folder: Path
) -> Generator[Step, None, dict[str, Any]]:
    from sae.text.write_dataset import write_dataset

    files = _files(source, root)
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


def _check_model(folder: Path, label: str) -> None:
    """Raises ModelError if no model with this config can be used: before its weights are fetched, which may take hours."""
    from sae.language_model import ModelError
    from sae.language_model.loading import read_config
    from sae.language_model.model_summary import check_usable

    try:
        check_usable(read_config(folder))
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from None


def _model(source: ResolvedSource, root: Path, links: Path, folder: Path, threads: int) -> dict[str, Any]:
    import torch

    from sae.language_model import ModelError, convert_model

    torch.set_num_threads(threads)
    if len(source.names) == 1 and source.names[0].endswith(".gguf"):
        files = root / source.names[0]
    else:
        files = links
        files.mkdir()  # only the files that were chosen: they are what the identity speaks of
        for name in source.names:
            (files / PurePosixPath(name).name).symlink_to((root / name).resolve())
    try:
        return convert_model(files, folder)
    except ModelError as error:
        raise ModelError(f"{source.label}: {error}") from None
