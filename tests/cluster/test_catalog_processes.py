"""The catalog between processes: submissions at once, drivers that die, writers that wait for one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from cluster.catalog import Catalog, IllegalMove, StaleAttempt, State
from cluster.process_identity import ProcessId, process_identity
from tests.cluster.catalog_rows import REPOSITORY

REQUEST: dict[str, Any] = {
    "stage": "train",
    "fingerprint": "f" * 16,
    "config": {},
    "requirement": {},
    "outputs": [],
    "inputs": {},
    "created_by": "ada",
}
SUBMIT = """
import json, sys, time
from cluster.catalog import open_catalog
url, start, request = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
time.sleep(max(0, start - time.time()))
with open_catalog(url) as catalog:
    answer = catalog.submit(**request)
    driver = catalog.attempts(answer.job_id)[-1].pid
    print(json.dumps({**answer._asdict(), "driver": driver}), flush=True)
    sys.stdin.readline()  # lives until it is told to end, or is killed
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


@pytest.mark.parametrize("reaped", [True, False])
def test_a_job_whose_process_was_killed_is_lost_and_tried_again(
    catalog: Catalog, catalog_url: str, reaped: bool
) -> None:
    with start(SUBMIT, catalog_url, "0", json.dumps(REQUEST)) as process:
        first = answer(process)
        catalog.progress(first["job_id"], 1, state="RUNNING")
        attached = catalog.submit(**REQUEST)
        assert (attached.created, attached.state) == (False, State.RUNNING)
        process.kill()
        if reaped:
            process.wait()
        else:  # a zombie drives nothing
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        again = catalog.submit(**REQUEST)
        assert (again.created, again.job_id, again.attempt) == (True, first["job_id"], 2)
    assert [a.state for a in catalog.attempts(again.job_id)] == [State.LOST, State.QUEUED]
    lost = next(e for e in catalog.events(again.job_id) if e.state == State.LOST)
    assert lost.message == f"its process {process.pid} on {again.host} is gone"
    with pytest.raises(StaleAttempt):
        catalog.finish(first["job_id"], 1, "SUCCEEDED")


def test_cancelling_a_job_whose_process_is_gone_loses_it(catalog: Catalog, catalog_url: str) -> None:
    with start(SUBMIT, catalog_url, "0", json.dumps(REQUEST)) as process:
        job_id = answer(process)["job_id"]
        process.kill()
    row = catalog.request_cancel(job_id)
    assert (row.state, row.code, row.resumable) == (State.LOST, "driver_gone", True)
    with pytest.raises(IllegalMove):
        catalog.request_cancel(job_id)


def test_a_driver_on_another_host_is_believed_until_it_is_long_silent(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        job = catalog.submit(**REQUEST)
    now = catalog.submit(**REQUEST)
    assert (now.created, now.host, now.live) == (False, "elsewhere", True)
    monkeypatch.setattr("cluster.catalog.job_transitions.SILENCE_S", -1.0)
    later = catalog.submit(**REQUEST)
    assert (later.created, later.attempt, later.job_id) == (True, 2, job.job_id)


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    here = ProcessId.current()
    assert here.on_this_host()
    assert not here.has_ended()
    assert here._replace(process="another boot:1").has_ended()
    assert process_identity(2**22 + 1) is None
