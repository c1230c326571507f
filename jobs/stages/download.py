"""The download stage: one language model or one text dataset into the store, pinned by commit or by content.

python -m jobs download --config configs/presets/download.yaml
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from configs.artifact_ids import ArtifactRef, fingerprint
from configs.base import StageConfig
from configs.download import DatasetOptions, DownloadConfig, HubSource, Source, UploadSource
from configs.settings import PREFIX, settings
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.download_task import Fetched, Result

VERSION = 5
TRIES = 3  # of a worker that dies
_KIND = {"model": "models", "dataset": "datasets"}


def inputs(config: DownloadConfig) -> dict[str, StageConfig | str]:
    """None: what is downloaded comes from outside."""
    return {}


def outputs(config: DownloadConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One model or dataset, named by what the source holds now: a commit or file hashes. Raises SourceError."""
    from sae.sources import resolve_source
    from sae.sources.artifact_size import artifact_bytes, text_bytes

    source = resolve_source(config.source, config.what)
    shared = text_bytes(source) if config.what == "dataset" else 0
    return [Output(_ref(config, source.identity), source.label, artifact_bytes(source, config.what), shared)]


def run(job: JobContext) -> None:
    """Raises SourceError, DatasetError, ModelError, Stopped."""
    if not job.missing():
        return
    from ray.exceptions import NodeDiedError, WorkerCrashedError

    from sae.sources import SourceError, resolve_source

    config: DownloadConfig = job.config
    source = resolve_source(config.source, config.what)
    if _ref(config, source.identity) != job.outputs[0].ref:
        raise SourceError(f"{source.label} has changed since this job was made: submit it again")
    for tries_left in reversed(range(TRIES)):
        try:
            result = _result(job, source.identity)
        except (WorkerCrashedError, NodeDiedError) as error:
            if not tries_left:
                raise
            job.progress.log(f"the worker died ({type(error).__name__}); once more")
            continue
        for note in result.summary.get("notes", ()):
            job.progress.log(note)
        job.publish(job.outputs[0], result.files, result.summary)
        job.store.delete(_shared(job))
        return


def _result(job: JobContext, identity: dict[str, Any]) -> Result:
    """What one task makes of the source or, if there are workers for it and it can be divided, several workers."""
    from actors.download_task import Result

    found = _follow(job, _start(job, identity, in_chunks=job.requirement.workers > 1))
    if isinstance(found, Result):
        return found
    from jobs.reading_in_chunks import read_in_chunks
    from sae.formats.dataset import DatasetError

    try:
        result = read_in_chunks(job, found, _shared(job))
    except DatasetError:
        job.store.delete(_shared(job))  # no attempt will need it: the source is as it is
        raise
    if result is not None:
        return result._replace(summary={**result.summary, "source": identity})
    again = _follow(job, _start(job, identity, in_chunks=False))
    assert isinstance(again, Result)
    return again


def _shared(job: JobContext) -> ArtifactRef:
    """Where workers store what they need of each other until the dataset is there."""
    return ArtifactRef("checkpoints", job.fingerprint)


def _start(job: JobContext, identity: dict[str, Any], in_chunks: bool) -> Any:
    """Starts the task; gives the stream of its Steps and its Result, or with `in_chunks` a Fetched."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from actors.download_task import download

    requirement = job.requirement
    # Where the driver is, if there is room: that is where a local file surely lies.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    task = download.options(
        num_cpus=requirement.cpus,
        memory=requirement.memory or None,
        label_selector=dict(requirement.labels) or None,
        scheduling_strategy=None if requirement.labels else here,
        runtime_env=source_environment(job.config.source),
        num_returns="streaming",
        max_retries=0,  # a second run would not yield its steps at the same moments, which Ray's own retry relies on
    )
    output = job.outputs[0].ref
    return task.remote(job.config, identity, job.store, output, job.attempt, requirement.threads, in_chunks)


def source_environment(source: Source) -> dict[str, Any] | None:
    """Which hub the driver uses, or where uploads are, for a worker of a cluster that was started without it.

    HF_TOKEN is not among these: what a task is started with can be read by others. Nodes have it in their environment,
    or a file with it.
    """
    if isinstance(source, UploadSource):
        return {"env_vars": {f"{PREFIX}UPLOADS": str(settings().uploads_folder)}}
    if not isinstance(source, HubSource):
        return None
    names = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH")
    return {"env_vars": {name: os.environ[name] for name in names if name in os.environ}}


def _follow(job: JobContext, steps: Any) -> Result | Fetched:
    """Reports each Step until what the task gives last. Raises Stopped, and what the task raised."""
    import ray

    from actors.download_task import Step
    from actors.error_serialization import result_of

    phase = ""
    while True:
        if job.stop_requested():
            ray.cancel(steps)
            raise Stopped("stopped; what the hub has sent stays in its cache")
        if not ray.wait([steps], timeout=1.0)[0]:
            continue
        step = result_of(next(steps))
        if not isinstance(step, Step):
            return cast("Result | Fetched", step)
        if step.phase != phase:
            phase = step.phase
            job.progress.start(phase, step.total, step.unit)
        job.progress.update(step.done)


def _ref(config: DownloadConfig, identity: dict[str, Any]) -> ArtifactRef:
    options = (config.dataset or DatasetOptions()).model_dump(mode="json") if config.what == "dataset" else None
    science = {"what": config.what, "source": identity, "dataset": options, "quantization": config.quantization}
    return ArtifactRef(_KIND[config.what], fingerprint("download", VERSION, science, {}))


STAGE = Stage(VERSION, inputs, outputs, run)
