"""Records the rows of a request: the job and those of its inputs that do not exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.catalog import DISPATCHER, Catalog, Submission
from configs.base import StageConfig
from configs.requirements import Capacity, Requirement, from_json
from configs.resource_profiles import Profile, load_profile
from jobs.life.planner import Planner, Step, check_given, is_done, missing_steps, resolve_auto, step_requirement
from jobs.life.ray_job_launcher import environment_here
from jobs.life.stage_context import named_inputs
from jobs.stages import load_stage

if TYPE_CHECKING:
    from cluster.store import Store


class Submitted(NamedTuple):
    """The job of a request, its state, whether this request made its attempt, and the artifacts that it makes or has made."""

    job_id: str
    state: str
    created: bool
    artifacts: list[str]
    jobs: list[str]  # all that the request requires and that is not done, inputs before those that use them
    own: Sequence[str] = ()  # of these, those whose attempt this request made


class RowDefaults(NamedTuple):
    """What goes into every row of one request."""

    profile: Profile
    wait_s: float
    created_by: str
    environment: dict[str, Any]
    project: str
    name: str | None
    tags: tuple[str, ...]
    notes: str
    drive: bool  # by this process


def submit(
    catalog: Catalog,
    store: Store,
    config: StageConfig,
    *,
    profile: str | Profile = "auto",
    wait_s: float = 600.0,
    created_by: str,
    environment: dict[str, Any] | None = None,
    project: str = "default",
    name: str | None = None,
    tags: Sequence[str] = (),
    notes: str = "",
    planner: Planner | None = None,
    drive: bool = False,
    check_step: Callable[[Step, Requirement], None] | None = None,
) -> Submitted:
    """Records the job and, as jobs of their own, those of its inputs that do not exist. Nothing runs yet.

    An equal live job, or a finished one whose artifacts are there, is given instead. Raises ValueError for what is
    wrong before: a config, a source, an input that does not exist, a time to wait. What can never fit gets its row, and
    the dispatcher says so there. Reads sources (hashes files, calls a hub): do not call it on an event loop.

    `drive`: this process will admit and run them itself (local_dispatcher.py); else the dispatcher of a cluster does.
    `check_step` is called with each step that is to run and its requirement before anything is recorded, the requested
    one first; it raises to refuse.
    """
    chosen = profile if isinstance(profile, Profile) else load_profile(profile, has_gpu(catalog))
    config = resolve_auto(config, chosen.device)
    steps = (planner or Planner()).plan(config)
    target = steps[-1]
    missing = missing_steps(steps, partial(is_done, store))
    for step in reversed(missing):
        requirement = step_requirement(step, chosen)
        load_stage(step.stage).check(step.config, requirement)
        if check_step is not None:
            check_step(step, requirement)
    if missing:
        check_given(store, steps)
    defaults = RowDefaults(
        chosen, checked_wait(wait_s), created_by, environment or {}, project, name, tuple(tags), notes, drive
    )
    first = _submit(catalog, target, defaults, bool(missing), None)
    if not first.live:
        return Submitted(first.job_id, str(first.state), first.created, list(first.outputs), [])
    # The target's row comes first, so that the others can name it; it waits until its inputs are there.
    rest = [_submit(catalog, step, defaults, True, first.job_id) for step in missing if step is not target]
    rows = [row for row in [*rest, first] if row.live]
    jobs, own = [row.job_id for row in rows], [row.job_id for row in rows if row.created]
    return Submitted(first.job_id, str(first.state), first.created, list(first.outputs), jobs, own)


def environment_for(catalog: Catalog, store: Store) -> dict[str, Any]:
    """How jobs of this process are to be started elsewhere: by the present dispatcher, or by a later one."""
    lease = catalog.lease_row(DISPATCHER)
    return environment_here(store.url, lease.data.get("cluster") if lease is not None and lease.data else None)


def checked_wait(seconds: float) -> float:
    """Seconds that a job may wait for machines. Raises ValueError for what is no time to wait."""
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a job cannot wait {seconds:g} s for machines: say a number of seconds, 0 or more")
    return seconds


def has_gpu(catalog: Catalog) -> bool:
    """Whether the dispatcher's cluster has a GPU."""
    capacity = capacity_of(catalog)
    return capacity is not None and any(
        one.gpus > 0 for places in (capacity.nodes, capacity.node_types) for one in places
    )


def capacity_of(catalog: Catalog) -> Capacity | None:
    """What the dispatcher last wrote about the nodes; None if there was never one."""
    row = catalog.lease_row(DISPATCHER)
    return from_json(row.data["capacity"]) if row is not None and "capacity" in row.data else None


def _submit(catalog: Catalog, step: Step, defaults: RowDefaults, missing: bool, parent: str | None) -> Submission:
    own = parent is None
    return catalog.submit(
        stage=step.stage,
        fingerprint=step.fingerprint,
        config=step.config.model_dump(mode="json"),
        requirement=step_requirement(step, defaults.profile).model_dump(mode="json"),
        outputs=[str(output.ref) for output in step.outputs],
        inputs=named_inputs(step.inputs),
        created_by=defaults.created_by,
        artifacts_gone=missing,
        drive=defaults.drive,
        profile=defaults.profile.name,
        environment=defaults.environment,
        wait_s=defaults.wait_s,
        parent=parent,
        project=defaults.project,
        name=defaults.name if own else None,
        tags=defaults.tags if own else (),
        notes=defaults.notes if own else "",
    )
