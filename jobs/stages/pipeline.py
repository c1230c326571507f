"""pipeline: a row that ends with its stages, each of which is a job of its own. It has no work and no process."""

from __future__ import annotations

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.pipeline import PipelineConfig
from jobs.life.stage_context import JobContext, Output
from jobs.stages import Stage

VERSION = 1


def inputs(config: PipelineConfig) -> dict[str, StageConfig | str]:
    """The stages, numbered in their order."""
    return {f"{i}.{stage.stage}": stage for i, stage in enumerate(config.stages)}


def outputs(config: PipelineConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """What its stages make."""
    return [Output(ref) for refs in inputs.values() for ref in refs]


def run(job: JobContext) -> None:
    """Never called: a pipeline has run when its stages have, each as a job of its own."""
    raise AssertionError("a pipeline's stages run as their own jobs")


STAGE = Stage(VERSION, inputs, outputs, run)
