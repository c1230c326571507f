"""The commands beside the stages: looking at jobs, their logs and events, stopping and resuming them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.catalog import DISPATCHER, Catalog, open_catalog
from cluster.machines.paths import code_root
from jobs.__main__ import main
from jobs.life.driver_setup import log_file

REQUEST: dict[str, Any] = {
    "config": {}, "requirement": {"cpus": 2}, "outputs": ["saes/" + "a" * 16], "inputs": {}, "created_by": "ada",
}  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.delenv("RAYLENS_DATABASE_URL", raising=False)
    with open_catalog() as catalog:
        yield catalog


def _submit(catalog: Catalog, stage: str, fp: str, **more: Any) -> str:
    return catalog.submit(stage=stage, fingerprint=fp, drive=False, **REQUEST, **more).job_id


def test_list_shows_the_newest_jobs_by_stage_state_and_project(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    train = _submit(catalog, "train", "1")
    harvest = _submit(catalog, "harvest", "2", project="mine")
    catalog.request_cancel(train)
    assert main(["list"]) == 0
    said = capsys.readouterr()
    assert [job["job"] for job in json.loads(said.out)] == [harvest, train]
    assert f"{harvest:<22} QUEUED" in said.err
    for arguments, expected in (
        (["--stage", "train"], [train]),
        (["--state", "QUEUED"], [harvest]),
        (["--project", "mine"], [harvest]),
    ):
        assert main(["list", *arguments]) == 0
        assert [job["job"] for job in json.loads(capsys.readouterr().out)] == expected


def test_show_says_where_a_job_stands_and_why(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    job = _submit(catalog, "train", "1")
    catalog.wait(job, 1, {"kind": "resources", "blocked_by": ["train-b"]}, "waits: blocked by train-b", 2e9)
    assert main(["show", job]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["deadline"], told["blocked"]["blocked_by"]) == ("WAITING", 2e9, ["train-b"])
    assert told["needs"] == {"cpus": 2}
    assert told["attempts"][0]["number"] == 1


DRIVER = """
import json, sys
from cluster.catalog import open_catalog
with open_catalog() as catalog:
    job = catalog.submit(stage="train", fingerprint="9", **json.loads(sys.argv[1])).job_id
    catalog.progress(job, 1, state="RUNNING", done=1, total=9, unit="rows")
    print(job)
"""


def test_a_job_whose_process_is_gone_is_told_as_that(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(REQUEST)], stdout=subprocess.PIPE, check=True, text=True
    )
    job, mine = ran.stdout.strip(), catalog.submit(stage="train", fingerprint="8", **REQUEST, profile="gpu").job_id
    assert main(["show", job]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "RUNNING"
    assert "is gone; the same command (`python -m jobs train --config FILE ...`) goes on with it" in told["gone"]
    assert main(["show", mine]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["gone"], told["profile"]) == (None, "gpu")
    catalog.lease(DISPATCHER, "one")
    assert main(["list"]) == 0
    said = capsys.readouterr()
    assert [one["gone"] is None for one in json.loads(said.out)] == [True, False]
    assert "is gone; the dispatcher finds that within seconds" in said.err
    assert catalog.job(job).state == "RUNNING", "looking changes nothing"


def test_events_and_logs_are_replayed_from_any_place(
    catalog: Catalog, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, two = _submit(catalog, "train", "1"), _submit(catalog, "train", "2")
    catalog.request_cancel(two)
    assert main(["events"]) == 0
    everything = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["job"], event["state"]) for event in everything] == [
        (one, "QUEUED"),
        (two, "QUEUED"),
        (two, "CANCELLED"),
    ]
    assert main(["events", "--after", str(everything[1]["seq"])]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["events", two, "--after", "1", "--follow"]) == 0  # it has ended: so does the following
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == [2]
    log_file(tmp_path, two).write_text("12:00:00 a line\n12:00:01 half a li")
    assert main(["logs", two, "--follow"]) == 0
    assert capsys.readouterr().out == "12:00:00 a line\n"


def test_stop_cancel_and_resume(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    job = _submit(catalog, "train", "1")
    assert main(["stop", job]) == 0
    assert json.loads(capsys.readouterr().out) == {"job": job, "state": "CANCELLED", "artifacts": []}
    assert main(["resume", job]) == 1
    assert "`python -m jobs train --config FILE ...`" in capsys.readouterr().err, "nobody would ever drive it"
    assert catalog.job(job).state == "CANCELLED"
    catalog.lease(DISPATCHER, "one")
    assert main(["resume", job]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "QUEUED"
    assert catalog.job(job).attempt == 2
    assert main(["resume", job]) == 1
    assert "is QUEUED: only one that ended" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "logs", "stop", "cancel", "resume"])
def test_a_job_that_does_not_exist(command: str, catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "train-0000000000"]) == 1
    assert "there is no job 'train-0000000000' in the catalog" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_time_to_wait_is_a_number_of_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["tokenize", "--config", "configs/presets/tokenize.yaml", f"--wait={seconds}"])
    assert caught.value.code == 2
    assert "argument --wait: " in capsys.readouterr().err


def test_nobody_drives_what_was_not_granted(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    job = _submit(catalog, "train", "1")
    assert main(["drive", job, "1"]) == 1
    assert "has not been granted" in capsys.readouterr().err
    assert catalog.job(job).state == "QUEUED"


def test_a_command_that_follows_ends_without_a_traceback_on_ctrl_c_or_a_closed_pipe(
    catalog: Catalog, tmp_path: Path
) -> None:
    _submit(catalog, "train", "1")
    for closed in (False, True):
        with subprocess.Popen(
            [sys.executable, "-m", "jobs", "events", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "RAYLENS_HOME": str(tmp_path)}, cwd=code_root(), text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            assert '"QUEUED"' in process.stdout.readline()
            if closed:
                process.stdout.close()
                _submit(catalog, "harvest", "2")
                assert process.wait(60) == 0
            else:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
            assert process.stderr.read() == ""
