"""Jobs that nobody drives yet: submitted, waiting, granted, claimed; lost, tried again, resumed, cancelled."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cluster.records import CancelPending, IllegalMove, Records, RecordsError, StaleAttempt, State, Submission
from tests.cluster.catalog import pending, run, submit, values, why_dead

BLOCKED = {"kind": "resources", "reason": "2 GPU are held", "blocked_by": ["train-1"]}
GRANT = ("train-1-a1", "session_1")


def undriven(records: Records, fingerprint: str = "f" * 16, **more: Any) -> Submission:
    return submit(records, fingerprint, drive=False, **more)


def granted(records: Records) -> Submission:
    job = undriven(records)
    records.grant(job.job_id, 1, *GRANT)
    return job


def test_a_job_that_is_dispatched_from_end_to_end(records: Records) -> None:
    job = undriven(records, profile="gpu", environment={"working_dir": "/w"}, wait_s=5.0)
    assert (job.created, job.state, job.host) == (True, State.QUEUED, None)
    row = records.job(job.job_id)
    assert (row.profile, row.environment, row.wait_s) == ("gpu", {"working_dir": "/w"}, 5.0)
    assert why_dead(records, job.job_id) is None
    (attempt,) = records.attempts(job.job_id)
    assert (attempt.driven, attempt.host, attempt.heartbeat, attempt.granted_at) == (False, None, None, None)
    assert [j.id for j in pending(records)] == [job.job_id]

    deadline = time.time() + 100
    records.wait(job.job_id, 1, BLOCKED, "waits for 2 GPU", deadline)
    row = records.job(job.job_id)
    assert (row.state, row.blocked, row.message, row.deadline) == (
        State.WAITING, BLOCKED, "waits for 2 GPU", deadline,
    )  # fmt: skip
    assert row.waiting_since == pytest.approx(time.time(), abs=30)
    assert not row.overdue
    assert [j.id for j in pending(records)] == [job.job_id]

    records.grant(job.job_id, 1, *GRANT)
    row = records.job(job.job_id)
    assert (row.blocked, row.deadline, row.waiting_since) == (None, None, None)
    assert pending(records) == []
    ((live, attempt),) = records.live()
    assert (values(live), values(attempt)) == (values(row), values(records.attempts(job.job_id)[0]))
    assert (attempt.ray_job, attempt.cluster, attempt.driven) == (*GRANT, False)

    assert records.claim(job.job_id, 1).state == State.RUNNING
    assert records.claim(job.job_id, 1).state == State.RUNNING, "the same process may ask again"
    ((_, attempt),) = records.live()
    assert attempt.driven
    assert records.dead_driver(attempt) is None
    records.finish(job.job_id, 1, State.SUCCEEDED)
    assert records.live() == []
    assert [(e.kind, e.state, e.message) for e in records.events(job.job_id)] == [
        ("state", "QUEUED", "attempt 1"),
        ("state", "WAITING", "waits for 2 GPU"),
        ("log", "WAITING", "granted: it starts as train-1-a1"),
        ("state", "RUNNING", None),
        ("state", "SUCCEEDED", None),
    ]


def test_jobs_wait_in_the_order_of_their_submission_and_keep_their_place(records: Records) -> None:
    first, second, third = (undriven(records, letter * 16) for letter in "abc")
    driven = submit(records, "d" * 16)
    ids = [first.job_id, second.job_id, third.job_id]
    assert [job.id for job in pending(records)] == ids
    assert [job.id for job, _ in records.live()] == [*ids, driven.job_id]
    records.lose(first.job_id, 1, "node_gone", "its node is gone")
    assert [job.id for job in pending(records)] == ids[1:]
    records.resume(first.job_id, "ada")
    assert [job.id for job in pending(records)] == ids
    assert [job.seq for job in records.jobs()] == [4, 3, 2, 1]


def test_an_equal_submission_finds_what_nobody_drives(records: Records) -> None:
    job = undriven(records)
    again = undriven(records)
    assert (again.created, again.job_id, again.attempt) == (False, job.job_id, 1)
    records.wait(job.job_id, 1, BLOCKED, "waits")
    adopted = submit(records, requirement={"cpus": 2, "cluster": "own:1"})
    assert (adopted.created, adopted.job_id, adopted.attempt, adopted.state) == (True, job.job_id, 1, State.WAITING)
    assert adopted.host is not None
    assert records.job(job.job_id).requirement == {"cpus": 2, "cluster": "own:1"}
    assert pending(records) == []
    assert not submit(records).created, "it has a driver now"
    with pytest.raises(IllegalMove, match="has a driver, process"):
        records.grant(job.job_id, 1, *GRANT)
    assert records.progress(job.job_id, 1, state="RUNNING")
    assert records.job(job.job_id).blocked is None


def test_what_was_granted_is_not_adopted(records: Records) -> None:
    job = granted(records)
    assert records.lease("dispatcher", "one")
    assert not submit(records).created
    assert not undriven(records).created
    assert records.claim(job.job_id, 1).state == State.RUNNING


def test_waiting_says_a_thing_once(records: Records) -> None:
    job = undriven(records)
    for message in ("for inputs", "for inputs", "for more inputs"):
        records.wait(job.job_id, 1, {"kind": "inputs"}, message)
    row = records.job(job.job_id)
    assert (row.state, row.message, row.blocked) == (State.QUEUED, "for more inputs", {"kind": "inputs"})
    for message in ("for GPUs", "for GPUs", "for CPUs"):
        records.wait(job.job_id, 1, BLOCKED, message)
    assert [(e.kind, e.state, e.message) for e in records.events(job.job_id)[1:]] == [
        ("log", "QUEUED", "for inputs"),
        ("log", "QUEUED", "for more inputs"),
        ("state", "WAITING", "for GPUs"),
        ("log", "WAITING", "for CPUs"),
    ]
    assert records.events(job.job_id)[-1].data == {"blocked": BLOCKED}


@pytest.mark.parametrize("state", list(State))
def test_only_what_waits_is_granted(records: Records, state: State) -> None:
    job = undriven(records)
    if state == State.RUNNING:
        records.grant(job.job_id, 1, *GRANT)
        records.claim(job.job_id, 1)
    elif state == State.CANCELLING:
        records.grant(job.job_id, 1, *GRANT)
        records.request_cancel(job.job_id)
    elif state not in (State.QUEUED, State.WAITING):
        run(records, job, state)
    elif state == State.WAITING:
        records.wait(job.job_id, 1, BLOCKED, "waits")
    if state in (State.QUEUED, State.WAITING):
        records.grant(job.job_id, 1, *GRANT)
    with pytest.raises((StaleAttempt, IllegalMove)):
        records.grant(job.job_id, 1, *GRANT)
    with pytest.raises(StaleAttempt):
        records.wait(job.job_id, 1, BLOCKED, "waits")
    with pytest.raises(StaleAttempt, match="no longer holds it"):
        records.grant(job.job_id, 2, *GRANT)
    with pytest.raises(StaleAttempt, match="no longer holds it"):
        records.wait(job.job_id, 2, BLOCKED, "waits")


def test_who_may_claim(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    job = undriven(records)
    with pytest.raises(StaleAttempt, match="has not been granted"):
        records.claim(job.job_id, 1)
    records.grant(job.job_id, 1, *GRANT)
    with pytest.raises(StaleAttempt, match="no longer holds it"):
        records.claim(job.job_id, 2)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        records.claim(job.job_id, 1)
    with pytest.raises(StaleAttempt, match=r"is driven by process \d+ on elsewhere already"):
        records.claim(job.job_id, 1)
    records.lose(job.job_id, 1, "driver_gone", "gone")
    with pytest.raises(StaleAttempt, match="has ended"):
        records.claim(job.job_id, 1)


def test_a_cancel_before_the_grant_ends_the_job_at_once(records: Records) -> None:
    job = undriven(records)
    row = records.request_cancel(job.job_id, "stop")
    assert (row.state, row.code, row.resumable) == (State.CANCELLED, "stopped", True)
    with pytest.raises(StaleAttempt, match="has ended"):
        records.grant(job.job_id, 1, *GRANT)
    assert records.live() == []


def test_a_cancel_between_grant_and_claim_starts_nothing(records: Records) -> None:
    job = granted(records)
    assert records.request_cancel(job.job_id).state == State.CANCELLING
    with pytest.raises(CancelPending, match="is to cancel"):
        records.claim(job.job_id, 1)
    records.finish(job.job_id, 1, State.CANCELLED)
    with pytest.raises(StaleAttempt):
        records.claim(job.job_id, 1)


def test_losing_and_trying_again(records: Records) -> None:
    job = granted(records)
    records.claim(job.job_id, 1)
    with pytest.raises(StaleAttempt):
        records.lose(job.job_id, 2, "x", "x")
    records.lose(job.job_id, 1, "driver_gone", "its process is gone", retry_at=time.time() + 50)
    later = records.job(job.job_id)
    assert (later.state, later.attempt, later.retries, later.due) == (State.QUEUED, 2, 1, False)
    assert (later.message or "").startswith("attempt 2 starts in ")
    assert (later.message or "").endswith(" s, after: its process is gone")
    first, second = records.attempts(job.job_id)
    assert (first.state, first.code, first.message) == (State.LOST, "driver_gone", "its process is gone")
    assert second.driven is False
    with pytest.raises(StaleAttempt, match="attempt 2 does"):
        records.lose(job.job_id, 1, "driver_gone", "again", retry_at=0.0)

    records.grant(job.job_id, 2, "train-1-a2", "session_1")
    records.finish(job.job_id, 2, State.FAILED, code="network", message="no route", retry_at=time.time() - 1)
    row = records.job(job.job_id)
    assert (row.state, row.attempt, row.retries, row.due) == (State.QUEUED, 3, 2, True)

    records.lose(job.job_id, 3, "driver_gone", "its process is gone")
    lost = records.job(job.job_id)
    assert (lost.state, lost.code, lost.retryable, lost.resumable) == (State.LOST, "driver_gone", True, True)
    with pytest.raises(StaleAttempt, match="has ended"):
        records.lose(job.job_id, 3, "driver_gone", "again")


def test_what_is_to_be_cancelled_is_not_tried_again(records: Records) -> None:
    job = granted(records)
    records.claim(job.job_id, 1)
    records.request_cancel(job.job_id)
    records.finish(job.job_id, 1, State.FAILED, code="network", message="no route", retry_at=0.0)
    assert (records.job(job.job_id).state, records.job(job.job_id).attempt) == (State.FAILED, 1)


def test_what_becomes_safe_on_disk_forgives_earlier_failures(records: Records) -> None:
    job = submit(records)

    def lose() -> int:
        attempt = records.job(job.job_id).attempt
        records.lose(job.job_id, attempt, "driver_gone", "gone", retry_at=0.0)
        return records.job(job.job_id).retries

    def say(phase: str | None, durable: int) -> int:
        assert records.progress(job.job_id, records.job(job.job_id).attempt, phase=phase, durable=durable)
        row = records.job(job.job_id)
        assert row.durable == durable
        return row.retries

    assert lose() == 1
    assert say("tokenize", 10) == 0
    assert say("pack", 3) == 0
    assert lose() == 1
    assert say("tokenize", 10) == 1, "an earlier attempt had come as far"
    assert say("pack", 0) == 1
    assert say(None, 3) == 1
    assert lose() == 2
    assert say("pack", 4) == 0
    assert records.job(job.job_id).phase == "pack"


def test_a_job_that_is_asked_for_again_has_no_failures(records: Records) -> None:
    job = undriven(records)
    records.lose(job.job_id, 1, "driver_gone", "gone", retry_at=time.time() + 900)
    assert records.job(job.job_id).retries == 1
    records.finish(job.job_id, 2, State.FAILED, code="bad", message="bad input")
    row = records.resume(job.job_id, "eve")
    assert (row.state, row.attempt, row.retries, row.due, row.code) == (State.QUEUED, 3, 0, True, None)
    assert records.events(job.job_id)[-1].message == "attempt 3: resumed by eve"
    assert [j.id for j in pending(records)] == [job.job_id]
    with pytest.raises(IllegalMove, match="only one that ended without success"):
        records.resume(job.job_id, "eve")
    run(records, Submission(job.job_id, 3, State.QUEUED, True, [], None), State.SUCCEEDED)
    with pytest.raises(IllegalMove, match="is SUCCEEDED"):
        records.resume(job.job_id, "eve")
    with pytest.raises(RecordsError, match="no job 'x'"):
        records.resume("x", "eve")


def test_the_events_of_all_jobs_have_one_order(records: Records) -> None:
    a, b = undriven(records, "a" * 16), undriven(records, "b" * 16)
    records.grant(b.job_id, 1, *GRANT)
    records.wait(a.job_id, 1, BLOCKED, "waits")
    records.progress(a.job_id, 1, done=3)  # no event
    changes = records.changes(0)
    assert [event.seq for event in changes] == [1, 2, 3, 4]
    assert [(event.job_id, event.number) for event in changes] == [
        (a.job_id, 1), (b.job_id, 1), (b.job_id, 2), (a.job_id, 2),
    ]  # fmt: skip
    assert [event.seq for event in records.changes(2, limit=1)] == [3]
    assert records.changes(4) == []
    of_a = [values(event) for event in changes if event.job_id == a.job_id]
    assert of_a == [values(event) for event in records.events(a.job_id)]


def test_what_is_submitted_on_behalf_of_a_job_names_it(records: Records) -> None:
    whole = undriven(records, "a" * 16)
    part = undriven(records, "b" * 16, parent=whole.job_id)
    assert records.job(part.job_id).parent == whole.job_id
    assert [job.id for job in records.jobs(parent=whole.job_id)] == [part.job_id]
    with pytest.raises(RecordsError, match=r"refuses this.*(?i:foreign key)"):
        undriven(records, "c" * 16, parent="nobody")


def test_a_live_job_that_is_asked_for_by_name_is_nobodys_part_any_more(records: Records) -> None:
    whole, other = undriven(records, "a" * 16), undriven(records, "d" * 16)
    part = undriven(records, "b" * 16, parent=whole.job_id)
    assert undriven(records, "b" * 16, parent=other.job_id).job_id == part.job_id
    assert records.job(part.job_id).parent == whole.job_id
    undriven(records, "b" * 16)
    undriven(records, "b" * 16, parent=whole.job_id)
    assert records.job(part.job_id).parent is None
    records.request_cancel(part.job_id)
    again = undriven(records, "b" * 16, parent=other.job_id)
    assert (again.attempt, records.job(part.job_id).parent) == (2, other.job_id), "the attempt is made for this one"


def test_a_grant_that_nobody_watches_is_taken_over_by_a_command_that_drives(records: Records) -> None:
    """Granted, and then its cluster ended before the driver started. While a dispatcher watches, it is left to that."""
    job = granted(records)
    assert records.lease("dispatcher", "one")
    assert not submit(records, drive=True).created
    records.release("dispatcher", "one")
    assert not submit(records, drive=False).created
    taken = submit(records, drive=True)
    assert (taken.created, taken.job_id, taken.attempt) == (True, job.job_id, 2)
    assert records.attempts(job.job_id)[0].code == "cluster_gone"


def test_a_process_that_drives_its_own_job_is_granted_it_and_it_runs(records: Records) -> None:
    job = submit(records)
    waiting = submit(records, fingerprint="another", drive=False)
    records.grant(job.job_id, 1, None, "own:1")
    ((row, attempt),) = [one for one in records.live() if one[0].id == job.job_id]
    assert (row.state, attempt.cluster, attempt.ray_job, attempt.admitted) == (State.RUNNING, "own:1", None, True)
    for other in (job, waiting):  # it runs already; it is nobody's yet, so a dispatcher's to grant
        with pytest.raises(IllegalMove, match="cannot be granted"):
            records.grant(other.job_id, 1, None, "own:1")
