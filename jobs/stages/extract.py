"""Extract: what each feature of an SAE responds to; one features artifact an SAE, all on one pass over the tokens."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from configs.architectures import target_l0
from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.extract import ExtractConfig
from configs.sae_origin import SaeOrigin, sae_origin
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.extractor import ExtractorSettings, ExtractTask
    from cluster.store import Store
    from sae.features.sampling import Quota
    from sae.features.sketch_file import ChunkRange

VERSION = 3
_EXAMPLE_BYTES = 20  # of one example with its window, as stored (measured: 17 and 19 on two models)
_FEATURE_BYTES = 400  # of one feature's statistics (measured: 340 and 390)


def inputs(config: ExtractConfig) -> dict[str, StageConfig | str]:
    """The SAE, or the training run whose SAEs are all extracted."""
    return {"sae": config.sae}


def outputs(config: ExtractConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One features artifact an SAE, named by that SAE alone, so that it is the same however the SAE was referred to."""
    refs = {sae: fingerprint("extract", VERSION, _science(config), {"sae": str(sae)}) for sae in inputs["sae"]}
    return [Output(ArtifactRef("features", refs[sae]), f"of {sae}") for sae in inputs["sae"]]


def store_bytes(config: ExtractConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the sketches and of the artifacts, as far as activations are distributed as sae.features.sketch_size assumes."""
    from sae.features.sketch_size import chunks_per_sketch, expected_bytes

    examples = config.top_examples + config.quantiles * config.quantile_examples + config.uniform_examples
    total = 0
    for ref in inputs["sae"]:
        manifest, origin = store.files(ref).manifest, _origin(store, ref)
        rows, length = _size(config, origin, parse_ref(manifest.inputs["tokens"], "tokens"), store)
        sae = json.loads(store.files(ref).path("cfg.json").read_text())
        features = int(sae["d_sae"])
        l0 = origin.planned_l0 or target_l0(sae) or features / 10
        step = config.rows_per_chunk * chunks_per_sketch(
            rows, length, config.rows_per_chunk, config.resources.workers or 1
        )
        for first in range(0, rows, step):
            positions = min(step, rows - first) * length
            total += expected_bytes(features, positions, length, l0, _quota(config))
        total += features * (examples * _EXAMPLE_BYTES + _FEATURE_BYTES)
    return total


def run(job: JobContext) -> None:
    """Sketches the chunks that no earlier attempt finished, on a pool of extractors; merges and publishes each SAE."""
    from actors.extractor import Merged, make_merger
    from actors.pool import run_chunks

    missing = job.missing()
    pairs = [(sae, out) for sae, out in zip(job.inputs["sae"], job.outputs, strict=True) if out in missing]
    if not pairs:
        return
    settings = _settings(job, [(sae, output.ref) for sae, output in pairs])
    _sketch_rows(job, settings)
    job.progress.start("merge", len(pairs), "SAEs")

    def on_merged(i: int, merged: Merged) -> None:
        sae, output = pairs[i]
        provenance = {"activations_from": settings.targets[i].source}
        job.publish(output, merged.files, _summary(merged.info), provenance, {"sae": [sae]})
        job.progress.update(i + 1)

    # One merger, which goes through them in order.
    if not run_chunks(
        lambda: make_merger(job.store, settings, job.requirement),
        range(len(pairs)),
        1,
        "merge",
        on_merged,
        job.stop_requested,
    ):
        raise Stopped(f"stopped before merging; all {settings.rows} rows are kept")


def _sketch_rows(job: JobContext, settings: ExtractorSettings) -> None:
    """Has extractors sketch what is not stored yet. Each stores a sketch now and then; chunks in between are not kept."""
    from actors.extractor import make_extractor
    from actors.pool import run_chunks
    from actors.progress_channel import ProgressChannel

    tasks = _tasks(job, settings)
    began = done = settings.rows - sum(settings.rows_of(task.chunks) for task in tasks)
    job.progress.start("extract", settings.rows, "rows", done)
    job.progress.log(f"activations from the {' and the '.join(sorted({t.source for t in settings.targets}))}")
    channel = ProgressChannel.open(job.outputs[0].ref.id)

    def on_done(task: ExtractTask, chunks: ChunkRange) -> None:
        nonlocal done
        done += settings.rows_of(chunks)
        job.progress.durable(done)
        job.progress.update(done, durable=False)

    def should_stop() -> bool:
        job.progress.update(began + sum(channel.latest().values()), durable=False)
        if job.stop_requested():
            channel.request_stop()
            return True
        return False

    requirement = job.requirement
    try:
        run_chunks(
            lambda: make_extractor(job.store, settings, requirement, channel),
            tasks,
            requirement.workers,
            "extract",
            on_done,
            should_stop,
        )
    finally:
        channel.clear()
    if done < settings.rows:
        raise Stopped(f"stopped after {done} of {settings.rows} rows; the finished chunks are kept")


def _science(config: ExtractConfig) -> dict[str, Any]:
    return {key: value for key, value in config.science().items() if key != "sae"}


def _quota(config: ExtractConfig) -> Quota:
    from sae.features.sampling import Quota

    return Quota(config.top_examples, config.quantile_examples, config.uniform_examples, config.seed)


def _origin(store: Store, sae: ArtifactRef) -> SaeOrigin:
    origin = sae_origin(store.files(sae).manifest.config)
    if origin.planted:
        raise ValueError(f"{sae} was trained on planted activations, which have no tokens: there is nothing to extract")
    return origin


def _settings(job: JobContext, pairs: list[tuple[ArtifactRef, ArtifactRef]]) -> ExtractorSettings:
    """Model, tokens, policy and batches are those of the SAEs' training, which is one for all of them."""
    from actors.extractor import ExtractorSettings, Target

    config: ExtractConfig = job.config
    sae = pairs[0][0]
    manifest, origin = job.store.files(sae).manifest, _origin(job.store, sae)
    model, tokens = parse_ref(manifest.inputs["model"], "models"), parse_ref(manifest.inputs["tokens"], "tokens")
    rows, context_length = _size(config, origin, tokens, job.store)
    return ExtractorSettings(
        model=model,
        tokens=tokens,
        split=config.split,
        rows=rows,
        context_length=context_length,
        policy=origin.policy,
        lm_dtype=config.lm_dtype,
        dtype=origin.dtype,
        pass_rows=origin.pass_rows,
        batch_rows=config.batch_rows,
        rows_per_chunk=config.rows_per_chunk,
        quota=_quota(config),
        science=_science(config),
        targets=tuple(
            Target(sae, output, cache_of(job.store, sae, config.split, config.lm_dtype, rows)) for sae, output in pairs
        ),
        attempt=job.attempt,
    )


def _size(config: ExtractConfig, origin: SaeOrigin, tokens: ArtifactRef, store: Store) -> tuple[int, int]:
    """Rows to read, and positions in each. Raises ValueError if the split has not as many rows as the config wants."""
    from sae.formats.tokens import TokensReader

    reader = TokensReader(store.files(tokens), config.split)
    if config.rows is not None and config.rows > reader.n_rows:
        raise ValueError(
            f"the config wants {config.rows:,} rows of split {config.split!r}, but {tokens} has {reader.n_rows:,}; "
            f"lower `rows`, or leave it out to read the rows of the training"
        )
    trained = origin.rows if config.split == origin.split else None
    return min(config.rows or trained or reader.n_rows, reader.n_rows), reader.context_length


def cache_of(store: Store, sae: ArtifactRef, split: str, lm_dtype: str, rows: int) -> ArtifactRef | None:
    """The cache that the SAE was trained from, if it still exists and holds the wanted rows.

    Without it the model makes the same activations: in the batches, and rounded to the dtype, that training read.
    """
    harvest = _origin(store, sae).harvest
    if harvest is None:
        return None
    cache = parse_ref(store.files(sae).manifest.inputs["activations"], "activations")
    found = store.manifest(cache)
    same = split == harvest.split and lm_dtype in ("auto", harvest.lm_dtype)
    usable = found is not None and same and int(found.summary["rows"]) >= rows
    return cache if usable else None


def _tasks(job: JobContext, settings: ExtractorSettings) -> list[ExtractTask]:
    """What is left to sketch: ranges of chunks that the same targets lack, no longer than one sketch may cover."""
    from actors.extractor import ExtractTask
    from sae.features.sketch_file import ChunkRange, covered
    from sae.features.sketch_size import chunks_per_sketch

    ranges = [covered(job.store.parts(target.output)) for target in settings.targets]
    stored = [{chunk for one in found for chunk in range(*one)} for found in ranges]
    lacking = [tuple(t for t, have in enumerate(stored) if chunk not in have) for chunk in range(settings.chunks)]
    size = chunks_per_sketch(settings.rows, settings.context_length, settings.rows_per_chunk, job.requirement.workers)
    tasks = []
    for targets, run in groupby(range(settings.chunks), key=lacking.__getitem__):
        chunks = list(run)
        tasks += [
            ExtractTask(ChunkRange(first, min(first + size, chunks[-1] + 1)), targets)
            for first in range(chunks[0], chunks[-1] + 1, size)
            if targets
        ]
    return tasks


def _summary(info: dict[str, Any]) -> dict[str, Any]:
    keys = ("hook", "split", "rows", "tokens", "data_positions", "excluded", "n_features", "alive", "l0")
    return {key: info[key] for key in keys} | {"sae": info["inputs"]["sae"]}


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
