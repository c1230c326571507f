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

VERSION = 4
_ROLES = ("features", "evaluation", "labels")


def inputs(config: ReportConfig) -> dict[str, StageConfig | str]:
    """What the page is about: what each feature responds to, and how good the SAE is."""
    found: dict[str, StageConfig | str] = {"features": config.features, "evaluation": config.evaluation}
    return found if config.labels is None else {**found, "labels": config.labels}


def outputs(config: ReportConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One report for each SAE, named by its features, evaluation and labels, however they were referred to."""
    science = {key: value for key, value in config.science().items() if key not in _ROLES}
    return [
        Output(
            ArtifactRef(
                "reports", fingerprint("report", VERSION, science, {role: str(ref) for role, ref in of.items()})
            ),
            f"of {of['features']}",
        )
        for of in _by_sae(inputs)
    ]


def store_bytes(config: ReportConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the reports at most: a larger page is refused."""
    from sae.report.build import MAX_BYTES

    return len(_by_sae(inputs)) * MAX_BYTES


def run(job: JobContext) -> None:
    """Makes every page that is missing. Raises ReportError, Stopped."""
    import ray

    from actors.error_serialization import result_of
    from actors.report_task import make_report

    requirement, missing = job.requirement, job.missing()
    todo = [(of, output) for of, output in zip(_by_sae(job.inputs), job.outputs, strict=True) if output in missing]
    job.progress.start("report", len(todo), "pages")
    for done, (of, output) in enumerate(todo, start=1):
        task = make_report.options(
            num_cpus=requirement.cpus,
            memory=requirement.memory or None,
            label_selector=dict(requirement.labels) or None,
            max_retries=2,
        ).remote(job.store, of, output.ref, job.attempt, job.config, requirement.threads)
        while not ray.wait([task], timeout=1.0)[0]:
            if job.stop_requested():
                ray.cancel(task)
                raise Stopped("stopped before the page was made")
        files, summary = result_of(task)
        job.publish(output, files, summary, inputs={role: [ref] for role, ref in of.items()})
        job.progress.update(done)


def _by_sae(inputs: dict[str, list[ArtifactRef]]) -> list[dict[str, ArtifactRef]]:
    """The inputs of each SAE by role. Extraction, evaluation and labels of one training run give its SAEs in one order."""
    given = {role: inputs[role] for role in _ROLES if role in inputs}
    if len({len(refs) for refs in given.values()}) > 1:
        counts = ", ".join(f"{len(refs)} of {role}" for role, refs in given.items())
        raise ValueError(
            f"a report needs {' and '.join(given)} of the same SAEs, but there are {counts}: "
            f"let all name one training config, or artifacts of one SAE"
        )
    return [dict(zip(given, refs, strict=True)) for refs in zip(*given.values(), strict=True)]


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
