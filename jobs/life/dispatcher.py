"""The dispatcher of a running cluster: grants the waiting, starts their drivers, and finds what died. One leads at a time.

Each look is over the rows alone, so one that is killed loses nothing: the next one sees the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple, Protocol

from cluster.records import DISPATCHER, AttemptRow, JobRow, Records, RecordsError
from cluster.store import Store, StoreError, StoreUnreachable
from configs.requirements import Capacity, Requirement, to_json
from configs.stages import STAGES
from jobs.life.admission import Action, Admitted, Decision, NodeLossGrace, Pending, decide
from jobs.life.input_tracker import InputStatus, InputTracker
from jobs.life.outcome import code_of
from jobs.life.ray_job_launcher import ray_job_of
from jobs.life.reconcile import Reconciler, Starter
from jobs.life.resource_demand import ResourceDemand, StorePool, requirement_of_row
from jobs.life.submit import capacity_of
from jobs.life.waiting_status import Standing, WaitingStatus


class Launcher(Starter, Protocol):
    """Starts drivers, too."""

    def start(self, job: JobRow) -> None: ...


class Cluster(NamedTuple):
    """The cluster that grants are of: its session, where its head and dashboard are, and what it offers now."""

    session: str
    address: str
    dashboard: str
    capacity: Callable[[], Capacity]
    grow: Callable[[list[Requirement]], None]  # asks its autoscaler to hold all of these


class Dispatcher:
    """`tick` is one look; whoever holds it calls it each second."""

    def __init__(self, records: Records, cluster: Cluster, drivers: Launcher, name: str, store: Store) -> None:
        self._records, self._cluster, self._drivers, self._name = records, cluster, drivers, name
        self._stores = StorePool(store)
        self._needs = ResourceDemand(self._stores.of)
        self._inputs = InputTracker(records, self._stores.of)
        self._reconciler = Reconciler(records, cluster.session, drivers)
        self._fitted = NodeLossGrace()
        self._leads = self._grown = False
        self._told = WaitingStatus(records)

    def tick(self) -> list[JobRow]:
        """One look at everything. Gives the live jobs; none while another dispatcher leads."""
        self._stores.look()
        capacity = self._cluster.capacity()._replace(store_free=self._stores.own_free())
        data = {
            "cluster": self._cluster.session,
            "address": self._cluster.address,
            "dashboard": self._cluster.dashboard,
            "capacity": to_json(capacity),
        }
        before = None if self._leads else self._capacity_before()
        self._leads = self._records.lease(DISPATCHER, self._name, data)
        if not self._leads:
            return []
        self._fitted.look(capacity, before)
        self._reconciler.look(self._records.live())
        live = self._records.live()
        while (line := self._line(live, capacity)) is None:
            live = self._records.live()
        self._grant(live, line, capacity)
        self._forget(live)
        return [job for job, _ in live]

    def resign(self) -> None:
        """Lets another lead at once."""
        self._records.release(DISPATCHER, self._name)

    def _capacity_before(self) -> Capacity | None:
        """The capacity that whoever leads, or led, wrote last."""
        with suppress(ValueError):  # of another version
            return capacity_of(self._records)
        return None

    def _line(self, live: list[tuple[JobRow, AttemptRow]], capacity: Capacity) -> list[tuple[JobRow, Pending]] | None:
        """Who waits for a place. None if a job ended without success meanwhile: it takes others with it, so look again."""
        self._inputs.look(live)
        line, fell = [], False
        for job, attempt in live:
            if attempt.pid is not None or attempt.granted_at is not None:
                continue
            try:
                stands = self._stands(job, attempt, capacity)
                if stands is Standing.IN_LINE:
                    line.append((job, self._waiting(job, self._needs.of(job))))
            except RecordsError:  # it was cancelled meanwhile
                continue
            except StoreUnreachable as error:
                self._stores.missed(job, error)
                stands = self._told.waits_for_store(job, self._stores.url(job), error)
            except (StoreError, ValueError) as error:  # its own fault must not keep the others from starting
                stands = self._told.ended(job, code_of(type(error)), f"{job.stage}: {error}")
            fell = fell or stands is Standing.FELL
        return None if fell else line

    def _grant(
        self, live: list[tuple[JobRow, AttemptRow]], line: list[tuple[JobRow, Pending]], capacity: Capacity
    ) -> None:
        holding = self._holding(live, {one.store for _, one in line if one.requirement.store_bytes})
        decisions = decide([one for _, one in line], holding, capacity)
        rows = {job.id: job for job, _ in line}
        self._grow(decisions, rows, holding)
        for decision in decisions:
            with suppress(RecordsError):  # cancelled meanwhile
                self._carry_out(rows[decision.job_id], decision, capacity)

    def _waiting(self, job: JobRow, requirement: Requirement) -> Pending:
        """The job's place in the line. Bytes count in its own store, which need not be the dispatcher's."""
        free = self._stores.free(job)
        fitted = self._fitted.ever(job, requirement, free)
        return Pending(job.id, requirement, frozenset(job.outputs), fitted, self._stores.url(job), free)

    def _holding(self, live: list[tuple[JobRow, AttemptRow]], asked: Collection[str | None]) -> list[Admitted]:
        """Jobs that were granted, or that a command drives. `asked`: the stores in which somebody needs room."""
        held = []
        for job, attempt in live:
            # A pipeline has its stages' artifacts made by their own jobs, of which one that waits may be one.
            if (attempt.pid is None and attempt.granted_at is None) or STAGES[job.stage].runs_inputs:
                continue
            # On another cluster it holds no machine of this one, but what it makes and writes counts all the same.
            here = self._cluster.session in (attempt.cluster, job.requirement.get("cluster"))
            requirement = requirement_of_row(job.requirement) if here else Requirement(cpus=0)
            store = self._stores.url(job)
            left = self._needs.left(job) if store in asked else 0
            requirement = requirement.model_copy(update={"store_bytes": left})
            held.append(Admitted(job.id, job.stage, requirement, frozenset(job.outputs), store))
        return held

    def _grow(self, decisions: list[Decision], rows: dict[str, JobRow], holding: list[Admitted]) -> None:
        """Asks the autoscaler to hold what was granted and what waits for nodes; once more to say that nothing does."""
        waiting = [self._needs.of(rows[one.job_id]) for one in decisions if one.kind == "nodes"]
        if waiting or self._grown:
            self._cluster.grow([one.requirement for one in holding] + waiting if waiting else [])
        self._grown = bool(waiting)

    def _stands(self, job: JobRow, attempt: AttemptRow, capacity: Capacity) -> Standing:
        """Where a job stands. What needs no place (it is done, or its input failed) ends here."""
        if job.state == "CANCELLING":
            self._end_cancelled(job)
            return Standing.ASIDE
        if not job.due:
            return Standing.ASIDE
        self._stores.answering(job)
        found = self._inputs.of(job, attempt)
        if found.done:
            self._records.progress(job.id, job.attempt, state="RUNNING")
            self._records.finish(job.id, job.attempt, "SUCCEEDED")
            return Standing.ASIDE
        if found.ended is not None:
            state, code, message = found.ended
            return self._told.ended(job, code, message, state, resumable=True)
        if STAGES[job.stage].runs_inputs:
            self._records.progress(
                job.id, job.attempt, state="RUNNING", done=found.there, total=found.total, unit="stages", phase="stages"
            )
            return Standing.ASIDE
        if found.there < found.total:
            return self._without_inputs(job, found, capacity)
        return Standing.IN_LINE

    def _without_inputs(self, job: JobRow, found: InputStatus, capacity: Capacity) -> Standing:
        """Says what it waits for; or, before its inputs are made in vain, that no waiting would help.

        Only once all of them are asked for: a request writes them after this row, and none is to be left behind.
        """
        requirement = requirement_of_row(job.requirement)
        (decision,) = decide([self._waiting(job, requirement)], [], capacity)
        refused = decision.do is Action.REFUSE
        if refused and found.asked:
            return self._told.refused(job, decision)
        return self._told.waits_for_inputs(job, found, None if refused else requirement)

    def _end_cancelled(self, job: JobRow) -> None:
        """A pipeline has ended when the jobs that it asked for have."""
        if not any(other.parent == job.id for other, _ in self._records.live()):
            code = "cancelled" if job.cancel == "cancel" else "stopped"
            self._records.finish(job.id, job.attempt, "CANCELLED", code=code, message=code, resumable=True)

    def _carry_out(self, job: JobRow, decision: Decision, capacity: Capacity) -> None:
        if decision.do is Action.START:
            self._records.grant(job.id, job.attempt, ray_job_of(job), self._cluster.session)
            self._drivers.start(job)
        elif decision.do is Action.REFUSE:
            self._told.refused(job, decision)
        else:
            capacity = capacity._replace(store_free=self._stores.free(job))
            self._told.waits_for_place(job, decision, self._needs.of(job), capacity)

    def _forget(self, live: list[tuple[JobRow, AttemptRow]]) -> None:
        held = {(job.id, job.attempt) for job, _ in live}
        self._needs.forget(held)
        self._told.forget(held)
