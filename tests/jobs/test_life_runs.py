"""Jobs from their submission to their end, as processes with Ray clusters of their own."""

from __future__ import annotations

import json
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
    assert one.answer == second.answer and one.answer["job"] == job and one.answer["state"] == "SUCCEEDED"
    assert "[blocks]" not in second.said
    assert "a worker speaks of block-7" in one.said  # on standard error; standard output was one line
    assert one.said.rindex("100%  tokens/") > one.said.rindex("8/8 blocks")
    with toy.records() as records:
        (row,) = records.jobs(stage="tokenize")
        assert row.attempt == 1 and len(records.jobs(stage="download")) == 2
        assert records.artifact(_ref(one.answer["artifacts"][0])) is not None

    (toy.home / "gate.lock").unlink()  # which only a driver that asks for machines makes
    began = time.monotonic()
    third = toy.run()
    assert third.answer == one.answer and "done already" in third.said and time.monotonic() - began < 10
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
    assert stopped.status == 130 and stopped.answer == {"job": job, "state": "CANCELLED", "artifacts": []}
    assert "Traceback" not in stopped.said
    with toy.records() as records:
        row = records.job(job)
    assert row.state == "CANCELLED" and row.resumable
    again = toy.run()
    assert again.status == 0 and again.answer["job"] == job
    assert "4 blocks from before" in again.said  # the block that was being made was finished
    assert "block-3\n" not in again.said and "block-4\n" in again.said
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
    assert toy.wait_for("tokenize", 5) == job
    with toy.records() as records:
        assert [attempt.state for attempt in records.attempts(job)] == ["LOST", "RUNNING"]
        records.request_cancel(job, "stop")
    time.sleep(3)  # the driver reads requests every second
    toy.release()
    stopped = ended(process)
    assert stopped.status == 130 and stopped.answer["state"] == "CANCELLED"
    assert "2 blocks from before" in stopped.said


@pytest.mark.parametrize(
    ("sets", "code", "says"),
    [
        (("seed=13",), "bad_token", ("block-0 holds a bad token: 13; use another seed",)),
        (("seed=14",), "internal_error", ("unexpected KeyError", ".log")),
        (("resources.gpus=3",), "cannot_fit", ("1 worker x {1 CPU, 3 GPU", "2 CPU (2 free), 0 GPU", "can never run")),
        (("resources.workers=5",), "cannot_fit", ("5 workers x", "fit is 2", "At most 2 such worker(s) fit")),
        (("seed=15",), "cannot_fit", ("the store is too small", "RAYLENS_STORE")),
    ],
)
def test_a_failure_is_one_message(toy: Toy, sets: tuple[str, ...], code: str, says: tuple[str, ...]) -> None:
    began = time.monotonic()
    ran = toy.run(*sets)
    assert ran.status == 1 and ran.answer["state"] == "FAILED" and ran.answer["artifacts"] == []
    assert ran.said.count("error: ") == 1 and "Traceback" not in ran.said
    message = ran.said.split("error: ")[1]
    assert all(part in message for part in says), message
    with toy.records() as records:
        row = records.job(ran.answer["job"])
        assert row.state == "FAILED" and row.code == code and row.message and row.message in message
        downloads = records.jobs(stage="download")
    if code == "cannot_fit":
        assert time.monotonic() - began < 30
    if sets[0].startswith("resources"):
        assert not downloads  # no input was made for a job that could never run
    else:
        assert "Traceback" in (toy.home / "logs" / f"{row.id}.log").read_text()


def test_a_pipeline_runs_its_stages_in_order_in_one_driver(toy: Toy) -> None:
    download = json.loads(toy.config.read_text())["dataset"]
    source = toy.folder / "download.yaml"
    source.write_text(json.dumps(download))
    pipeline = toy.folder / "pipeline.yaml"
    pipeline.write_text(json.dumps({"stage": "pipeline", "stages": ["download.yaml", "tokenize.yaml"]}))
    ran = toy.run("stages.1.context_length=9", config=pipeline, stage="pipeline")
    assert ran.status == 0, ran.said
    assert [ref.split("/")[0] for ref in ran.answer["artifacts"]] == ["datasets", "tokens"]
    assert "9/9 blocks" in ran.said
    with toy.records() as records:
        rows = sorted(records.jobs(), key=lambda row: row.created_at)
    assert [row.stage for row in rows] == ["pipeline", "download", "download", "tokenize"]
    assert all(row.state == "SUCCEEDED" for row in rows)
    again = toy.run("stages.1.context_length=9", config=pipeline, stage="pipeline")
    assert again.answer == ran.answer
    failed = toy.run("stages.1.seed=13", config=pipeline, stage="pipeline")
    assert failed.status == 1 and failed.said.count("error: tokenize: block-0 holds a bad token") == 1
