"""report: one page about an SAE and its features; one report artifact an SAE.

python -m jobs report --config configs/presets/report.yaml
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from configs.artifact_ids import ArtifactRef, fingerprint
from configs.base import StageConfig
from configs.report import ReportConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from cluster.store import Store

VERSION = 2


def inputs(config: ReportConfig) -> dict[str, StageConfig | str]:
    """What the page is about: what each feature responds to, and how good the SAE is."""
    return {"features": config.features, "evaluation": config.evaluation}


def outputs(config: ReportConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One report for each SAE, named by its features and evaluation, however they were referred to."""
    science = {key: value for key, value in config.science().items() if key not in inputs}
    return [
        Output(
            ArtifactRef("reports", fingerprint("report", VERSION, science, {"features": str(f), "evaluation": str(e)})),
            f"of {f}",
        )
        for f, e in _pairs(inputs)
    ]


def store_bytes(config: ReportConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the reports at most: a larger page is refused."""
    from sae.report.build import MAX_BYTES

    return len(_pairs(inputs)) * MAX_BYTES


def run(job: JobContext) -> None:
    """Makes every page that is missing. Raises ReportError, Stopped."""
    import ray

    from actors.error_serialization import result_of
    from actors.report_task import make_report

    requirement, missing = job.requirement, job.missing()
    todo = [(pair, output) for pair, output in zip(_pairs(job.inputs), job.outputs, strict=True) if output in missing]
    job.progress.start("report", len(todo), "pages")
    for done, ((features, evaluation), output) in enumerate(todo, start=1):
        task = make_report.options(
            num_cpus=requirement.cpus,
            memory=requirement.memory or None,
            label_selector=dict(requirement.labels) or None,
            max_retries=2,
        ).remote(job.store, features, evaluation, output.ref, job.attempt, job.config, requirement.threads)
        while not ray.wait([task], timeout=1.0)[0]:
            if job.stop_requested():
                ray.cancel(task)
                raise Stopped("stopped before the page was made")
        files, summary = result_of(task)
        job.publish(output, files, summary, inputs={"features": [features], "evaluation": [evaluation]})
        job.progress.update(done)


def _pairs(inputs: dict[str, list[ArtifactRef]]) -> list[tuple[ArtifactRef, ArtifactRef]]:
    """Features and evaluation of each SAE. Extraction and evaluation of one training run give its SAEs in one order."""
    features, evaluations = inputs["features"], inputs["evaluation"]
    if len(features) != len(evaluations):
        raise ValueError(
            f"a report needs the features and the evaluation of the same SAEs, but there are {len(features)} of "
            f"features and {len(evaluations)} of evaluation: let both name one training config, or artifacts of one SAE"
        )
    return list(zip(features, evaluations, strict=True))


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
