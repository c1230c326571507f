"""Import: an SAE of another library as an artifact like our own.

python -m jobs import --from FOLDER --format saelens --model models/ID --tokens tokens/ID
"""

from __future__ import annotations

import json
from typing import Any

from configs.artifact_ids import ArtifactRef, fingerprint
from configs.base import StageConfig
from configs.import_ import ImportConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage
from jobs.stages.download import source_environment

VERSION = 1


def inputs(config: ImportConfig) -> dict[str, StageConfig | str]:
    """The model and the tokens. The SAE itself comes from outside."""
    return {"model": config.model, "tokens": config.tokens}


def outputs(config: ImportConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One SAE, named by what its files hold now. Raises SourceError."""
    from sae.importers.source_files import resolve_sae

    source = resolve_sae(config).source
    return [Output(_ref(config, inputs, source.identity), f"{config.label} of {source.label}", 3 * source.size)]


def _ref(config: ImportConfig, inputs: dict[str, list[ArtifactRef]], identity: dict[str, Any]) -> ArtifactRef:
    whole = config.science()
    science = {key: value for key, value in whole.items() if key not in ("source", "part", "model", "tokens")}
    names = {role: str(inputs[role][0]) for role in ("model", "tokens")}
    return ArtifactRef("saes", fingerprint("import", VERSION, {**science, "source": identity}, names))


def run(job: JobContext) -> None:
    """Raises SourceError, SaeFormatError, Stopped."""
    if not job.missing():
        return
    from actors.importer import Imported, ImportTask, make_importer
    from actors.pool import run_chunks
    from sae.importers.source_files import resolve_sae
    from sae.sources import SourceError

    config: ImportConfig = job.config
    source = resolve_sae(config).source
    output = job.outputs[0]
    if _ref(config, job.inputs, source.identity) != output.ref:
        raise SourceError(f"{source.label} has changed since this job was made: submit it again")
    task = ImportTask(
        config=config,
        identity=source.identity,
        output=output.ref,
        model=job.one("model"),
        tokens=job.one("tokens"),
        metadata=_metadata(job),
        store=job.store,
        attempt=job.attempt,
        requirement=job.requirement,
    )
    found: list[Imported] = []
    job.progress.start("import", 1, "SAEs")
    environment = source_environment(config.source)
    if not run_chunks(
        lambda: make_importer(task, environment), [None], 1, "run", lambda _, one: found.append(one), job.stop_requested
    ):
        raise Stopped("stopped before the SAE was read")
    for note in found[0].notes:
        job.progress.log(note)
    job.publish(output, found[0].files, found[0].summary)
    job.progress.update(1)


def _metadata(job: JobContext) -> dict[str, Any]:
    """What cfg.json says of the model and tokens; of these, what the SAE's own files say goes first."""
    tokens = json.loads(job.files("tokens").path("tokens.json").read_text())
    model = job.store.manifest(job.one("model"))
    return {
        "model_name": model.label if model else "",
        "context_size": tokens["context_length"],
        "prepend_bos": bool(tokens["bos"]),
        "raylens": {"model": str(job.one("model")), "tokens": str(job.one("tokens")), "imported_as": job.config.format},
    }


STAGE = Stage(VERSION, inputs, outputs, run)
