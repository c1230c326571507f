"""Jobs on a cluster that is there already: waiting, failing, pipelines. In this process, with the toy stages."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.catalog import open_catalog
from cluster.machines.discover import ClusterTarget
from cluster.store import Store
from configs.load import load_config
from jobs import stages
from jobs.life.driver_setup import log_file
from jobs.life.follow import request
from jobs.life.outcome import Outcome
from jobs.life.session import Session
from tests.jobs.command import Toy
from tests.jobs.toys import download, tokenize


class Home:
    """A store and a catalog of one test, on the shared cluster."""

    def __init__(self, folder: Path, address: str) -> None:
        self.toy = Toy(folder)
        self.store = Store.open(str(folder / "store"))
        self.catalog = open_catalog(f"sqlite:///{folder}/home/catalog.db")
        self.address = address

    def session(self, wait: float = 60) -> Session:
        return Session(
            "local", wait, store=self.store, catalog=self.catalog, target=ClusterTarget(self.address, "test")
        )

    def run(self, *sets: str, wait: float = 60, config: Path | None = None, stage: str = "tokenize") -> Outcome:
        with self.session(wait) as session:
            return request(session, load_config(stage, config or self.toy.config, sets))

    def until(self, reached: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def home(tmp_path: Path, ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setitem(stages.LOADED, "download", download.STAGE)
    monkeypatch.setitem(stages.LOADED, "tokenize", tokenize.STAGE)
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    home = Home(tmp_path, ray_cluster)
    yield home
    home.catalog.close()


class Holder:
    """Holds all CPUs of the cluster but some."""

    def __init__(self, spare: int) -> None:
        import ray

        cpus = int(ray.cluster_resources()["CPU"])
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU", 0) < cpus and time.monotonic() < deadline:
            time.sleep(0.1)  # until what the test before held has come back
        self._actor = ray.remote(num_cpus=cpus - spare)(_Nothing).remote()
        ray.get(self._actor.wait.remote())

    def release(self) -> None:
        import ray

        ray.kill(self._actor)


class _Nothing:
    def wait(self) -> None: ...


def test_a_job_waits_for_its_turn_and_then_runs(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    holder = Holder(spare=0)
    seen: list[Outcome] = []
    thread = threading.Thread(target=lambda: seen.append(home.run()), daemon=True)
    thread.start()
    try:
        row = _until(home, "WAITING")
        assert "needs 1 worker x {1 CPU" in (row.message or "")
        assert "blocked by work that is not in this catalog" in row.message
    finally:
        holder.release()
    thread.join(120)
    assert seen
    assert seen[0].state == "SUCCEEDED"
    events = [event.state for event in home.catalog.events(row.id) if event.kind == "state"]
    assert events == ["QUEUED", "WAITING", "RUNNING", "SUCCEEDED"]
    assert "waits at most 60 s" in capfd.readouterr().err


def test_a_wait_has_an_end(home: Home) -> None:
    holder = Holder(spare=0)
    try:
        ended = home.run(wait=1)
    finally:
        holder.release()
    assert ended.state == "FAILED"
    assert ended.failure is not None
    assert ended.failure.code == "waited_too_long"
    assert "1 CPU" in ended.message
    assert "0 of 1 workers fit now" in ended.message
    assert "--wait" in ended.message


def test_a_grant_counts_before_its_work_has_begun(home: Home) -> None:
    with home.session(wait=1) as session:
        session.connect()
        granted = {"workers": 4, "cpus": 1}  # all CPUs, and Ray knows nothing of it
        other = home.catalog.submit(
            stage="train", fingerprint="f" * 16, config={}, requirement=granted, outputs=[], inputs={}, created_by="me"
        )
        home.catalog.grant(other.job_id, other.attempt, None, session.cluster)
        config = load_config("tokenize", home.toy.config, ())
        ended = request(session, config)
        assert ended.failure is not None
        assert f"blocked by {other.job_id}" in ended.message
        home.catalog.finish(other.job_id, other.attempt, "FAILED")
        assert request(session, config).state == "SUCCEEDED"


_DIES = """
import sys
from cluster.catalog import open_catalog
catalog = open_catalog(sys.argv[1])
wanted = {"workers": 4, "cpus": 1}
row = catalog.submit(stage="train", fingerprint="e" * 16, config={}, requirement=wanted, outputs=[], inputs={},
                     created_by="me")
catalog.grant(row.job_id, row.attempt, None, sys.argv[2])
catalog.claim(row.job_id, row.attempt)
"""


def test_a_dead_driver_holds_nothing(home: Home) -> None:
    with home.session(wait=1) as session:
        session.connect()
        url = f"sqlite:///{home.toy.home}/catalog.db"
        subprocess.run([sys.executable, "-c", _DIES, url, session.cluster], check=True)
        (row,) = home.catalog.jobs(stage="train", states=["RUNNING"])
        assert "is gone" in (home.catalog.dead_driver(home.catalog.attempts(row.id)[-1]) or "")
        assert request(session, load_config("tokenize", home.toy.config, ())).state == "SUCCEEDED"


def test_a_deleted_input_that_nothing_reads_is_not_made_again(home: Home) -> None:
    with home.session() as session:
        config = load_config("tokenize", home.toy.config, ())
        assert request(session, config).state == "SUCCEEDED"
        download, *_, tokens = session.planner.plan(config)
        home.store.delete(download.outputs[0].ref)
        assert request(session, config).state == "SUCCEEDED"
        assert home.store.manifest(download.outputs[0].ref) is None
        home.store.delete(tokens.outputs[0].ref)
        assert request(session, config).state == "SUCCEEDED"
        assert home.store.manifest(download.outputs[0].ref) is not None


def test_two_different_jobs_never_make_one_artifact_at_the_same_time(home: Home) -> None:
    with home.session() as session:
        config = load_config("tokenize", home.toy.config, ())
        wanted = [str(output.ref) for output in session.planner.step(config).outputs]
        other = home.catalog.submit(
            stage="train", fingerprint="f" * 16, config={}, requirement={}, outputs=wanted, inputs={}, created_by="me"
        )
        home.catalog.grant(other.job_id, other.attempt, None, "elsewhere")
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(home.run()), daemon=True)
    thread.start()
    row = _until(home, "WAITING")
    assert f"makes {wanted[0]}, as train job {other.job_id} does just now" in (row.message or "")
    assert (row.blocked or {})["blocked_by"] == [other.job_id]
    home.catalog.finish(other.job_id, other.attempt, "FAILED")
    thread.join(60)
    assert ended[0].state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("sets", "code", "says"),
    [
        (("seed=13",), "bad_token", ("block-0 holds a bad token: 13; use another seed",)),
        (("seed=14",), "internal_error", ("unexpected KeyError", "fault of RayLens", ".log")),
        (("resources.workers=50",), "cannot_fit", ("50 workers x", "fit is 4", "resources.workers=4 or less")),
        (("seed=15",), "cannot_fit", ("the store is too small", "RAYLENS_STORE")),
    ],
)
def test_a_failure_is_one_message_and_its_trace_is_in_the_log(
    home: Home, sets: tuple[str, ...], code: str, says: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    ended = home.run(*sets)
    assert ended.state == "FAILED"
    assert ended.failure is not None
    assert ended.failure.code == code
    assert all(part in ended.message for part in says), ended.message
    row = home.catalog.job(ended.job_id)
    assert (row.state, row.code, row.message) == ("FAILED", code, ended.message)
    assert "Traceback" not in capfd.readouterr().err
    log = home.toy.home / "logs" / f"{row.id}.log"  # of one that was refused before it began there is none
    assert ("Traceback" in log.read_text()) if code != "cannot_fit" else not log.exists()
    made = not sets[0].startswith("resources")
    assert all((row.state == "SUCCEEDED") is made for row in home.catalog.jobs(stage="download"))
    assert not list((home.toy.home / "scratch").glob("*"))


def test_what_failed_is_tried_again_and_what_was_done_stays(home: Home) -> None:
    first = home.run("seed=13")
    again = home.run("seed=13")
    assert again.job_id == first.job_id
    assert home.catalog.job(first.job_id).attempt == 2
    assert all(row.attempt == 1 for row in home.catalog.jobs(stage="download"))


def test_what_can_never_fit_has_none_of_its_inputs_made(home: Home) -> None:
    ended = home.run("resources.cpus=50")
    assert (ended.state, ended.failure is not None and ended.failure.code) == ("FAILED", "cannot_fit")
    for part in ("1 worker x {50 CPU, 0 GPU", "4 CPU (", "can never run"):
        assert part in ended.message
    inputs = home.catalog.jobs(stage="download")
    assert {row.state for row in inputs} == {"CANCELLED"}
    assert all(attempt.granted_at is None for row in inputs for attempt in home.catalog.attempts(row.id))


def test_a_stop_requested_of_the_row_is_obeyed_and_the_same_command_goes_on(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    home.toy.hold(2)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(home.run()), daemon=True)
    thread.start()
    job = home.toy.wait_for("tokenize", 2)
    home.catalog.request_cancel(job, "stop")
    home.until(lambda: "stop requested" in log_file(home.toy.home, job).read_text())
    home.toy.release()
    thread.join(60)
    assert outcomes[0].state == "CANCELLED"
    assert home.catalog.job(job).resumable
    again = home.run()
    assert (again.state, again.job_id) == ("SUCCEEDED", job)
    assert "3 blocks from before" in capfd.readouterr().err


def test_an_artifact_that_is_gone_is_made_again(home: Home) -> None:
    from configs.artifact_ids import parse_ref

    first = home.run()
    home.store.delete(parse_ref(first.artifacts[0]))
    again = home.run()
    assert again == first
    assert home.catalog.job(first.job_id).attempt == 2


def test_an_input_that_does_not_exist_is_named(home: Home) -> None:
    with pytest.raises(ValueError, match="has no datasets/0123456789abcdef"):
        home.run("dataset=datasets/0123456789abcdef")


def test_a_pipeline_runs_its_stages_in_order(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    (home.toy.folder / "download.yaml").write_text(json.dumps(json.loads(home.toy.config.read_text())["dataset"]))
    pipeline = home.toy.folder / "pipeline.yaml"
    pipeline.write_text(json.dumps({"stage": "pipeline", "stages": ["download.yaml", "tokenize.yaml"]}))
    sets = ("stages.1.context_length=9",)
    ended = home.run(*sets, config=pipeline, stage="pipeline")
    assert ended.state == "SUCCEEDED", ended.message
    assert [ref.split("/")[0] for ref in ended.artifacts] == ["datasets", "tokens"]
    assert "9/9 blocks" in capfd.readouterr().err
    rows = sorted(home.catalog.jobs(), key=lambda row: row.created_at)
    assert [row.stage for row in rows] == ["pipeline", "download", "download", "tokenize"]
    assert {row.parent for row in rows[1:]} == {rows[0].id}
    assert all(row.state == "SUCCEEDED" for row in rows)
    assert home.run(*sets, config=pipeline, stage="pipeline") == ended
    failed = home.run("stages.1.seed=13", config=pipeline, stage="pipeline")
    assert failed.state == "FAILED"
    assert failed.message.startswith("tokenize: block-0 holds a bad token")


def _until(home: Home, state: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if rows := home.catalog.jobs(states=[state]):
            return rows[-1]  # the first that was submitted
        time.sleep(0.1)
    raise TimeoutError(f"no job became {state}")
