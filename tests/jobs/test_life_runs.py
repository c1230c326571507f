"""Jobs from their submission to their end, as processes with Ray clusters of their own."""

from __future__ import annotations

import signal
import time
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
    assert "[blocks]" not in second.said
    assert "a worker speaks of block-7" in one.said  # on standard error; standard output was one line
    assert one.said.rindex("100%  tokens/") > one.said.rindex("8/8 blocks")
    with toy.records() as records:
        (row,) = records.jobs(stage="tokenize")
        assert row.attempt == 1
        assert len(records.jobs(stage="download")) == 2
        assert records.artifact(_ref(one.answer["artifacts"][0])) is not None

    (toy.home / "gate.lock").unlink()  # which only a driver that asks for machines makes
    began = time.monotonic()
    third = toy.run()
    assert third.answer == one.answer
    assert "done already" in third.said
    assert time.monotonic() - began < 10
    assert not (toy.home / "gate.lock").exists()


def _ref(text: str):  # type: ignore[no-untyped-def]
    from configs.identity import parse_ref

    return parse_ref(text)


def test_sigint_leaves_a_job_that_the_same_command_goes_on_with(toy: Toy) -> None:
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
    with toy.records() as records:
        row = records.job(job)
    assert row.state == "CANCELLED"
    assert row.resumable
    again = toy.run()
    assert again.status == 0
    assert again.answer["job"] == job
    assert "4 blocks from before" in again.said  # the block that was being made was finished
    assert "block-3\n" not in again.said
    assert "block-4\n" in again.said
    with toy.records() as records:
        assert records.job(job).attempt == 2


def test_a_stop_asked_of_the_row_is_obeyed_and_a_killed_driver_is_followed(toy: Toy) -> None:
    toy.hold(2)
    process = toy.start()
    job = toy.wait_for("tokenize", 2)
    process.kill()
    process.communicate()
    toy.hold(5)
    process = toy.start()
    says(process, "2 blocks from before")
    assert toy.wait_for("tokenize", 5) == job
    with toy.records() as records:
        assert [attempt.state for attempt in records.attempts(job)] == ["LOST", "RUNNING"]
        records.request_cancel(job, "stop")
    says(process, "stop requested")
    toy.release()
    stopped = ended(process)
    assert stopped.status == 130
    assert stopped.answer["state"] == "CANCELLED"


def test_a_job_that_can_never_fit_says_so_within_30_seconds(toy: Toy) -> None:
    began = time.monotonic()
    ran = toy.run("resources.cpus=50")
    assert time.monotonic() - began < 30
    assert ran.status == 1
    assert ran.answer["state"] == "FAILED"
    assert ran.answer["artifacts"] == []
    assert ran.said.count("error: ") == 1
    assert "Traceback" not in ran.said
    for part in ("1 worker x {50 CPU, 0 GPU", "2 CPU (2 free), 0 GPU", "can never run"):
        assert part in ran.said
    with toy.records() as records:
        row = records.job(ran.answer["job"])
        assert row.state == "FAILED"
        assert row.code == "cannot_fit"
        assert row.message in ran.said
        assert not records.jobs(stage="download")  # no input was made for a job that could never run
