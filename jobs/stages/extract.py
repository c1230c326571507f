"""Extract: what each feature of an SAE responds to; one features artifact an SAE, all on one pass over the tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configs.base import StageConfig
from configs.extract import ExtractConfig
from configs.identity import ArtifactRef, fingerprint, parse_ref
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.extractor import Chunk, ExtractorSettings
    from cluster.store import Store

VERSION = 1
_CODE_BYTES = 12  # of one activation in a partial
_EXAMPLE_BYTES = 250  # of one example with its window, before compression


def inputs(config: ExtractConfig) -> dict[str, StageConfig | str]:
    """The SAE, or the training run whose SAEs are all extracted."""
    return {"sae": config.sae}


def outputs(config: ExtractConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One features artifact an SAE, named by that SAE alone, so that it is the same however the SAE was referred to."""
    refs = {sae: fingerprint("extract", VERSION, _science(config), {"sae": str(sae)}) for sae in inputs["sae"]}
    return [Output(ArtifactRef("features", refs[sae]), f"of {sae}") for sae in inputs["sae"]]


def store_bytes(config: ExtractConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes that partials and artifacts will take at most, about."""
    per_feature = config.top_examples + config.quantiles * config.quantile_examples + config.uniform_examples
    total = 0
    for ref in inputs["sae"]:
        train = _training(store, ref)
        rows, length = _size(config, train, parse_ref(store.files(ref).manifest.inputs["tokens"], "tokens"), store)
        sae = json.loads(store.files(ref).path("cfg.json").read_text())
        total += int(rows * length * max(one.expected_l0 for one in train.saes)) * _CODE_BYTES
        total += int(sae["d_sae"]) * per_feature * _EXAMPLE_BYTES
    return total


def run(job: JobContext) -> None:
    """Sketches the chunks that no earlier attempt finished, on a pool of extractors; merges and publishes each SAE."""
    from actors.extractor import Merged, make_extractor, make_merger
    from actors.pool import run_chunks

    missing = job.missing()
    pairs = [(sae, out) for sae, out in zip(job.inputs["sae"], job.outputs, strict=True) if out in missing]
    if not pairs:
        return
    settings = _settings(job, [(sae, output.ref) for sae, output in pairs])
    chunks = _chunks(job, settings)
    todo = [chunk for chunk in chunks if chunk.targets]
    done = settings.rows - sum(chunk.stop - chunk.start for chunk in todo)
    job.progress.start("extract", settings.rows, "rows", done)
    sources = ["cache" if target.cache else "model" for target in settings.targets]
    job.progress.log(f"activations from the {' and the '.join(sorted(set(sources)))}")

    def on_done(chunk: Chunk, rows: int) -> None:
        nonlocal done
        done += rows
        job.progress.update(done)

    requirement = job.requirement
    if not run_chunks(
        lambda: make_extractor(job.store, settings, requirement),
        todo,
        requirement.workers,
        "extract",
        on_done,
        job.stop_requested,
    ):
        raise Stopped(f"stopped after {done} of {settings.rows} rows; the finished chunks are kept")
    job.progress.start("merge", len(pairs), "SAEs")

    def on_merged(i: int, merged: Merged) -> None:
        sae, output = pairs[i]
        provenance = {"activations_from": sources[i]}
        job.publish(output, merged.files, _summary(merged.info), provenance, {"sae": [sae]})
        job.progress.update(i + 1)

    # One merger, which goes through them in order.
    if not run_chunks(
        lambda: make_merger(job.store, settings, len(chunks), requirement),
        range(len(pairs)),
        1,
        "merge",
        on_merged,
        job.stop_requested,
    ):
        raise Stopped(f"stopped before merging; all {settings.rows} rows are kept")


def _science(config: ExtractConfig) -> dict[str, Any]:
    return {key: value for key, value in config.science().items() if key != "sae"}


def _training(store: Store, sae: ArtifactRef) -> TrainConfig:
    return TrainConfig.model_validate(store.files(sae).manifest.config)


def _settings(job: JobContext, pairs: list[tuple[ArtifactRef, ArtifactRef]]) -> ExtractorSettings:
    """Model, tokens, policy and batches are those of the SAEs' training, which is one for all of them."""
    from actors.extractor import ExtractorSettings, Target

    config: ExtractConfig = job.config
    sae = pairs[0][0]
    manifest, train = job.store.files(sae).manifest, _training(job.store, sae)
    model, tokens = parse_ref(manifest.inputs["model"], "models"), parse_ref(manifest.inputs["tokens"], "tokens")
    rows, _ = _size(config, train, tokens, job.store)
    harvest = train.harvest()
    return ExtractorSettings(
        model=model,
        tokens=tokens,
        split=config.split,
        rows=rows,
        policy=train.policy,
        lm_dtype=config.lm_dtype,
        dtype="fp32" if harvest is None else harvest.dtype,
        pass_rows=train.lane_rows if harvest is None else harvest.batch_rows,
        science=_science(config),
        targets=tuple(Target(sae, output, _cache(job, sae, rows)) for sae, output in pairs),
        attempt=job.attempt,
    )


def _size(config: ExtractConfig, train: TrainConfig, tokens: ArtifactRef, store: Store) -> tuple[int, int]:
    """Rows to read, and positions in each. Raises ValueError if the split has not as many rows as the config wants."""
    from sae.formats.tokens import TokensReader

    reader = TokensReader(store.files(tokens), config.split)
    if config.rows is not None and config.rows > reader.n_rows:
        raise ValueError(
            f"the config wants {config.rows:,} rows of split {config.split!r}, but {tokens} has {reader.n_rows:,}; "
            f"lower `rows`, or leave it out to read the rows of the training"
        )
    trained = train.rows if config.split == train.split else None
    return min(config.rows or trained or reader.n_rows, reader.n_rows), reader.context_length


def _cache(job: JobContext, sae: ArtifactRef, rows: int) -> ArtifactRef | None:
    """The cache that the SAE was trained from, if it still exists and holds the wanted rows.

    Without it the model makes the same activations: in the batches, and rounded to the dtype, that training read.
    """
    config: ExtractConfig = job.config
    harvest = _training(job.store, sae).harvest()
    if harvest is None:
        return None
    cache = parse_ref(job.store.files(sae).manifest.inputs["activations"], "activations")
    found = job.store.manifest(cache)
    same = config.split == harvest.split and config.lm_dtype in ("auto", harvest.lm_dtype)
    usable = found is not None and same and int(found.summary["rows"]) >= rows
    return cache if usable else None


def _chunks(job: JobContext, settings: ExtractorSettings) -> list[Chunk]:
    """All chunks in order, each with the targets that still lack its partial."""
    from actors.extractor import Chunk
    from sae.features.sketch_file import partial_name

    finished = [set(job.store.parts(target.output)) for target in settings.targets]
    size = job.config.rows_per_chunk
    return [
        Chunk(
            number=i,
            start=start,
            stop=min(start + size, settings.rows),
            targets=tuple(t for t, names in enumerate(finished) if partial_name(i) not in names),
        )
        for i, start in enumerate(range(0, settings.rows, size))
    ]


def _summary(info: dict[str, Any]) -> dict[str, Any]:
    keys = ("hook", "split", "rows", "tokens", "data_positions", "excluded", "n_features", "alive", "l0")
    return {key: info[key] for key in keys} | {"sae": info["inputs"]["sae"]}


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
