"""Synthesize: activations of a planted dictionary, for SAEs whose recovery of it is to be measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.synthesize import PLANTED_HOOK, SynthesizeConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Inputs, Stage

if TYPE_CHECKING:
    from actors.synthesizer import SampleChunk
    from cluster.store import Store

VERSION = 1
_HELDOUT = 1 << 40  # the streams of held-out chunks: beyond those of all others, however many rows there are
_FILE_BYTES = 250  # of a file beside its arrays


def inputs(config: SynthesizeConfig) -> dict[str, StageConfig | str]:
    """None: all is drawn by the config's seed."""
    return {}


def outputs(config: SynthesizeConfig, inputs: Inputs, fp: str) -> list[Output]:
    """One activations artifact."""
    label = f"{config.features:,} planted features in {config.d} dimensions"
    return [Output(ArtifactRef("activations", fp), label, _bytes(config))]


def store_bytes(config: SynthesizeConfig, inputs: Inputs, store: Store) -> int:
    """Bytes of the dictionary and, at most, of the samples."""
    return _bytes(config)


def _bytes(config: SynthesizeConfig) -> int:
    from sae.planted.forest import firing_probabilities

    active = float(firing_probabilities(config).sum())  # of a sample; a forest makes them fewer
    samples = (config.rows + config.heldout_rows) * config.row_samples
    dictionary = config.features * (4 * config.d + 8 * (config.correlation_rank + 6))
    return int(
        dictionary
        + samples * (2 + 4 * active)
        + _FILE_BYTES * (12 + (config.rows + config.heldout_rows) // config.rows_per_chunk)
    )


def run(job: JobContext) -> None:
    """Makes the dictionary, then the chunks that no earlier attempt finished, on a pool of synthesizers."""
    from actors.pool import run_chunks
    from actors.synthesizer import SynthesizeTask, make_synthesizer
    from sae.formats.planted import DICTIONARY, planted_chunk_name

    config: SynthesizeConfig = job.config
    ref = job.outputs[0].ref
    task = SynthesizeTask(config, ref, job.store, job.attempt, job.requirement)
    chunks = [*_chunks(config, "chunk"), *_chunks(config, "heldout")]
    finished = job.store.parts(ref)
    todo = [chunk for chunk in chunks if planted_chunk_name(chunk.part, chunk.number) not in finished]
    rows = config.rows + config.heldout_rows
    done = rows - sum(chunk.rows for chunk in todo)
    job.progress.start("synthesize", rows, "rows", done)

    def on_done(chunk: SampleChunk, chunk_rows: int) -> None:
        nonlocal done
        done += chunk_rows
        job.progress.update(done)

    made = DICTIONARY in finished or run_chunks(
        lambda: make_synthesizer(task), [None], 1, "dictionary", lambda *_: None, job.stop_requested
    )
    if not made or not run_chunks(
        lambda: make_synthesizer(task), todo, job.requirement.workers, "chunk", on_done, job.stop_requested
    ):
        raise Stopped(f"stopped after {done} of {rows} rows; the finished chunks are kept")
    _publish(job)


def _chunks(config: SynthesizeConfig, part: str) -> list[SampleChunk]:
    from actors.synthesizer import SampleChunk

    rows, first = (config.rows, 0) if part == "chunk" else (config.heldout_rows, _HELDOUT)
    size = config.rows_per_chunk
    return [
        SampleChunk(part, number, min(size, rows - start), first + number)  # type: ignore[arg-type]
        for number, start in enumerate(range(0, rows, size))
    ]


def _publish(job: JobContext) -> None:
    from sae.formats.activations import INFO_JSON
    from sae.formats.planted import FORMAT

    config: SynthesizeConfig = job.config
    output = job.outputs[0]
    parts = job.store.parts(output.ref)
    active = sum(extra.get("active", 0) for _, extra in parts.values())
    samples = (config.rows + config.heldout_rows) * config.row_samples
    info = {
        "format": FORMAT,
        "rows": config.rows,
        "heldout_rows": config.heldout_rows,
        "rows_per_chunk": config.rows_per_chunk,
        "context_length": config.row_samples,
        "dtype": "fp32",
        "d": config.d,
        "features": config.features,
        "l0": active / samples,
        "positions": {PLANTED_HOOK: {"data": config.rows * config.row_samples}},
    }
    path = job.scratch / INFO_JSON
    path.write_text(json.dumps(info, indent=2, sort_keys=True) + "\n")
    files = [file for file, _ in parts.values()]
    job.publish(output, [*files, job.store.put(output.ref, job.attempt, INFO_JSON, path)], info)


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
