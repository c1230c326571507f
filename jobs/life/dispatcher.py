"""The dispatcher of a running cluster: grants the waiting, starts their drivers, and finds what died. One leads at a time.

Each look is over the rows alone, so one that is killed loses nothing: the next one sees the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from cluster.records import DISPATCHER, AttemptRow, JobRow, Records, RecordsError
from cluster.store import Store, StoreError, StoreUnreachable
from configs.identity import parse_ref
from configs.requirements import Offer, Requirement, to_json
from jobs.life.admission import waited_too_long
from jobs.life.cancel import drop_waiting
from jobs.life.context import grouped_inputs
from jobs.life.drivers import ray_job_of
from jobs.life.failure import code_of
from jobs.life.inputs import Inputs
from jobs.life.line import Decision, Do, Holding, Waiting, decide
from jobs.life.needs import requirement_in, with_bytes
from jobs.life.plan import stage_runs_inputs
from jobs.life.reconcile import Reconciler, Starter

LEASE_S = 10.0
SAY_S = 10.0


class DriverStarter(Starter, Protocol):
    """Starts drivers, too."""

    def start(self, job: JobRow) -> None: ...


class Cluster(NamedTuple):
    """The cluster that grants are of: its session, where its head and dashboard are, and what it offers now."""

    session: str
    address: str
    dashboard: str
    offer: Callable[[], Offer]
    grow: Callable[[list[Requirement]], None]  # asks its autoscaler to hold all of these


class Dispatcher:
    """`tick` is one look; whoever holds it calls it each second."""

    def __init__(self, records: Records, cluster: Cluster, drivers: DriverStarter, name: str, store: Store) -> None:
        self._records, self._cluster, self._drivers, self._name = records, cluster, drivers, name
        self._stores = {store.url: store}
        self._store = store
        self._inputs = Inputs(records, self._store_of)
        self._reconciler = Reconciler(records, cluster.session, drivers)
        self._needs: dict[tuple[str, int], Requirement] = {}
        self._grown = False
        self._said: dict[tuple[str, int], tuple[str, float]] = {}

    def tick(self) -> list[JobRow]:
        """One look at everything. Gives the live jobs; none while another dispatcher leads."""
        offer = self._cluster.offer()
        told = {
            "cluster": self._cluster.session,
            "address": self._cluster.address,
            "dashboard": self._cluster.dashboard,
            "offer": to_json(offer),
        }
        if not self._records.lease(DISPATCHER, self._name, LEASE_S, told):
            return []
        self._reconciler.look(self._records.live())
        live = self._records.live()
        self._grant(live, offer)
        self._forget(live)
        return [job for job, _ in live]

    def resign(self) -> None:
        """Lets another lead at once."""
        self._records.release(DISPATCHER, self._name)

    def _grant(self, live: list[tuple[JobRow, AttemptRow]], offer: Offer) -> None:
        self._inputs.look(live)
        line, rows = [], {}
        for job, attempt in live:
            if attempt.pid is not None or attempt.granted_at is not None:
                continue
            try:
                if self._ready(job, attempt):
                    line.append(Waiting(job.id, self._need(job), frozenset(job.outputs), started=job.tries > 0))
                    rows[job.id] = job
            except (RecordsError, StoreUnreachable):  # it was cancelled meanwhile; or the next look may do
                continue
            except (StoreError, ValueError) as error:  # its own fault must not keep the others from starting
                self._refuse(job, error)
        holding = [
            Holding(job.id, job.stage, requirement_in(job.requirement), frozenset(job.outputs))
            for job, attempt in live
            if self._holds(job, attempt)
        ]
        decisions = decide(line, holding, offer)
        self._grow(decisions, rows, holding)
        for decision in decisions:
            try:
                self._carry_out(rows[decision.job_id], decision, offer)
            except RecordsError:  # cancelled meanwhile
                continue

    def _grow(self, decisions: list[Decision], rows: dict[str, JobRow], holding: list[Holding]) -> None:
        """Asks the autoscaler to hold what was granted and what waits for nodes; once more to say that nothing does."""
        waiting = [self._need(rows[one.job_id]) for one in decisions if one.kind == "nodes"]
        if waiting or self._grown:
            self._cluster.grow([one.need for one in holding] + waiting if waiting else [])
        self._grown = bool(waiting)

    def _refuse(self, job: JobRow, error: Exception) -> None:
        """Ends a job that cannot be started as it stands: a damaged input, a config of another version."""
        message = f"{job.stage}: {error}"
        with suppress(RecordsError):
            self._records.finish(job.id, job.attempt, "FAILED", code=code_of(type(error)), message=message)

    def _holds(self, job: JobRow, attempt: AttemptRow) -> bool:
        """A driver of this cluster, or of the gate of a command that joined it, holds what it was granted."""
        if attempt.pid is None and attempt.granted_at is None:
            return False
        return self._cluster.session in (attempt.cluster, job.requirement.get("cluster"))

    def _ready(self, job: JobRow, attempt: AttemptRow) -> bool:
        """True if the job stands in the line. What needs no place (it is done, or its input failed) ends here."""
        if job.state == "CANCELLING":
            self._end_cancelled(job)
            return False
        if not job.due:
            return False
        found = self._inputs.of(job, attempt)
        if found.done:
            self._records.progress(job.id, job.attempt, state="RUNNING")
            self._records.finish(job.id, job.attempt, "SUCCEEDED")
            return False
        if found.ended is not None:
            state, code, message = found.ended
            self._records.finish(
                job.id, job.attempt, state, code=code, message=message, resumable=True, retryable=False
            )
            drop_waiting(self._records, job.id)
            return False
        if stage_runs_inputs(job.stage):
            self._records.progress(
                job.id, job.attempt, state="RUNNING", done=found.there, total=found.total, unit="stages", phase="stages"
            )
            return False
        if found.there < found.total:
            blocked = {"kind": "inputs", "reason": found.reason, "holders": list(found.waits_for)}
            self._wait(job, blocked, found.reason, None)
            return False
        return True

    def _end_cancelled(self, job: JobRow) -> None:
        """A pipeline has ended when the jobs that it asked for have."""
        if not any(other.parent == job.id for other, _ in self._records.live()):
            code = "cancelled" if job.cancel == "cancel" else "stopped"
            self._records.finish(job.id, job.attempt, "CANCELLED", code=code, message=code, resumable=True)

    def _need(self, job: JobRow) -> Requirement:
        from configs.load import parse_config

        key = (job.id, job.attempt)
        if key not in self._needs:
            config = parse_config(job.stage, job.config, job.id)
            outputs = [parse_ref(ref) for ref in job.outputs]
            need = requirement_in(job.requirement)
            self._needs[key] = with_bytes(need, self._store_of(job), config, grouped_inputs(job.inputs), outputs)
        return self._needs[key]

    def _carry_out(self, job: JobRow, decision: Decision, offer: Offer) -> None:
        need = self._need(job)
        if decision.do is Do.START:
            self._records.grant(job.id, job.attempt, ray_job_of(job), self._cluster.session)
            self._drivers.start(job)
            return
        if decision.do is Do.REFUSE:
            message = f"{job.stage}: it can never run here: it {decision.reason}"
            self._records.finish(job.id, job.attempt, "FAILED", code="cannot_fit", message=message)
            return
        counts = decision.kind in ("resources", "nodes", "turn")  # what the time to wait is for
        if counts and job.overdue:
            message = f"{job.stage}: {waited_too_long(job.wait_s, decision)}"
            self._records.finish(job.id, job.attempt, "FAILED", code="waited_too_long", message=message, resumable=True)
            return
        blocked = {
            "kind": decision.kind,
            "reason": decision.reason,
            "need": str(need),
            "offer": str(offer),
            "holders": list(decision.holders),
            "largest_workers": decision.verdict.largest_workers if decision.verdict else None,
        }
        # The offer, which changes each second, stands in `blocked`: a message is an event.
        held = f"held by {', '.join(decision.holders)}" if decision.holders else "which no node here has any more"
        by = f"needs {need}; {held}" if decision.kind == "resources" else decision.reason
        message = f"waits at most {job.wait_s:.0f} s: it {by}" if counts else f"waits: it {by}"
        deadline = (job.deadline or time.time() + job.wait_s) if counts else None
        self._wait(job, blocked, message, deadline)

    def _wait(self, job: JobRow, blocked: dict[str, Any], message: str, deadline: float | None) -> None:
        """Writes what a job waits for when that changes, and now and then: a hundred rows a second would be much."""
        key, now = (job.id, job.attempt), time.monotonic()
        said, at = self._said.get(key, ("", -SAY_S))
        if said != message or now - at > SAY_S:
            self._said[key] = message, now
            self._records.wait(job.id, job.attempt, blocked, message, deadline)

    def _store_of(self, job: JobRow) -> Store:
        """The store that whoever asked for the job uses."""
        url = (job.environment or {}).get("env_vars", {}).get("RAYLENS_STORE")
        if not url:
            return self._store
        if url not in self._stores:
            self._stores[url] = Store.open(url)
        return self._stores[url]

    def _forget(self, live: list[tuple[JobRow, AttemptRow]]) -> None:
        held = {(job.id, job.attempt) for job, _ in live}
        self._needs = {key: need for key, need in self._needs.items() if key in held}
        self._said = {key: said for key, said in self._said.items() if key in held}
