"""The catalog: one live job per request, legal moves only, nothing after a cancel."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import MetaData, Table, create_engine, insert, select
from sqlalchemy.exc import IntegrityError

from cluster.catalog import (
    ENDED,
    LIVE,
    MOVES,
    CancelPending,
    Catalog,
    CatalogError,
    IllegalMove,
    StaleAttempt,
    State,
    open_catalog,
)
from configs.artifact_ids import ArtifactRef
from tests.cluster.catalog_rows import MANIFEST, REF, run, submit, values


def test_a_job_from_end_to_end(catalog: Catalog) -> None:
    job = submit(catalog)
    assert job.created
    assert job.live
    assert (job.state, job.attempt, job.outputs) == (State.QUEUED, 1, [REF])
    assert catalog.progress(job.job_id, 1, state="WAITING", message="needs 2 GPU; 1 is free")
    assert catalog.progress(job.job_id, 1, state="RUNNING")
    assert catalog.progress(job.job_id, 1, done=0, total=200, unit="rows", rate=50.0)
    assert catalog.progress(job.job_id, 1, done=100, message="checkpoint at 100")
    assert catalog.progress(job.job_id, 1)
    row = catalog.job(job.job_id)
    assert (row.done, row.total, row.unit, row.rate, row.eta_s) == (100, 200, "rows", 50.0, 2.0)
    assert (row.stage, row.config, row.requirement, row.created_by) == ("train", {"k": 32}, {"cpus": 1}, "ada")

    catalog.publish(job.job_id, 1, MANIFEST)
    catalog.finish(job.job_id, 1, State.SUCCEEDED)
    catalog.finish(job.job_id, 1, State.SUCCEEDED)  # said again: nothing
    artifact = catalog.artifact(ArtifactRef("saes", "0123456789abcdef"))
    assert artifact is not None
    assert values(artifact) == values(catalog.artifacts("saes")[0])
    assert (artifact.job_id, artifact.attempt, artifact.bytes, artifact.stage_version) == (job.job_id, 1, 7, 1)
    assert (artifact.label, artifact.summary) == ("k 32", {"ev": 0.8})
    assert catalog.artifact(ArtifactRef("saes", "f" * 16)) is None
    assert catalog.artifacts("models") == []

    events = catalog.events(job.job_id)
    assert [e.number for e in events] == list(range(1, len(events) + 1))
    assert [(e.kind, e.state, e.message) for e in events] == [
        ("state", "QUEUED", "attempt 1"),
        ("state", "WAITING", "needs 2 GPU; 1 is free"),
        ("state", "RUNNING", None),
        ("log", "RUNNING", "checkpoint at 100"),
        ("log", "RUNNING", f"published {REF}"),
        ("state", "SUCCEEDED", None),
    ]
    assert [e.number for e in catalog.events(job.job_id, after=2, limit=2)] == [3, 4]
    assert [row.id for row in catalog.jobs(stage="train", states=["SUCCEEDED"])] == [job.job_id]
    assert [row.id for row in catalog.jobs(fingerprint="f" * 16)] == [job.job_id]
    assert catalog.jobs(stage="download") == catalog.jobs(states=LIVE) == []


@pytest.mark.parametrize("state", list(State))
def test_an_equal_submission(catalog: Catalog, state: State) -> None:
    job = submit(catalog)
    run(catalog, job, state)
    again = submit(catalog)
    if state in LIVE:
        assert (again.job_id, again.attempt, again.state, again.created) == (job.job_id, 1, state, False)
        assert again.live
        assert not submit(catalog, artifacts_gone=True).created, "a live job is making the artifact"
    elif state == State.SUCCEEDED:
        assert (again.job_id, again.attempt, again.state, again.created) == (job.job_id, 1, state, False)
        assert not again.live
        made_anew = submit(catalog, artifacts_gone=True)
        assert (made_anew.job_id, made_anew.attempt, made_anew.created) == (job.job_id, 2, True)
    else:
        assert (again.job_id, again.attempt, again.state, again.created) == (job.job_id, 2, State.QUEUED, True)
        assert [a.state for a in catalog.attempts(job.job_id)] == [state, State.QUEUED]


def test_a_next_attempt_starts_clean_and_takes_the_resources_asked_for_now(catalog: Catalog) -> None:
    job = submit(catalog)
    catalog.progress(job.job_id, 1, state="RUNNING", done=5, total=10, unit="rows")
    catalog.request_cancel(job.job_id, "stop")
    catalog.finish(job.job_id, 1, "CANCELLED", code="stopped", message="at row 5", resumable=True)
    ended = catalog.job(job.job_id)
    assert (ended.code, ended.message, ended.resumable, ended.retryable) == ("stopped", "at row 5", True, False)
    assert submit(catalog).attempt == 2
    row = catalog.job(job.job_id)
    assert (row.done, row.total, row.cancel, row.code, row.message, row.resumable) == (None,) * 5 + (False,)
    assert catalog.cancel_requested(job.job_id, 2) is None


def test_other_requests_are_other_jobs(catalog: Catalog) -> None:
    assert submit(catalog, "a" * 16).job_id != submit(catalog, "b" * 16).job_id
    with pytest.raises(CatalogError, match="no job 'train-x'"):
        catalog.job("train-x")


@pytest.mark.parametrize("old", list(State))
def test_the_table_of_moves_is_kept(catalog: Catalog, old: State) -> None:
    for number, new in enumerate(State):
        job = submit(catalog, f"{number}" * 16)
        run(catalog, job, old)
        legal = new in MOVES[old]
        if new in (State.WAITING, State.RUNNING):
            assert catalog.progress(job.job_id, 1, state=new) == (legal or (old == new and old in LIVE))
        elif new in ENDED and old != new:
            if legal:
                catalog.finish(job.job_id, 1, new)
            else:
                with pytest.raises(StaleAttempt if old in ENDED else IllegalMove):
                    catalog.finish(job.job_id, 1, new)
        assert catalog.job(job.job_id).state == (new if legal and new != State.CANCELLING else old)


def test_progress_ends_no_job_and_finish_starts_none(catalog: Catalog) -> None:
    job = submit(catalog)
    with pytest.raises(ValueError, match="takes WAITING or RUNNING"):
        catalog.progress(job.job_id, 1, state="SUCCEEDED")
    with pytest.raises(ValueError, match="takes CANCELLED, FAILED, LOST, SUCCEEDED"):
        catalog.finish(job.job_id, 1, "RUNNING")


def test_an_attempt_that_was_overtaken_can_do_nothing(catalog: Catalog) -> None:
    job = submit(catalog)
    run(catalog, job, State.LOST)
    assert submit(catalog).attempt == 2
    assert catalog.progress(job.job_id, 2, state="RUNNING", done=1)
    before = values(catalog.job(job.job_id))
    assert not catalog.progress(job.job_id, 1, state="RUNNING", done=99, message="late")
    with pytest.raises(StaleAttempt, match=r"attempt 1 .* no longer holds it: attempt 2 does"):
        catalog.publish(job.job_id, 1, MANIFEST)
    with pytest.raises(StaleAttempt):
        catalog.finish(job.job_id, 1, "SUCCEEDED")
    assert catalog.cancel_requested(job.job_id, 1) == "cancel"
    assert values(catalog.job(job.job_id)) == before
    assert catalog.artifacts() == []


def test_nothing_after_a_cancel(catalog: Catalog) -> None:
    job = submit(catalog)
    run(catalog, job, State.RUNNING)
    assert catalog.cancel_requested(job.job_id, 1) is None
    assert catalog.request_cancel(job.job_id, "stop").state == State.CANCELLING
    assert catalog.cancel_requested(job.job_id, 1) == "stop"
    assert catalog.progress(job.job_id, 1, done=7), "the block is finished, and that is told"
    assert not catalog.progress(job.job_id, 1, state="RUNNING", done=8)
    assert catalog.job(job.job_id).done == 7
    with pytest.raises(CancelPending, match="is not published"):
        catalog.publish(job.job_id, 1, MANIFEST)
    with pytest.raises(CancelPending, match="is to stop and cannot become SUCCEEDED"):
        catalog.finish(job.job_id, 1, "SUCCEEDED")
    catalog.request_cancel(job.job_id, "cancel")
    catalog.request_cancel(job.job_id, "stop")
    assert catalog.cancel_requested(job.job_id, 1) == "cancel", "a cancel does not become a stop"
    catalog.finish(job.job_id, 1, "CANCELLED")
    assert not catalog.progress(job.job_id, 1, done=9)
    with pytest.raises(StaleAttempt, match="has ended"):
        catalog.publish(job.job_id, 1, MANIFEST)
    with pytest.raises(IllegalMove, match="nothing to cancel"):
        catalog.request_cancel(job.job_id)


def test_only_a_running_job_publishes(catalog: Catalog) -> None:
    job = submit(catalog)
    with pytest.raises(IllegalMove, match="only while it is RUNNING"):
        catalog.publish(job.job_id, 1, MANIFEST)


def test_an_artifact_published_again_has_one_row(catalog: Catalog) -> None:
    job = submit(catalog)
    run(catalog, job, State.RUNNING)
    catalog.publish(job.job_id, 1, MANIFEST)
    catalog.publish(job.job_id, 1, MANIFEST | {"label": "new"})
    assert [a.label for a in catalog.artifacts()] == ["new"]


def test_the_database_itself_refuses_a_second_live_job(catalog: Catalog, catalog_url: str) -> None:
    submit(catalog)
    engine = create_engine(catalog_url.replace("postgresql://", "postgresql+psycopg://"))
    jobs = Table("jobs", MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        row = connection.execute(select(jobs)).mappings().one()
        with pytest.raises(IntegrityError, match=r"fingerprint|one_live_job"):
            connection.execute(insert(jobs), {**row, "id": "x", "seq": 2, "state": "RUNNING"})
    with engine.connect() as connection:
        connection.execute(insert(jobs), {**row, "id": "x", "seq": 2, "state": "FAILED"})
    engine.dispose()


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    with open_catalog(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        submit(catalog)
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_catalog_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    monkeypatch.setenv("RAYLENS_HOME", str(home))
    with open_catalog() as catalog:
        submit(catalog)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
        assert modes["catalog.db"] == 0o600
        assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "sqlite://", "sqlite:////proc/nowhere/catalog.db"])
def test_a_catalog_that_cannot_be_opened_is_named(url: str) -> None:
    with pytest.raises(CatalogError, match="catalog"):
        open_catalog(url)


def test_a_damaged_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(CatalogError, match=r"cannot open the catalog .*not a database"):
        open_catalog(f"sqlite:///{tmp_path}/catalog.db")
