"""Export: an SAE in the format of another library, as an artifact to download.

python -m jobs export --sae saes/ID --format sparsify --to FOLDER
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.export import ExportConfig
from configs.sae_formats import EXPORT_FORMATS
from configs.sae_origin import sae_origin
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.exporter import ExportTask
    from cluster.store import Store

VERSION = 1
ROWS = 512  # of tokens, for a format that holds their codes
_CODE_BYTES = 8  # of one active latent in such a format


def inputs(config: ExportConfig) -> dict[str, StageConfig | str]:
    """The SAE, and the features and labels where the format is made of them."""
    given = {"sae": config.sae, "features": config.features, "labels": config.labels}
    return {role: of for role, of in given.items() if of is not None}


def outputs(config: ExportConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One export. Raises ValueError if the config makes several SAEs."""
    saes = inputs["sae"]
    if len(saes) > 1:
        raise ValueError(f"an export is of one SAE, and this config makes {len(saes)}: give the id of one, as saes/ID")
    without = {
        *inputs,
        "labels",
        *(() if EXPORT_FORMATS[config.format].tokens else ("lm_dtype",)),
    }  # no language model is run
    science = {key: value for key, value in config.science().items() if key not in without}
    names = {role: str(refs[0]) for role, refs in inputs.items()}
    label = f"{saes[0]} for {EXPORT_FORMATS[config.format].title}"
    return [Output(ArtifactRef("exports", fingerprint("export", VERSION, science, names)), label)]


def store_bytes(config: ExportConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the files, about: those of the SAE, and of the codes or the features that the format holds."""
    files = store.files(inputs["sae"][0])
    weights = sum(file.size for file in files.manifest.files)
    if config.features is not None:
        return 3 * weights + 4 * sum(file.size for file in store.files(inputs["features"][0]).manifest.files)
    if not EXPORT_FORMATS[config.format].tokens or "tokens" not in files.manifest.inputs:
        return 2 * weights
    cfg = json.loads(files.path("cfg.json").read_text())
    rows, length = _rows(config, store, files.manifest.inputs["tokens"])
    return int(rows * length * ((cfg.get("k") or int(cfg["d_sae"]) / 10) * _CODE_BYTES + 5 * 8))


def run(job: JobContext) -> None:
    """Raises NotExportable, Stopped."""
    if not job.missing():
        return
    from actors.exporter import make_exporter
    from actors.pool import run_chunks

    task, found = _task(job), []
    codes = EXPORT_FORMATS[task.config.format].tokens
    job.progress.start("export", task.rows if codes else 1, "rows" if codes else "SAEs")

    def should_stop() -> bool:
        if codes:
            job.progress.update(task.channel.latest().get("rows", 0), durable=False)
        return job.stop_requested()

    try:
        if not run_chunks(
            lambda: make_exporter(task), [None], 1, "run", lambda _, files: found.append(files), should_stop
        ):
            raise Stopped("stopped before the export was written")
    finally:
        task.channel.clear()
    size = sum(file.size for file in found[0])
    job.publish(job.outputs[0], found[0], {"sae": str(task.sae), "format": task.config.format, "bytes": size})
    job.progress.update(task.rows if codes else 1)


def _task(job: JobContext) -> ExportTask:
    from actors.exporter import ExportTask
    from actors.progress_channel import ProgressChannel

    config: ExportConfig = job.config
    sae = job.one("sae")
    manifest = job.store.files(sae).manifest
    origin = sae_origin(manifest.config)
    features = job.one("features") if config.features is not None else None
    if features is not None:
        _check_same_sae(job.store, features, sae)
    labels = job.one("labels") if config.labels is not None else None
    if labels is not None:
        _check_same_sae(job.store, labels, sae)
    tokens = manifest.inputs.get("tokens")
    rows = _rows(config, job.store, tokens)[0] if tokens and EXPORT_FORMATS[config.format].tokens else 0
    return ExportTask(
        config=config,
        sae=sae,
        features=features,
        labels=labels,
        model=parse_ref(manifest.inputs["model"], "models") if "model" in manifest.inputs else None,
        tokens=parse_ref(tokens, "tokens") if tokens else None,
        dataset=_dataset(job.store, tokens),
        policy=origin.policy,
        split=config.split or origin.split,
        rows=rows,
        output=job.outputs[0].ref,
        store=job.store,
        attempt=job.attempt,
        requirement=job.requirement,
        channel=ProgressChannel.open(job.outputs[0].ref.id),
    )


def _rows(config: ExportConfig, store: Store, tokens: str) -> tuple[int, int]:
    """Rows that are read, and positions of each. Raises ValueError if the split has not as many as the config wants."""
    info = json.loads(store.files(parse_ref(tokens, "tokens")).path("tokens.json").read_text())
    split = config.split or "train"
    rows = int(info["splits"].get(split, {}).get("rows", 0))
    if config.rows is not None and config.rows > rows:
        raise ValueError(
            f"the config wants {config.rows:,} rows of split {split!r}, but {tokens} has {rows:,}: lower `rows`"
        )
    return min(config.rows or ROWS, rows), int(info["context_length"])


def _check_same_sae(store: Store, ref: ArtifactRef, sae: ArtifactRef) -> None:
    """Features or labels: both say in their summary of which SAE they are."""
    of = store.files(ref).manifest.summary.get("sae")
    if of != str(sae):
        raise ValueError(f"{ref} holds the {ref.kind} of {of}, not of {sae}: give those of this SAE")


def _dataset(store: Store, tokens: str | None) -> str:
    """What the text is, as far as people can find it: the label of the dataset."""
    manifest = store.manifest(parse_ref(tokens)) if tokens else None
    ref: Any = None if manifest is None else manifest.inputs.get("dataset") or manifest.inputs.get("dataset.0")
    dataset = store.manifest(parse_ref(ref)) if ref else None
    return dataset.label if dataset is not None else ""


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
