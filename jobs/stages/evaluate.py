"""Evaluate: measures SAEs on held-out documents; one evaluation artifact an SAE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.evaluate import EvaluateConfig
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.evaluator import Chunk, EvaluatorSettings
    from cluster.store import Store
    from sae.metrics.batch_evaluation import RowResults

VERSION = 2
_CHUNK_BYTES = 1200  # of a chunk's file beside its arrays
_LATENT_BYTES = 8  # in density.parquet
_METRICS_BYTES = 2500


def inputs(config: EvaluateConfig) -> dict[str, StageConfig | str]:
    """The SAE, or the training run whose SAEs are all measured."""
    return {"sae": config.sae}


def outputs(config: EvaluateConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One evaluation an SAE, named by that SAE alone, so that it is the same however the SAE was referred to."""
    science = {key: value for key, value in config.science().items() if key != "sae"}
    return [
        Output(ArtifactRef("evaluations", fingerprint("evaluate", VERSION, science, {"sae": str(sae)})), f"of {sae}")
        for sae in inputs["sae"]
    ]


def store_bytes(config: EvaluateConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the chunks' sums, and of the artifacts."""
    total = 0
    for sae in inputs["sae"]:
        manifest = store.files(sae).manifest
        rows = min(config.rows, _rows(store, parse_ref(manifest.inputs["tokens"], "tokens"), config.split))
        cfg = json.loads(store.files(sae).path("cfg.json").read_text())
        d_in, d_sae, chunks = int(cfg["d_in"]), int(cfg["d_sae"]), -(-rows // config.rows_per_chunk)
        total += 8 * (rows * (d_in + 4) + min(rows, config.loss_rows) * 9 + chunks * d_sae)
        total += chunks * _CHUNK_BYTES + d_sae * _LATENT_BYTES + _METRICS_BYTES
    return total


def run(job: JobContext) -> None:
    """Measures every SAE that has no evaluation yet, one after the other."""
    missing = job.missing()
    for sae, output in zip(job.inputs["sae"], job.outputs, strict=True):
        if output in missing:
            _evaluate(job, sae, output)


def _evaluate(job: JobContext, sae: ArtifactRef, output: Output) -> None:
    """Measures the chunks that no earlier attempt finished, adds up all of them, and publishes."""
    from actors.evaluator import make_evaluator
    from actors.pool import run_chunks
    from sae.formats.evaluation import write_evaluation
    from sae.metrics.chunk_results import results_name
    from sae.metrics.summary import summarise

    settings = _settings(job, sae, output.ref)
    chunks = _chunks(job, settings)
    finished = job.store.parts(output.ref)
    todo = [chunk for chunk in chunks if results_name(chunk.start) not in finished]
    rows = chunks[-1].stop
    done = rows - sum(chunk.stop - chunk.start for chunk in todo)
    number = job.outputs.index(output) + 1
    phase = "evaluate" if len(job.outputs) == 1 else f"evaluate {number} of {len(job.outputs)}"
    job.progress.start(phase, rows, "rows", done)

    def on_done(chunk: Chunk, measured: int) -> None:
        nonlocal done
        done += measured
        job.progress.update(done)

    requirement = job.requirement
    if not run_chunks(
        lambda: make_evaluator(job.store, settings, requirement),
        todo,
        requirement.workers,
        "measure",
        on_done,
        job.stop_requested,
    ):
        raise Stopped(f"stopped after {done} of {rows} rows; the finished chunks are kept")
    summary = summarise(_results(job, output.ref, chunks))
    metrics = {
        **summary.metrics,
        "sae": str(sae),
        "split": settings.split,
        "lm_dtype": settings.lm_dtype,
        "policy": settings.policy.model_dump(mode="json"),
    }
    names = write_evaluation(job.scratch, metrics, summary.counts)
    files = [job.store.put(output.ref, job.attempt, name, job.scratch / name) for name in names]
    job.publish(output, files, metrics, inputs={"sae": [sae]})


def _results(job: JobContext, output: ArtifactRef, chunks: list[Chunk]) -> Iterator[RowResults]:
    """What was measured, in row order, one chunk at a time."""
    from sae.metrics.chunk_results import load_results, results_name

    files = job.store.part_files(output)
    for chunk in chunks:
        yield load_results(files.path(results_name(chunk.start)))


def _settings(job: JobContext, sae: ArtifactRef, output: ArtifactRef) -> EvaluatorSettings:
    """The SAE is measured with the model, the tokens and the policy that it was trained with."""
    from actors.evaluator import EvaluatorSettings

    config: EvaluateConfig = job.config
    manifest = job.store.files(sae).manifest
    return EvaluatorSettings(
        sae=sae,
        output=output,
        model=parse_ref(manifest.inputs["model"], "models"),
        tokens=parse_ref(manifest.inputs["tokens"], "tokens"),
        split=config.split,
        policy=TrainConfig.model_validate(manifest.config).policy,
        lm_dtype=config.lm_dtype,
        batch_rows=config.batch_rows,
        loss_rows=config.loss_rows,
        attempt=job.attempt,
    )


def _chunks(job: JobContext, settings: EvaluatorSettings) -> list[Chunk]:
    """Chunks of the split's first `rows` rows."""
    from actors.evaluator import Chunk

    config: EvaluateConfig = job.config
    available = _rows(job.store, settings.tokens, settings.split)
    rows = min(config.rows, available)
    if rows < config.rows:
        job.progress.log(f"split {settings.split!r} has {available} rows, not {config.rows}")
    size = config.rows_per_chunk
    return [Chunk(start, min(start + size, rows)) for start in range(0, rows, size)]


def _rows(store: Store, tokens: ArtifactRef, split: str) -> int:
    from sae.formats.tokens import TokensReader

    return TokensReader(store.files(tokens), split).n_rows


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
