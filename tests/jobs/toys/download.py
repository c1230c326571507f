"""Puts one local file into the store as a dataset or model."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.download import DownloadConfig
from jobs.life.stage_context import JobContext, Output
from jobs.stages import Stage

VERSION = 1


class NoSuchSource(ValueError):
    """The file is not there."""

    __module__ = "sae.toy"  # user errors are told by the package that they come from


def inputs(config: DownloadConfig) -> dict[str, StageConfig | str]:
    return {}


def outputs(config: DownloadConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    path = Path(config.source.path)
    if not path.is_file():
        raise NoSuchSource(f"there is no file {path}")
    digest = hashlib.sha256(config.what.encode() + path.read_bytes()).hexdigest()[:16]
    return [Output(ArtifactRef(f"{config.what}s", digest), path.name)]


def run(job: JobContext) -> None:
    path = Path(job.config.source.path)
    copy = job.scratch / path.name
    job.progress.start("copy", 1, "files")
    shutil.copy(path, copy)
    job.publish(job.outputs[0], [job.store.put(job.outputs[0].ref, job.attempt, path.name, copy)], {"name": path.name})
    job.progress.update(1)


STAGE = Stage(VERSION, inputs, outputs, run)
