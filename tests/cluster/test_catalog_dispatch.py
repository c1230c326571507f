"""Jobs that nobody drives yet: submitted, waiting, granted, claimed; lost, tried again, resumed, cancelled."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cluster.catalog import CancelPending, Catalog, CatalogError, IllegalMove, StaleAttempt, State, Submission
from tests.cluster.catalog_rows import pending, run, submit, values, why_dead

BLOCKED = {"kind": "resources", "reason": "2 GPU are held", "blocked_by": ["train-1"]}
GRANT = ("train-1-a1", "session_1")


def undriven(catalog: Catalog, fingerprint: str = "f" * 16, **more: Any) -> Submission:
    return submit(catalog, fingerprint, drive=False, **more)


def granted(catalog: Catalog) -> Submission:
    job = undriven(catalog)
    catalog.grant(job.job_id, 1, *GRANT)
    return job


def test_a_job_that_is_dispatched_from_end_to_end(catalog: Catalog) -> None:
    job = undriven(catalog, profile="gpu", environment={"working_dir": "/w"}, wait_s=5.0)
    assert (job.created, job.state, job.host) == (True, State.QUEUED, None)
    row = catalog.job(job.job_id)
    assert (row.profile, row.environment, row.wait_s) == ("gpu", {"working_dir": "/w"}, 5.0)
    assert why_dead(catalog, job.job_id) is None
    (attempt,) = catalog.attempts(job.job_id)
    assert (attempt.driven, attempt.host, attempt.heartbeat, attempt.granted_at) == (False, None, None, None)
    assert [j.id for j in pending(catalog)] == [job.job_id]

    deadline = time.time() + 100
    catalog.wait(job.job_id, 1, BLOCKED, "waits for 2 GPU", deadline)
    row = catalog.job(job.job_id)
    assert (row.state, row.blocked, row.message, row.deadline) == (
        State.WAITING, BLOCKED, "waits for 2 GPU", deadline,
    )  # fmt: skip
    assert row.waiting_since == pytest.approx(time.time(), abs=30)
    assert not row.overdue
    assert [j.id for j in pending(catalog)] == [job.job_id]

    catalog.grant(job.job_id, 1, *GRANT)
    row = catalog.job(job.job_id)
    assert (row.blocked, row.deadline, row.waiting_since) == (None, None, None)
    assert pending(catalog) == []
    ((live, attempt),) = catalog.live()
    assert (values(live), values(attempt)) == (values(row), values(catalog.attempts(job.job_id)[0]))
    assert (attempt.ray_job, attempt.cluster, attempt.driven) == (*GRANT, False)

    assert catalog.claim(job.job_id, 1).state == State.RUNNING
    assert catalog.claim(job.job_id, 1).state == State.RUNNING, "the same process may ask again"
    ((_, attempt),) = catalog.live()
    assert attempt.driven
    assert catalog.dead_driver(attempt) is None
    catalog.finish(job.job_id, 1, State.SUCCEEDED)
    assert catalog.live() == []
    assert [(e.kind, e.state, e.message) for e in catalog.events(job.job_id)] == [
        ("state", "QUEUED", "attempt 1"),
        ("state", "WAITING", "waits for 2 GPU"),
        ("log", "WAITING", "granted: it starts as train-1-a1"),
        ("state", "RUNNING", None),
        ("state", "SUCCEEDED", None),
    ]


def test_jobs_wait_in_the_order_of_their_submission_and_keep_their_place(catalog: Catalog) -> None:
    first, second, third = (undriven(catalog, letter * 16) for letter in "abc")
    driven = submit(catalog, "d" * 16)
    ids = [first.job_id, second.job_id, third.job_id]
    assert [job.id for job in pending(catalog)] == ids
    assert [job.id for job, _ in catalog.live()] == [*ids, driven.job_id]
    catalog.lose(first.job_id, 1, "node_gone", "its node is gone")
    assert [job.id for job in pending(catalog)] == ids[1:]
    catalog.resume(first.job_id, "ada")
    assert [job.id for job in pending(catalog)] == ids
    assert [job.seq for job in catalog.jobs()] == [4, 3, 2, 1]


def test_an_equal_submission_finds_what_nobody_drives(catalog: Catalog) -> None:
    job = undriven(catalog)
    again = undriven(catalog)
    assert (again.created, again.job_id, again.attempt) == (False, job.job_id, 1)
    catalog.wait(job.job_id, 1, BLOCKED, "waits")
    adopted = submit(catalog, requirement={"cpus": 2, "cluster": "own:1"})
    assert (adopted.created, adopted.job_id, adopted.attempt, adopted.state) == (True, job.job_id, 1, State.WAITING)
    assert adopted.host is not None
    assert catalog.job(job.job_id).requirement == {"cpus": 2, "cluster": "own:1"}
    assert pending(catalog) == []
    assert not submit(catalog).created, "it has a driver now"
    with pytest.raises(IllegalMove, match="has a driver, process"):
        catalog.grant(job.job_id, 1, *GRANT)
    assert catalog.progress(job.job_id, 1, state="RUNNING")
    assert catalog.job(job.job_id).blocked is None


def test_what_was_granted_is_not_adopted(catalog: Catalog) -> None:
    job = granted(catalog)
    assert catalog.lease("dispatcher", "one")
    assert not submit(catalog).created
    assert not undriven(catalog).created
    assert catalog.claim(job.job_id, 1).state == State.RUNNING


def test_waiting_says_a_thing_once(catalog: Catalog) -> None:
    job = undriven(catalog)
    for message in ("for inputs", "for inputs", "for more inputs"):
        catalog.wait(job.job_id, 1, {"kind": "inputs"}, message)
    row = catalog.job(job.job_id)
    assert (row.state, row.message, row.blocked) == (State.QUEUED, "for more inputs", {"kind": "inputs"})
    for message in ("for GPUs", "for GPUs", "for CPUs"):
        catalog.wait(job.job_id, 1, BLOCKED, message)
    assert [(e.kind, e.state, e.message) for e in catalog.events(job.job_id)[1:]] == [
        ("log", "QUEUED", "for inputs"),
        ("log", "QUEUED", "for more inputs"),
        ("state", "WAITING", "for GPUs"),
        ("log", "WAITING", "for CPUs"),
    ]
    assert catalog.events(job.job_id)[-1].data == {"blocked": BLOCKED}


@pytest.mark.parametrize("state", list(State))
def test_only_what_waits_is_granted(catalog: Catalog, state: State) -> None:
    job = undriven(catalog)
    if state == State.RUNNING:
        catalog.grant(job.job_id, 1, *GRANT)
        catalog.claim(job.job_id, 1)
    elif state == State.CANCELLING:
        catalog.grant(job.job_id, 1, *GRANT)
        catalog.request_cancel(job.job_id)
    elif state not in (State.QUEUED, State.WAITING):
        run(catalog, job, state)
    elif state == State.WAITING:
        catalog.wait(job.job_id, 1, BLOCKED, "waits")
    if state in (State.QUEUED, State.WAITING):
        catalog.grant(job.job_id, 1, *GRANT)
    with pytest.raises((StaleAttempt, IllegalMove)):
        catalog.grant(job.job_id, 1, *GRANT)
    with pytest.raises(StaleAttempt):
        catalog.wait(job.job_id, 1, BLOCKED, "waits")
    with pytest.raises(StaleAttempt, match="no longer holds it"):
        catalog.grant(job.job_id, 2, *GRANT)
    with pytest.raises(StaleAttempt, match="no longer holds it"):
        catalog.wait(job.job_id, 2, BLOCKED, "waits")


def test_who_may_claim(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    job = undriven(catalog)
    with pytest.raises(StaleAttempt, match="has not been granted"):
        catalog.claim(job.job_id, 1)
    catalog.grant(job.job_id, 1, *GRANT)
    with pytest.raises(StaleAttempt, match="no longer holds it"):
        catalog.claim(job.job_id, 2)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        catalog.claim(job.job_id, 1)
    with pytest.raises(StaleAttempt, match=r"is driven by process \d+ on elsewhere already"):
        catalog.claim(job.job_id, 1)
    catalog.lose(job.job_id, 1, "driver_gone", "gone")
    with pytest.raises(StaleAttempt, match="has ended"):
        catalog.claim(job.job_id, 1)


def test_a_cancel_before_the_grant_ends_the_job_at_once(catalog: Catalog) -> None:
    job = undriven(catalog)
    row = catalog.request_cancel(job.job_id, "stop")
    assert (row.state, row.code, row.resumable) == (State.CANCELLED, "stopped", True)
    with pytest.raises(StaleAttempt, match="has ended"):
        catalog.grant(job.job_id, 1, *GRANT)
    assert catalog.live() == []


def test_a_cancel_between_grant_and_claim_starts_nothing(catalog: Catalog) -> None:
    job = granted(catalog)
    assert catalog.request_cancel(job.job_id).state == State.CANCELLING
    with pytest.raises(CancelPending, match="is to cancel"):
        catalog.claim(job.job_id, 1)
    catalog.finish(job.job_id, 1, State.CANCELLED)
    with pytest.raises(StaleAttempt):
        catalog.claim(job.job_id, 1)


def test_losing_and_trying_again(catalog: Catalog) -> None:
    job = granted(catalog)
    catalog.claim(job.job_id, 1)
    with pytest.raises(StaleAttempt):
        catalog.lose(job.job_id, 2, "x", "x")
    catalog.lose(job.job_id, 1, "driver_gone", "its process is gone", retry_at=time.time() + 50)
    later = catalog.job(job.job_id)
    assert (later.state, later.attempt, later.retries, later.due) == (State.QUEUED, 2, 1, False)
    assert (later.message or "").startswith("attempt 2 starts in ")
    assert (later.message or "").endswith(" s, after: its process is gone")
    first, second = catalog.attempts(job.job_id)
    assert (first.state, first.code, first.message) == (State.LOST, "driver_gone", "its process is gone")
    assert second.driven is False
    with pytest.raises(StaleAttempt, match="attempt 2 does"):
        catalog.lose(job.job_id, 1, "driver_gone", "again", retry_at=0.0)

    catalog.grant(job.job_id, 2, "train-1-a2", "session_1")
    catalog.finish(job.job_id, 2, State.FAILED, code="network", message="no route", retry_at=time.time() - 1)
    row = catalog.job(job.job_id)
    assert (row.state, row.attempt, row.retries, row.due) == (State.QUEUED, 3, 2, True)

    catalog.lose(job.job_id, 3, "driver_gone", "its process is gone")
    lost = catalog.job(job.job_id)
    assert (lost.state, lost.code, lost.retryable, lost.resumable) == (State.LOST, "driver_gone", True, True)
    with pytest.raises(StaleAttempt, match="has ended"):
        catalog.lose(job.job_id, 3, "driver_gone", "again")


def test_what_is_to_be_cancelled_is_not_tried_again(catalog: Catalog) -> None:
    job = granted(catalog)
    catalog.claim(job.job_id, 1)
    catalog.request_cancel(job.job_id)
    catalog.finish(job.job_id, 1, State.FAILED, code="network", message="no route", retry_at=0.0)
    assert (catalog.job(job.job_id).state, catalog.job(job.job_id).attempt) == (State.FAILED, 1)


def test_what_becomes_safe_on_disk_forgives_earlier_failures(catalog: Catalog) -> None:
    job = submit(catalog)

    def lose() -> int:
        attempt = catalog.job(job.job_id).attempt
        catalog.lose(job.job_id, attempt, "driver_gone", "gone", retry_at=0.0)
        return catalog.job(job.job_id).retries

    def say(phase: str | None, durable: int) -> int:
        assert catalog.progress(job.job_id, catalog.job(job.job_id).attempt, phase=phase, durable=durable)
        row = catalog.job(job.job_id)
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
    assert catalog.job(job.job_id).phase == "pack"


def test_a_job_that_is_asked_for_again_has_no_failures(catalog: Catalog) -> None:
    job = undriven(catalog)
    catalog.lose(job.job_id, 1, "driver_gone", "gone", retry_at=time.time() + 900)
    assert catalog.job(job.job_id).retries == 1
    catalog.finish(job.job_id, 2, State.FAILED, code="bad", message="bad input")
    row = catalog.resume(job.job_id, "eve")
    assert (row.state, row.attempt, row.retries, row.due, row.code) == (State.QUEUED, 3, 0, True, None)
    assert catalog.events(job.job_id)[-1].message == "attempt 3: resumed by eve"
    assert [j.id for j in pending(catalog)] == [job.job_id]
    with pytest.raises(IllegalMove, match="only one that ended without success"):
        catalog.resume(job.job_id, "eve")
    run(catalog, Submission(job.job_id, 3, State.QUEUED, True, [], None), State.SUCCEEDED)
    with pytest.raises(IllegalMove, match="is SUCCEEDED"):
        catalog.resume(job.job_id, "eve")
    with pytest.raises(CatalogError, match="no job 'x'"):
        catalog.resume("x", "eve")


def test_the_events_of_all_jobs_have_one_order(catalog: Catalog) -> None:
    a, b = undriven(catalog, "a" * 16), undriven(catalog, "b" * 16)
    catalog.grant(b.job_id, 1, *GRANT)
    catalog.wait(a.job_id, 1, BLOCKED, "waits")
    catalog.progress(a.job_id, 1, done=3)  # no event
    changes = catalog.changes(0)
    assert [event.seq for event in changes] == [1, 2, 3, 4]
    assert [(event.job_id, event.number) for event in changes] == [
        (a.job_id, 1), (b.job_id, 1), (b.job_id, 2), (a.job_id, 2),
    ]  # fmt: skip
    assert [event.seq for event in catalog.changes(2, limit=1)] == [3]
    assert catalog.changes(4) == []
    of_a = [values(event) for event in changes if event.job_id == a.job_id]
    assert of_a == [values(event) for event in catalog.events(a.job_id)]


def test_what_is_submitted_on_behalf_of_a_job_names_it(catalog: Catalog) -> None:
    whole = undriven(catalog, "a" * 16)
    part = undriven(catalog, "b" * 16, parent=whole.job_id)
    assert catalog.job(part.job_id).parent == whole.job_id
    assert [job.id for job in catalog.jobs(parent=whole.job_id)] == [part.job_id]
    with pytest.raises(CatalogError, match=r"refuses this.*(?i:foreign key)"):
        undriven(catalog, "c" * 16, parent="nobody")


def test_a_live_job_that_is_asked_for_by_name_is_nobodys_part_any_more(catalog: Catalog) -> None:
    whole, other = undriven(catalog, "a" * 16), undriven(catalog, "d" * 16)
    part = undriven(catalog, "b" * 16, parent=whole.job_id)
    assert undriven(catalog, "b" * 16, parent=other.job_id).job_id == part.job_id
    assert catalog.job(part.job_id).parent == whole.job_id
    undriven(catalog, "b" * 16)
    undriven(catalog, "b" * 16, parent=whole.job_id)
    assert catalog.job(part.job_id).parent is None
    catalog.request_cancel(part.job_id)
    again = undriven(catalog, "b" * 16, parent=other.job_id)
    assert (again.attempt, catalog.job(part.job_id).parent) == (2, other.job_id), "the attempt is made for this one"


def test_a_grant_that_nobody_watches_is_taken_over_by_a_command_that_drives(catalog: Catalog) -> None:
    """Granted, and then its cluster ended before the driver started. While a dispatcher watches, it is left to that."""
    job = granted(catalog)
    assert catalog.lease("dispatcher", "one")
    assert not submit(catalog, drive=True).created
    catalog.release("dispatcher", "one")
    assert not submit(catalog, drive=False).created
    taken = submit(catalog, drive=True)
    assert (taken.created, taken.job_id, taken.attempt) == (True, job.job_id, 2)
    assert catalog.attempts(job.job_id)[0].code == "cluster_gone"


def test_a_process_that_drives_its_own_job_is_granted_it_and_it_runs(catalog: Catalog) -> None:
    job = submit(catalog)
    waiting = submit(catalog, fingerprint="another", drive=False)
    catalog.grant(job.job_id, 1, None, "own:1")
    ((row, attempt),) = [one for one in catalog.live() if one[0].id == job.job_id]
    assert (row.state, attempt.cluster, attempt.ray_job, attempt.admitted) == (State.RUNNING, "own:1", None, True)
    for other in (job, waiting):  # it runs already; it is nobody's yet, so a dispatcher's to grant
        with pytest.raises(IllegalMove, match="cannot be granted"):
            catalog.grant(other.job_id, 1, None, "own:1")
