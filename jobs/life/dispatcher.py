"""Admits pending jobs: on a running cluster its dispatcher, without one each command its own jobs, by the same pass.

A pass reads the rows alone, so a dispatcher that is killed loses nothing: the next one sees the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple, Protocol

from cluster.catalog import DISPATCHER, AttemptRow, Catalog, CatalogError, JobRow
from cluster.store import Store, StoreError, StoreUnreachable
from configs.requirements import Capacity, Requirement, to_json
from configs.stages import STAGES
from jobs.life.admission import Action, Admitted, Decision, NodeLossGrace, Pending, decide
from jobs.life.input_tracker import InputStatus, InputTracker
from jobs.life.outcome import code_of
from jobs.life.reconcile import Reconciler, StartWatch
from jobs.life.resource_demand import ResourceDemand, StorePool, requirement_of_row
from jobs.life.submit import capacity_of
from jobs.life.waiting_status import Standing, WaitingStatus

Live = list[tuple[JobRow, AttemptRow]]


class Launcher(Protocol):
    """Starts granted attempts."""

    def ready(self) -> bool:
        """Whether it can start one now."""

    def ray_job(self, job: JobRow) -> str | None:
        """The Ray job that the attempt will be; None if it runs in this process."""

    def start(self, job: JobRow) -> None:
        """Starts the job's attempt, which has just been granted."""


class Cluster(NamedTuple):
    """The cluster that grants are of: its session, where its head and dashboard are, and its present capacity."""

    session: str
    address: str = ""
    dashboard: str = ""
    capacity: Callable[[], Capacity] = lambda: Capacity(())
    grow: Callable[[list[Requirement]], None] = lambda requirements: (
        None
    )  # asks its autoscaler for nodes for all of these


class Admission:
    """One pass over the live jobs: starts those that fit, ends those that never will, says of the others why they wait."""

    def __init__(
        self,
        catalog: Catalog,
        cluster: Cluster,
        launcher: Launcher,
        store: Store,
        is_own: Callable[[JobRow, AttemptRow], bool],
        patience_s: float = 0.0,
    ) -> None:
        """`is_own`: whether an attempt that waits is this caller's to start. `patience_s`: see WaitingStatus."""
        self._catalog, self._cluster, self._launcher, self._is_own = catalog, cluster, launcher, is_own
        self._stores = StorePool(store)
        self._demand = ResourceDemand(self._stores.of)
        self._inputs = InputTracker(catalog, self._stores.of)
        self._status = WaitingStatus(catalog, patience_s)
        self._grown = False
        self.grace = NodeLossGrace()

    def begin(self) -> int | None:
        """Begins a pass. Gives the bytes that are free in the caller's own store, if it says."""
        self._stores.begin_pass()
        return self._stores.own_free()

    def run(self, capacity: Callable[[], Capacity]) -> list[JobRow]:
        """The pass; gives the live jobs. `capacity` is called only if some job waits for what a cluster has."""
        live = self._catalog.live()
        while (pending := self._pending(live, capacity)) is None:
            live = self._catalog.live()
        if pending and self._launcher.ready():
            self._grant(live, pending, capacity())
        elif pending:
            self._status.restart_patience()
        if not pending and self._grown:
            self._grow([], {}, [])
        attempts = {(job.id, job.attempt) for job, _ in live}
        self._demand.forget(attempts)
        self._status.forget(attempts)
        return [job for job, _ in live]

    def _pending(self, live: Live, capacity: Callable[[], Capacity]) -> list[tuple[JobRow, Pending]] | None:
        """The jobs that wait for resources alone. None if one ended without success, which ends others: read rows again."""
        self._inputs.update(live)
        pending, ended = [], False
        for job, attempt in live:
            if not self._is_own(job, attempt):
                continue
            try:
                standing = self._standing(job, attempt, capacity)
                if standing is Standing.READY:
                    pending.append((job, self._pending_job(job, self._demand.of(job))))
            except CatalogError:  # it was cancelled meanwhile
                continue
            except StoreUnreachable as error:
                self._stores.set_unreachable(job, error)
                standing = self._status.waits_for_store(job, self._stores.url(job), error)
            except (StoreError, ValueError) as error:  # its own fault must not keep the others from starting
                standing = self._status.ended(job, code_of(type(error)), f"{job.stage}: {error}")
            ended = ended or standing is Standing.ENDED
        return None if ended else pending

    def _grant(self, live: Live, pending: list[tuple[JobRow, Pending]], capacity: Capacity) -> None:
        admitted = self._admitted(live, {one.store for _, one in pending if one.requirement.store_bytes})
        decisions = decide([one for _, one in pending], admitted, capacity)
        rows = {job.id: job for job, _ in pending}
        self._grow(decisions, rows, admitted)
        for decision in decisions:
            with suppress(CatalogError):  # cancelled meanwhile
                self._carry_out(rows[decision.job_id], decision, capacity)

    def _pending_job(self, job: JobRow, requirement: Requirement) -> Pending:
        """Bytes count in the job's own store, which need not be the caller's."""
        free = self._stores.free(job)
        fitted = self.grace.fitted_before(job, requirement, free)
        return Pending(job.id, requirement, frozenset(job.outputs), fitted, self._stores.url(job), free)

    def _admitted(self, live: Live, wanted: Collection[str | None]) -> list[Admitted]:
        """Jobs that were granted. `wanted`: the stores in which some pending job needs space."""
        admitted = []
        for job, attempt in live:
            # A pipeline's artifacts are made by the jobs of its stages, of which a pending one may be one.
            if not attempt.admitted or STAGES[job.stage].runs_inputs or self._catalog.dead_driver(attempt):
                continue
            # On another cluster it uses no machine of this one, but what it makes and writes counts all the same.
            here = attempt.cluster == self._cluster.session
            requirement = requirement_of_row(job) if here else Requirement(cpus=0)
            store = self._stores.url(job)
            left = self._demand.left(job) if store in wanted else 0
            requirement = requirement.model_copy(update={"store_bytes": left})
            admitted.append(Admitted(job.id, job.stage, requirement, frozenset(job.outputs), store))
        return admitted

    def _grow(self, decisions: list[Decision], rows: dict[str, JobRow], admitted: list[Admitted]) -> None:
        """Asks the autoscaler for what was granted and what waits for nodes; once more to say that nothing waits."""
        waiting = [self._demand.of(rows[one.job_id]) for one in decisions if one.kind == "nodes"]
        if waiting or self._grown:
            self._cluster.grow([one.requirement for one in admitted] + waiting if waiting else [])
        self._grown = bool(waiting)

    def _standing(self, job: JobRow, attempt: AttemptRow, capacity: Callable[[], Capacity]) -> Standing:
        """What a job waits for. One that needs no resources (it is done, or its input failed) ends here."""
        if job.state == "CANCELLING":
            self._end_cancelled(job)
            return Standing.NOT_READY
        if not job.due:
            return Standing.NOT_READY
        self._stores.check_reachable(job)
        inputs = self._inputs.of(job, attempt)
        if inputs.done:
            self._catalog.progress(job.id, job.attempt, state="RUNNING")
            self._catalog.finish(job.id, job.attempt, "SUCCEEDED")
            return Standing.NOT_READY
        if inputs.ended is not None:
            state, code, message = inputs.ended
            return self._status.ended(job, code, message, state, resumable=True)
        if STAGES[job.stage].runs_inputs:
            figures = {"done": inputs.present, "total": inputs.total, "unit": "stages", "phase": "stages"}
            self._catalog.progress(job.id, job.attempt, state="RUNNING", **figures)  # type: ignore[arg-type]
            return Standing.NOT_READY
        if inputs.present < inputs.total:
            return self._without_inputs(job, inputs, capacity())
        return Standing.READY

    def _without_inputs(self, job: JobRow, inputs: InputStatus, capacity: Capacity) -> Standing:
        """Says what it waits for; or, before its inputs are made in vain, that no waiting would help.

        Only once a job makes each of them: a request writes them after this row, and none is to be left behind.
        """
        requirement = requirement_of_row(job)
        (decision,) = decide([self._pending_job(job, requirement)], [], capacity)
        refused = decision.action is Action.REFUSE
        if refused and inputs.all_requested:
            return self._status.refused(job, decision)
        return self._status.waits_for_inputs(job, inputs, None if refused else requirement)

    def _end_cancelled(self, job: JobRow) -> None:
        """A job has ended when those that were recorded on its behalf have."""
        if not any(other.parent == job.id for other, _ in self._catalog.live()):
            code = "cancelled" if job.cancel == "cancel" else "stopped"
            self._catalog.finish(job.id, job.attempt, "CANCELLED", code=code, message=code, resumable=True)

    def _carry_out(self, job: JobRow, decision: Decision, capacity: Capacity) -> None:
        if decision.action is Action.START:
            if self._launcher.ready():
                self._catalog.grant(job.id, job.attempt, self._launcher.ray_job(job), self._cluster.session)
                self._launcher.start(job)
        elif decision.action is Action.REFUSE:
            self._status.refused(job, decision)
        else:
            capacity = capacity._replace(store_free=self._stores.free(job))
            self._status.waits_for_resources(job, decision, self._demand.of(job), capacity)


class Dispatcher:
    """Admits the jobs that no process drives. `tick` is one pass; whoever has it calls it each second."""

    def __init__(self, catalog: Catalog, cluster: Cluster, launcher: RayLauncher, name: str, store: Store) -> None:
        self._catalog, self._cluster, self._name = catalog, cluster, name
        self._reconciler = Reconciler(catalog, cluster.session, launcher)
        self._admission = Admission(catalog, cluster, launcher, store, _is_undriven)
        self._leads = False

    def tick(self) -> list[JobRow]:
        """One pass. Gives the live jobs; none while another dispatcher leads."""
        free = self._admission.begin()
        capacity = self._cluster.capacity()._replace(store_free=free)
        data = {
            "cluster": self._cluster.session,
            "address": self._cluster.address,
            "dashboard": self._cluster.dashboard,
            "capacity": to_json(capacity),
        }
        before = None if self._leads else self._capacity_before()
        self._leads = self._catalog.lease(DISPATCHER, self._name, data)
        if not self._leads:
            return []
        self._admission.grace.update(capacity, before)
        self._reconciler.reconcile(self._catalog.live())
        return self._admission.run(lambda: capacity)

    def _capacity_before(self) -> Capacity | None:
        """The capacity that whoever leads, or led, wrote last."""
        with suppress(ValueError):  # of another version
            return capacity_of(self._catalog)
        return None


class RayLauncher(Launcher, StartWatch, Protocol):
    """Starts attempts as Ray jobs, and knows how their start came out."""


def _is_undriven(job: JobRow, attempt: AttemptRow) -> bool:
    return attempt.pid is None and attempt.granted_at is None
