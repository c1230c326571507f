"""Whether a request would run on this cluster, wait or never fit, and what of it exists: nothing is run or recorded."""

from __future__ import annotations

from functools import partial

from configs.requirements import Capacity, Requirement
from configs.resource_profiles import load_profile
from configs.train import TrainConfig
from jobs.life.admission import Action, Admitted, Decision, Pending, decide
from jobs.life.planner import Planner, Step, check_given, is_done, missing_steps, resolve_auto, step_requirement
from jobs.life.resource_demand import requirement_of_row, with_bytes
from jobs.life.submit import capacity_of, has_gpu
from jobs.preflight import estimate
from jobs.stages import load_stage
from serve_app.dependencies import Api
from serve_app.job_requests import requirement_json
from serve_app.label_endpoints import check_label_endpoints
from serve_app.local_paths import with_absolute_paths
from serve_app.schemas.checks import JobCheck, StepCheck, Verdict
from serve_app.schemas.common import SubmitRequest
from serve_app.schemas.plans import TrainingPlan
from serve_app.security.redaction import redact

_THIS = "this job"
_VERDICTS: dict[Action, Verdict] = {Action.START: "fits", Action.WAIT: "waits", Action.REFUSE: "can_never_fit"}
_WORST: tuple[Verdict, ...] = ("can_never_fit", "waits")
_NOT_IN_TURN = ("inputs", "store", "retry")  # pending jobs that wait for this take no turn


def check_job(api: Api, body: SubmitRequest) -> JobCheck:
    """What submitting the request would do. Raises what submitting it does, for a config, source or input that cannot be used.

    Blocks: it reads sources, store and catalog.
    """
    profile, given = load_profile(body.profile, has_gpu(api.catalog)), body.stage_config()
    check_label_endpoints(given, api.settings.label_endpoints)
    config = resolve_auto(with_absolute_paths(given, api.settings.data_roots), profile.device)
    steps = Planner().plan(config)
    target = steps[-1]
    missing = missing_steps(steps, partial(is_done, api.store))
    requirements = {step.fingerprint: step_requirement(step, profile) for step in missing}
    for step in reversed(missing):
        load_stage(step.stage).check(step.config, requirements[step.fingerprint])
    if missing:
        check_given(api.store, steps)
    needed = [_with_bytes(api, step, requirements[step.fingerprint]) for step in missing]
    checks = [_check(api, step, requirement) for step, requirement in zip(missing, needed, strict=True)]
    verdicts = {check.fits for check in checks}
    known = [requirement.store_bytes for requirement in needed]
    return JobCheck(
        fits=next((one for one in _WORST if one in verdicts), "fits"),
        artifacts=[str(output.ref) for output in target.outputs],
        existing=[str(output.ref) for output in target.outputs if api.store.manifest(output.ref) is not None],
        job=next((job.id for job, _ in api.catalog.live() if job.fingerprint == target.fingerprint), None),
        steps=checks,
        disk_bytes=sum(known) if all(known) else None,
        plan=_plan(api, target, step_requirement(target, profile)) if missing else None,
    )


def _plan(api: Api, target: Step, requirement: Requirement) -> TrainingPlan | None:
    if not isinstance(target.config, TrainConfig):
        return None
    return TrainingPlan.model_validate(estimate(target.config, api.store, requirement))


def _with_bytes(api: Api, step: Step, requirement: Requirement) -> Requirement:
    """With what it writes, once its inputs exist."""
    outputs = [output.ref for output in step.outputs]
    return with_bytes(requirement, api.store, step.config, step.inputs, outputs)


def _check(api: Api, step: Step, requirement: Requirement) -> StepCheck:
    capacity = capacity_of(api.catalog)
    check = StepCheck(
        stage=step.stage,
        fits="waits",
        requires=str(requirement),
        requirement=requirement_json(requirement),
        capacity=None if capacity is None else redact(str(capacity)),
        reason="no cluster was started yet: `python -m cluster up`",
        suggestion="",
        blocked_by=[],
        largest_workers=None,
    )
    if capacity is None:
        return check
    decision = _decision(api, step, requirement, capacity)
    verdict = decision.verdict
    fits = _VERDICTS[decision.action]
    return check.model_copy(
        update={
            "fits": fits,
            "reason": "" if fits == "fits" else redact(decision.reason),
            "suggestion": "" if verdict is None else redact(verdict.suggestion),
            "blocked_by": list(decision.blocked_by),
            "largest_workers": None if verdict is None else verdict.largest_workers,
        }
    )


def _decision(api: Api, step: Step, requirement: Requirement, capacity: Capacity) -> Decision:
    """What the dispatcher would decide if the job came now, behind all that are pending."""
    admitted: list[Admitted] = []
    pending: list[Pending] = []
    for job, attempt in api.catalog.live():
        outputs = frozenset(job.outputs)
        if attempt.admitted:
            # What it has still to write is known to its dispatcher alone, and missing in what is free at the latest then.
            left = requirement_of_row(job).model_copy(update={"store_bytes": 0})
            admitted.append(Admitted(job.id, job.stage, left, outputs))
        elif (job.blocked or {}).get("kind") not in _NOT_IN_TURN:
            pending.append(Pending(job.id, requirement_of_row(job), outputs))
    own = Pending(_THIS, requirement, frozenset(str(output.ref) for output in step.outputs))
    return decide([*pending, own], admitted, capacity)[-1]
