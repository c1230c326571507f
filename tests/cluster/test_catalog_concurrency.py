"""Many at once: equal submissions make one job, events are numbered without gaps and seen in order, on either database."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from cluster.catalog import (
    Catalog,
    EventRow,
    IllegalMove,
    InUse,
    NameTaken,
    StaleAttempt,
    State,
    Submission,
    open_catalog,
    submission,
)
from configs.artifact_ids import parse_ref
from tests.cluster.catalog_rows import MANIFEST, REF, REPOSITORY, published, submit, values

MANY = 30
# Forks `many` processes, each of which runs `each` with a catalog of its own and prints a line; they live until told to
# end, for a job whose process is gone is another thing.
FORK = """
import json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from cluster.catalog import open_catalog
from tests.cluster.catalog_rows import submit
url, many, moment = sys.argv[1], int(sys.argv[2]), time.time() + 0.5
def each(number):
    with open_catalog(url) as catalog:
        time.sleep(max(0, moment - time.time()))
        {body}
        sys.stdin.read()
for number in range(many):
    if os.fork() == 0:
        each(number)
        os._exit(0)
sys.stdin.read()
for number in range(many):
    assert os.wait()[1] == 0
"""
SUBMIT = """with ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(lambda _: submit(catalog), range(10)))
        said = [[answer.job_id, answer.attempt, answer.created] for answer in answers]
        os.write(1, (json.dumps(said) + "\\n").encode())"""
WRITE = """own = submit(catalog, f"{number}" * 16)
        for n in range(15):
            assert catalog.progress(own.job_id, 1, message=f"{number} {n}")
            assert catalog.progress(sys.argv[3], 1, done=n, message=f"{number} {n}")
        os.write(1, f'"{own.job_id}"\\n'.encode())"""


@contextmanager
def forked(body: str, url: str, many: int, *arguments: str) -> Iterator[Callable[[], list[Any]]]:
    """Processes that run `body`; gives what waits for the line of each."""
    with subprocess.Popen(
        [sys.executable, "-c", FORK.replace("{body}", body), url, str(many), *arguments],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = process.stdout
        yield lambda: [json.loads(lines.readline()) for _ in range(many)]
        process.communicate()
    assert process.returncode == 0


def test_of_forty_equal_submissions_of_four_processes_one_makes_the_job(empty_url: str) -> None:
    """The catalog does not exist yet: they make its tables at once, too."""
    with forked(SUBMIT, empty_url, 4) as lines:
        answers = [answer for line in lines() for answer in line]
        assert Counter(created for *_, created in answers) == {True: 1, False: 39}
        assert len({(job_id, attempt) for job_id, attempt, _ in answers}) == 1
    with open_catalog(empty_url) as catalog:
        assert len(catalog.jobs()) == 1
        assert [event.number for event in catalog.events(answers[0][0])] == [1]


@pytest.mark.parametrize("before", [None, State.FAILED, State.SUCCEEDED])
@pytest.mark.parametrize("drive", [True, False])
def test_of_many_equal_submissions_of_threads_one_makes_the_attempt(
    catalog: Catalog, before: State | None, drive: bool
) -> None:
    """Of a job that there was not, or that had ended."""
    if before is not None:
        job = submit(catalog)
        catalog.progress(job.job_id, 1, state="RUNNING")
        catalog.finish(job.job_id, 1, before)
    start = threading.Barrier(MANY)

    def ask(_: int) -> Submission:
        start.wait()
        return submit(catalog, drive=drive, artifacts_gone=before is not None)

    with ThreadPoolExecutor(MANY) as threads:
        answers = list(threads.map(ask, range(MANY)))
    assert Counter(answer.created for answer in answers) == {True: 1, False: MANY - 1}
    assert {(a.job_id, a.attempt, a.live) for a in answers} == {(answers[0].job_id, 1 if before is None else 2, True)}
    assert len(catalog.attempts(answers[0].job_id)) == (1 if before is None else 2)


def test_of_many_who_would_do_one_thing_one_does(catalog: Catalog) -> None:
    """Grants, claims by threads of one process count as one claimant, adoptions, retries, names, leases."""
    job = submit(catalog, drive=False)

    def of_many(do: Callable[[int], object], error: type[Exception] | tuple[type[Exception], ...] = ()) -> int:
        def attempt(number: int) -> bool:
            try:
                return do(number) is not False
            except error:
                return False

        with ThreadPoolExecutor(12) as threads:
            return sum(threads.map(attempt, range(12)))

    assert of_many(lambda n: submit(catalog, drive=True).created) == 1
    assert of_many(lambda n: catalog.lose(job.job_id, 1, "gone", "gone", retry_at=0.0), StaleAttempt) == 1
    assert of_many(lambda n: catalog.grant(job.job_id, 2, f"j{n}", "c"), (IllegalMove, StaleAttempt)) == 1
    assert of_many(lambda n: catalog.finish(job.job_id, 2, "FAILED")) == 12
    assert len([e for e in catalog.events(job.job_id) if e.state == "FAILED"]) == 1
    assert of_many(lambda n: catalog.resume(job.job_id, "ada"), IllegalMove) == 1
    assert of_many(lambda n: catalog.lease("one", f"holder {n}")) == 1
    assert of_many(lambda n: submit(catalog, f"{n:016x}", name="mine"), NameTaken) == 1
    assert of_many(lambda n: catalog.record_artifact(MANIFEST | {"id": f"{n:016x}"})) == 12
    assert of_many(lambda n: catalog.record_artifact(MANIFEST | {"label": f"{n}"})) == 12
    assert [artifact.seq for artifact in catalog.artifacts()] == list(range(13, 0, -1))
    assert of_many(lambda n: catalog.annotate_feature(parse_ref("saes/" + "0" * 16), 1, "ada", notes=f"{n}")) == 12


def test_no_event_is_lost_and_none_appears_below_one_that_was_seen(catalog: Catalog, catalog_url: str) -> None:
    shared = submit(catalog)
    writers = 4
    seen: list[EventRow] = []
    with forked(WRITE, catalog_url, writers, shared.job_id) as lines:
        jobs: list[str] = []
        done = threading.Thread(target=lambda: jobs.extend(lines()))
        done.start()
        while done.is_alive() or len(seen) < 1 + writers * 31:
            alive = done.is_alive()
            found = catalog.changes(seen[-1].seq if seen else 0, limit=7)
            seen += found
            if not found and not alive:
                break
        done.join()
    assert [event.seq for event in seen] == list(range(1, 1 + writers * 31 + 1)), "each was seen once, in order"
    assert len(set(jobs)) == writers
    for job_id in [*jobs, shared.job_id]:
        events = [event for event in seen if event.job_id == job_id]
        assert [values(event) for event in events] == [values(event) for event in catalog.events(job_id)]
        assert [event.number for event in events] == list(range(1, len(events) + 1))
    said = Counter(event.message for event in seen if event.kind == "log")
    assert said == Counter({f"{number} {n}": 2 for number in range(writers) for n in range(15)})


def test_what_a_submission_needs_cannot_be_deleted_while_it_is_written(
    catalog: Catalog, catalog_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(catalog, "a" * 16)
    written, go_on = threading.Event(), threading.Event()
    add_labels = submission.add_labels

    def slowly(*arguments: Any) -> None:
        add_labels(*arguments)
        written.set()
        assert go_on.wait(30)

    monkeypatch.setattr(submission, "add_labels", slowly)
    with open_catalog(catalog_url) as other, ThreadPoolExecutor(2) as threads:
        job = threads.submit(submit, catalog, "b" * 16, inputs={"sae": REF}, outputs=[])
        assert written.wait(30)
        deleted = threads.submit(other.delete_artifact, parse_ref(REF))
        time.sleep(0.3)
        assert not deleted.done(), "it waits for the submission"
        go_on.set()
        with pytest.raises(InUse, match=job.result().job_id):
            deleted.result()
    assert catalog.artifact(parse_ref(REF)) is not None
