"""Harvest: the activations of data positions, written once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.harvest import HarvestConfig
from configs.hook_names import hook_width
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from cluster.store import Store

VERSION = 2
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def inputs(config: HarvestConfig) -> dict[str, StageConfig | str]:
    """The model and the tokens."""
    return {"model": config.model, "tokens": config.tokens}


def outputs(config: HarvestConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One activation cache."""
    return [Output(ArtifactRef("activations", fp), f"{', '.join(config.hooks)} ({config.dtype})")]


def store_bytes(config: HarvestConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes that the cache will take at most."""
    rows, context_length = _size(config, inputs["tokens"][0], store)
    widths = hook_widths(inputs["model"][0], store, config.hooks)
    return sum(rows * context_length * (width * _BYTES[config.dtype] + 8) for width in widths)


def hook_widths(model: ArtifactRef, store: Store, hooks: Iterable[str]) -> list[int]:
    """Numbers in the value of each hook of a model, at most."""
    files = store.files(model)
    config = json.loads(files.path("config.json").read_text(encoding="utf-8"))
    return [hook_width(files.manifest.summary, config, hook) for hook in hooks]


def run(job: JobContext) -> None:
    """Harvests the chunks that no earlier attempt finished, on a pool of harvesters."""
    from actors.harvester import HarvestTask, make_harvester
    from actors.pool import run_chunks

    config: HarvestConfig = job.config
    output = job.outputs[0]
    rows, context_length = _size(config, job.one("tokens"), job.store)
    task = HarvestTask(
        config, output.ref, job.one("model"), job.one("tokens"), rows, job.store, job.attempt, job.requirement
    )
    chunks = list(range(-(-rows // config.rows_per_chunk)))
    sizes = {c: min(config.rows_per_chunk, rows - c * config.rows_per_chunk) for c in chunks}
    finished = _finished(job)
    todo = [c for c in chunks if c not in finished]
    done = sum(sizes.values()) - sum(sizes[c] for c in todo)
    job.progress.start("harvest", rows, "rows", done)

    def on_done(chunk: int, chunk_rows: int) -> None:
        nonlocal done
        done += chunk_rows
        job.progress.update(done)

    if not run_chunks(
        lambda: make_harvester(task), todo, job.requirement.workers, "chunk", on_done, job.stop_requested
    ):
        raise Stopped(f"stopped after {done} of {rows} rows; the finished chunks are kept")
    _publish(job, output, rows, context_length)


def _size(config: HarvestConfig, tokens: ArtifactRef, store: Store) -> tuple[int, int]:
    info = json.loads(store.files(tokens).path("tokens.json").read_text())
    split = info["splits"].get(config.split)
    if not split or not split["rows"]:
        have = ", ".join(f"{name} ({s['rows']} rows)" for name, s in info["splits"].items() if s["rows"])
        raise ValueError(f"{tokens} has no rows of split {config.split!r}; it has {have}")
    if config.rows is not None and config.rows > split["rows"]:
        raise ValueError(
            f"the config wants {config.rows:,} rows of split {config.split!r}, but {tokens} has {split['rows']:,}; "
            f"lower `rows` or tokenize more text"
        )
    return config.rows or split["rows"], info["context_length"]


def _finished(job: JobContext) -> set[int]:
    """Chunks that earlier attempts stored for every hook. The notes are read once: there may be thousands."""
    from sae.formats.activations import HOOKS_JSON, chunk_name

    parts = job.store.parts(job.outputs[0].ref)
    if HOOKS_JSON not in parts:  # written by the harvester that first loads the model
        return set()
    hooks = parts[HOOKS_JSON][1]["names"].values()
    return {c for c in range(len(parts)) if all(chunk_name(hook, c) in parts for hook in hooks)}


def _publish(job: JobContext, output: Output, rows: int, context_length: int) -> None:
    from sae.formats.activations import INFO_JSON

    config: HarvestConfig = job.config
    parts = job.store.parts(output.ref)
    positions: dict[str, dict[str, int]] = {}
    for name, (_, extra) in parts.items():
        if "data" in extra:
            counts = positions.setdefault(name.rsplit("/", 1)[0], {})
            for reason, count in {"data": extra["data"], **extra["excluded"]}.items():
                counts[reason] = counts.get(reason, 0) + count
    info = {
        "rows": rows,
        "rows_per_chunk": config.rows_per_chunk,
        "context_length": context_length,
        "dtype": config.dtype,
        "positions": positions,
    }
    path = job.scratch / INFO_JSON
    path.write_text(json.dumps(info, indent=2, sort_keys=True) + "\n")
    files = [file for file, _ in parts.values()]
    job.publish(output, [*files, job.store.put(output.ref, job.attempt, INFO_JSON, path)], info)


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
