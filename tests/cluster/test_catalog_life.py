"""Any sequence of calls by anyone, in time or late: the laws of a job's life hold, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cluster.catalog import ENDED, LIVE, MOVES, AttemptRow, IllegalMove, JobRow, StaleAttempt, State, open_catalog
from tests.cluster.catalog_rows import MANIFEST, pending, submit, values

PRINTS = st.sampled_from(["a" * 16, "b" * 16])
BACK = st.integers(0, 2)  # how many attempts late
REFUSED = (StaleAttempt, IllegalMove)


class Life(RuleBasedStateMachine):
    """`database` gives the URL of a catalog without rows."""

    def __init__(self, database: AbstractContextManager[str]) -> None:
        super().__init__()
        self.database = database
        self.catalog = open_catalog(database.__enter__())
        self.jobs: dict[str, str] = {}
        self.seen: dict[str, tuple[int, State, int]] = {}

    def teardown(self) -> None:
        self.catalog.close()
        self.database.__exit__(None, None, None)

    def pick(self, fingerprint: str, back: int = 0) -> tuple[JobRow, AttemptRow, tuple[str, int]] | None:
        """The job, the attempt that holds it, and which attempt is to be named."""
        job_id = self.jobs.get(fingerprint)
        if job_id is None:
            return None
        job = self.catalog.job(job_id)
        return job, self.catalog.attempts(job_id)[-1], (job_id, job.attempt - back)

    @rule(fingerprint=PRINTS, gone=st.booleans(), drive=st.booleans())
    def submits(self, fingerprint: str, gone: bool, drive: bool) -> None:
        before = self.pick(fingerprint)
        answer = submit(self.catalog, fingerprint, artifacts_gone=gone, drive=drive)
        assert self.jobs.setdefault(fingerprint, answer.job_id) == answer.job_id
        (job, attempt, _) = self.pick(fingerprint) or pytest.fail("the job is there")
        if before is None:
            assert answer.created
        elif before[0].live:
            adopted = drive and not before[1].driven and before[1].granted_at is None and _waits(before[0])
            # No dispatcher lives here, so nobody will start the driver of what was granted: a new attempt takes its place.
            orphaned = drive and not before[1].driven and before[1].granted_at is not None
            assert (answer.created, answer.attempt) == (adopted or orphaned, before[0].attempt + orphaned)
        else:
            again = before[0].state != State.SUCCEEDED or gone
            assert (answer.created, answer.attempt) == (again, before[0].attempt + again)
            assert not again or job.retries == 0
        assert not answer.created or attempt.driven == drive

    @rule(fingerprint=PRINTS, back=BACK, state=st.sampled_from([None, "WAITING", "RUNNING"]), text=st.booleans())
    def progresses(self, fingerprint: str, back: int, state: str | None, text: bool) -> None:
        if which := self.pick(fingerprint, back):
            assert not (self.catalog.progress(*which[2], state=state, message="m" if text else None) and back)

    @rule(fingerprint=PRINTS, back=BACK)
    def publishes(self, fingerprint: str, back: int) -> None:
        if which := self.pick(fingerprint, back):
            self.may(back == 0 and which[0].state == State.RUNNING, self.catalog.publish, *which[2], MANIFEST)

    @rule(fingerprint=PRINTS, back=BACK, state=st.sampled_from(sorted(ENDED)))
    def finishes(self, fingerprint: str, back: int, state: State) -> None:
        if which := self.pick(fingerprint, back):
            may = back == 0 and (state in MOVES[which[0].state] or state == which[0].state)
            self.may(may, self.catalog.finish, *which[2], state)

    @rule(fingerprint=PRINTS, how=st.sampled_from(["stop", "cancel"]))
    def cancels(self, fingerprint: str, how: Any) -> None:
        if which := self.pick(fingerprint):
            self.may(which[0].live, self.catalog.request_cancel, which[0].id, how)
            if _waits(which[0]) and not which[1].driven and which[1].granted_at is None:
                assert self.catalog.job(which[0].id).state == State.CANCELLED

    @rule(fingerprint=PRINTS, back=BACK, kind=st.sampled_from(["inputs", "resources"]))
    def waits(self, fingerprint: str, back: int, kind: str) -> None:
        if which := self.pick(fingerprint, back):
            may = back == 0 and _waits(which[0]) and which[1].granted_at is None
            self.may(may, self.catalog.wait, *which[2], {"kind": kind}, "waits", 1.0)

    @rule(fingerprint=PRINTS, back=BACK)
    def grants(self, fingerprint: str, back: int) -> None:
        if which := self.pick(fingerprint, back):
            job, attempt, named = which
            may = back == 0 and job.id in [one.id for one in pending(self.catalog)]
            assert may == (back == 0 and _waits(job) and not attempt.driven and attempt.granted_at is None)
            self.may(may, self.catalog.grant, *named, f"{job.id}-a{job.attempt}", "c")

    @rule(fingerprint=PRINTS, back=BACK)
    def claims(self, fingerprint: str, back: int) -> None:
        if which := self.pick(fingerprint, back):
            job, attempt, named = which
            mine = attempt.driven or (attempt.granted_at is not None and job.state != State.CANCELLING)
            self.may(back == 0 and job.live and mine, self.catalog.claim, *named)

    @rule(fingerprint=PRINTS, back=BACK)
    def loses(self, fingerprint: str, back: int) -> None:
        if which := self.pick(fingerprint, back):
            self.may(back == 0 and which[0].live, self.catalog.lose, *which[2], "gone", "gone")

    @rule(fingerprint=PRINTS, back=BACK)
    def retries(self, fingerprint: str, back: int) -> None:
        if which := self.pick(fingerprint, back):
            may = back == 0 and which[0].live
            self.may(may, partial(self.catalog.lose, retry_at=0.0), *which[2], "gone", "gone")
            after = self.catalog.job(which[0].id)
            assert (after.retries, after.attempt) == (which[0].retries + may, which[0].attempt + may)

    @rule(fingerprint=PRINTS)
    def resumes(self, fingerprint: str) -> None:
        if which := self.pick(fingerprint):
            may = which[0].state in ENDED - {State.SUCCEEDED}
            self.may(may, self.catalog.resume, which[0].id, "ada")

    def may(self, may: bool, call: Any, *arguments: Any) -> None:
        """It is done if it may be, else refused, and then nothing has changed."""
        before = self.everything()
        try:
            call(*arguments)
            assert may
        except REFUSED:
            assert not may
            assert self.everything() == before

    def everything(self) -> list[Any]:
        return [values(row) for row in [*self.catalog.jobs(), *self.catalog.changes(0)]]

    @invariant()
    def moves_only_forwards(self) -> None:
        for job in self.catalog.jobs():
            attempt, state, events = self.seen.get(job.id, (0, State.QUEUED, 0))
            assert job.attempt in (attempt, attempt + 1)
            if job.attempt == attempt:
                assert job.state == state or job.state in MOVES[state]
            elif attempt:
                ended = self.catalog.attempts(job.id)[-2].state  # in one step with the next attempt, perhaps
                assert ended in ENDED
                assert ended == state or ended in MOVES[state]
                assert job.state == State.QUEUED
            numbers = [event.number for event in self.catalog.events(job.id)]
            assert numbers == list(range(1, job.last_event + 1))
            assert job.last_event >= events
            self.seen[job.id] = (job.attempt, job.state, job.last_event)

    @invariant()
    def at_most_one_lives_and_all_are_found(self) -> None:
        live = [job for job in self.catalog.jobs() if job.live]
        assert len(live) == len({job.fingerprint for job in live})
        assert [job.id for job, _ in self.catalog.live()] == [job.id for job in sorted(live, key=lambda job: job.seq)]
        for job, attempt in self.catalog.live():
            assert attempt.pending == (_waits(job) and not attempt.driven and attempt.granted_at is None)

    @invariant()
    def events_have_one_order(self) -> None:
        assert [event.seq for event in self.catalog.changes(0)] == list(range(1, len(self.catalog.changes(0)) + 1))


def _waits(job: JobRow) -> bool:
    return job.state in (State.QUEUED, State.WAITING)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_laws_hold_whatever_is_called(database: str, request: pytest.FixtureRequest, new_catalog: Path) -> None:
    @contextmanager
    def in_a_file() -> Iterator[str]:
        with TemporaryDirectory() as folder:
            copy(new_catalog, folder)
            yield f"sqlite:///{folder}/{new_catalog.name}"

    catalog = in_a_file if database == "sqlite" else request.getfixturevalue("postgres").catalog
    few = settings(max_examples=12, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(lambda: Life(catalog()), settings=few)


def test_live_is_what_has_not_ended() -> None:
    assert frozenset(State) == LIVE | ENDED
    assert not LIVE & ENDED
