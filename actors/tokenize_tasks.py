"""Tokenizing on Ray Data: a task for each chunk of documents, then a task for each output shard.

Each task writes one file and stores it as a finished part, so what an earlier attempt finished is not done again, and a
task that Ray runs a second time gives the same bytes. Only counts travel through Ray.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import ray.data
from ray.data import DataContext, TaskPoolStrategy

from actors.worker_setup import temporary_folder
from cluster.store import ArtifactFiles, Store
from configs.artifact_ids import ArtifactRef
from configs.requirements import Requirement
from configs.tokenize import TokenizeConfig
from sae.formats.dataset import MESSAGES, TEMPLATE_VARIABLES, DatasetReader, release_unused
from sae.text.chat_tokens import ChatRendering
from sae.text.chosen_documents import chosen_documents, extra_columns, metadata_of
from sae.text.flat_tokens import EncodedChunk, FlatTokens, encode_chunk, map_flat, release_memory, write_flat
from sae.text.packing import pack_shard
from sae.text.row_pieces import open_rows
from sae.text.shard_layout import Shard, SplitLayout
from sae.text.tokenizer_spec import TokenizerSpec

_RETURNED_ERRORS = (ValueError, RuntimeError, OSError, MemoryError)
NO_PROGRESS_S = 300  # no task ended for so long: the execution fails instead of waiting for ever


Task = Callable[..., dict[str, Any]]


class PartsTarget(NamedTuple):
    """Where tasks put their parts."""

    store: Store
    ref: ArtifactRef
    attempt: int


def chunk_name(number: int) -> str:
    """Name of the flat token file of a chunk."""
    return f"chunk-{number:05d}.arrow"


def rows_name(split: str) -> str:
    """Name of the file that lists the pieces of a split's rows."""
    return f"rows-{split}.arrow"


def store_chunk(
    item: dict[str, Any],
    *,
    target: PartsTarget,
    datasets: list[ArtifactFiles],
    spec: TokenizerSpec,
    config: TokenizeConfig,
    threads: int,
    chats: ChatRendering | None,
) -> dict[str, Any]:
    """First pass: `item` {name, dataset, file, start, stop, weight, first_document} names documents.

    Stores their flat token file. Documents are numbered from `first_document` on, over all datasets of a mixture.
    `chats`: how those that are chats become text, if there are any.
    """
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # read when the tokenizer first encodes in this process
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    with temporary_folder() as folder:
        path = Path(folder, item["name"])
        chunk = _encoded(item, DatasetReader(datasets[item["dataset"]]), spec, config, chats, path.parent)
        release_unused()  # of the texts, which may be as large as what is written of them
        docs, splits, tokens, kept, speakers = chunk
        counts = write_flat(path, docs, splits, tokens, spec, kept, speakers)
        target.store.put(target.ref, target.attempt, path.name, path, extra=counts.to_json(), part=True)
    return {"weight": item["weight"]}


def _encoded(
    item: dict[str, Any],
    reader: DatasetReader,
    spec: TokenizerSpec,
    config: TokenizeConfig,
    chats: ChatRendering | None,
    folder: Path,
) -> EncodedChunk:
    columns = [
        "doc",
        "split",
        "text",
        *([] if chats is None else [MESSAGES, TEMPLATE_VARIABLES]),
        *extra_columns(config),
    ]
    documents = chosen_documents(reader.read(item["file"], item["start"], item["stop"], columns), config)
    return encode_chunk(documents, spec, folder, item["first_document"], metadata_of(documents, config), chats)


def store_shard(
    item: dict[str, Any],
    *,
    target: PartsTarget,
    flats: ArtifactFiles,
    layouts: dict[str, SplitLayout],
    spec: TokenizerSpec,
    length: int,
    config: TokenizeConfig,
) -> dict[str, Any]:
    """Second pass: `item` {name, split, number, start, stop, weight} names shuffled rows; stores their shard.

    Rows are listed in a file of `flats` unless they can be computed. The note beside the part has the counts of its `roles` and
    `speakers`, see ShardCounts.
    """
    shard = Shard(item["split"], item["number"], item["start"], item["stop"])
    layout = layouts[shard.split]
    if rows_name(shard.split) in flats.names:
        layout = layout._replace(pieces=open_rows(flats.path(rows_name(shard.split))))
    opened: dict[int, FlatTokens] = {}

    def flat(chunk: int) -> FlatTokens:
        if chunk not in opened:
            opened[chunk] = map_flat(flats.path(chunk_name(chunk)))
        return opened[chunk]

    with temporary_folder() as folder:
        path = Path(folder, item["name"])
        counts = pack_shard(shard, layout, flat, spec, length, config, path)
        release_memory(opened.values())
        target.store.put(target.ref, target.attempt, path.name, path, extra=counts._asdict(), part=True)
    return {"weight": item["weight"]}


def _returning_errors(task: Task, arguments: dict[str, Any]) -> Task:
    """The task with its arguments. What it raises goes back as a value: Ray Data would lose the error on the way."""

    def returning(item: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**task(item, **arguments), "error": "", "message": "", "errno": 0}
        except _RETURNED_ERRORS as error:
            kind = f"{type(error).__module__}:{type(error).__name__}"
            number = error.errno or 0 if isinstance(error, OSError) else 0
            message = (error.strerror if isinstance(error, OSError) else None) or str(error)
            return {"weight": 0, "error": kind, "message": message, "errno": number}

    returning.__name__ = task.__name__  # what the dashboard and the process list show
    return returning


def _error(row: dict[str, Any]) -> Exception:
    """The error that a task returned: of its own class if that is one of ours, else of the nearest that Python has."""
    module, name = row["error"].split(":")
    if module.split(".")[0] in ("sae", "cluster", "configs", "actors"):
        ours: Exception = getattr(import_module(module), name)(row["message"])
        return ours
    if row["errno"]:
        return OSError(row["errno"], row["message"])
    return MemoryError(row["message"]) if name == "MemoryError" else RuntimeError(f"{name}: {row['message']}")


def run_tasks(
    task: Task,
    items: Sequence[dict[str, Any]],
    requirement: Requirement,
    on_done: Callable[[int], None],
    should_stop: Callable[[], bool],
    **arguments: Any,
) -> bool:
    """Runs `task(item, **arguments)` for every item, at most `requirement.workers` at a time, through Ray Data.

    `on_done(weight)` is called here for each item done, in order of completion. Returns False if `should_stop` ended it
    early. A worker that dies has its item done again; the first error that a task raises ends the run and is raised.
    """
    if not items:
        return True
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # it logs every plan and every end
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # and that its bars are off
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_S
    rows = ray.data.from_items(list(items), override_num_blocks=len(items)).map(
        _returning_errors(task, arguments),
        compute=TaskPoolStrategy(size=min(requirement.workers, len(items))),
        num_cpus=requirement.cpus,
        memory=requirement.memory or None,
        label_selector=dict(requirement.labels) or None,
    )
    finished: Iterator[dict[str, Any]] = iter(rows.iter_rows())
    for row in finished:
        if row["error"]:
            raise _error(row)
        on_done(int(row["weight"]))
        if should_stop():
            return False
    return True
