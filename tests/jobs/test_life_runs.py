"""Jobs from their submission to their end, as processes with Ray clusters of their own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.jobs.command import Toy, ended, says


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def test_equal_submissions_run_once_and_a_third_finds_it_done(toy: Toy) -> None:
    toy.hold(2)
    first = toy.start()
    job = toy.wait_for("tokenize", 1)
    process = toy.start("resources.threads=2")  # resources are no part of the identity
    says(process, f"{job}, is running already")
    toy.release()
    second, one = ended(process), ended(first)
    assert one.status == second.status == 0, one.said + second.said
    assert one.answer == second.answer
    assert one.answer["job"] == job
    assert one.answer["state"] == "SUCCEEDED"
    assert "0/8 blocks" not in second.said  # it follows the job of the first
    assert "a worker speaks of block-7" in one.said  # on standard error; standard output was one line
    assert one.said.rindex("100%  tokens/") > one.said.rindex("8/8 blocks")
    with toy.catalog() as catalog:
        (row,) = catalog.jobs(stage="tokenize")
        assert row.attempt == 1
        assert len(catalog.jobs(stage="download")) == 2
        assert catalog.artifact(_ref(one.answer["artifacts"][0])) is not None

    (toy.home / "admission.lock").unlink()  # which a command makes that admits jobs
    third = toy.run()
    assert third.answer == one.answer
    assert "done already" in third.said
    assert not (toy.home / "admission.lock").exists()


def _ref(text: str):  # type: ignore[no-untyped-def]
    from configs.artifact_ids import parse_ref

    return parse_ref(text)


def test_the_same_command_goes_on_with_a_job_that_was_interrupted_or_killed(toy: Toy) -> None:
    toy.hold(3)
    process = toy.start()
    job = toy.wait_for("tokenize", 3)
    process.send_signal(signal.SIGINT)
    says(process, "SIGINT: finishing the block")
    toy.release()
    stopped = ended(process)
    assert stopped.status == 130
    assert stopped.answer == {"job": job, "state": "CANCELLED", "artifacts": []}
    assert "Traceback" not in stopped.said
    with toy.catalog() as catalog:
        row = catalog.job(job)
    assert row.state == "CANCELLED"
    assert row.resumable

    toy.hold(6)
    process = toy.start()
    says(process, "4 blocks from before")  # the block that was being made was finished
    assert toy.wait_for("tokenize", 6) == job
    process.kill()
    process.communicate()
    toy.release()
    again = toy.run()
    assert again.status == 0
    assert again.answer["job"] == job
    assert "6 blocks from before" in again.said
    assert "block-5\n" not in again.said
    assert "block-6\n" in again.said
    with toy.catalog() as catalog:
        states = [attempt.state for attempt in catalog.attempts(job)]
    assert states == ["CANCELLED", "LOST", "SUCCEEDED"]
