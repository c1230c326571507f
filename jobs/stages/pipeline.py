"""pipeline: runs the stages of a list, each as its own command would. On a running cluster each is a Ray job."""

from __future__ import annotations

from configs.base import StageConfig
from configs.identity import ArtifactRef
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
    """Runs stage after stage; the first that fails ends the pipeline."""
    assert job.run_stage is not None
    stages = job.config.stages
    job.progress.start("stages", len(stages), "stages")
    for number, stage in enumerate(stages, start=1):
        job.progress.log(f"{number} of {len(stages)}: {stage.stage}")
        job.run_stage(stage)
        job.progress.update(number)


STAGE = Stage(VERSION, inputs, outputs, run)
