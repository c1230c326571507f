"""No call reads a whole table: what is asked of a catalog with a hundred thousand jobs is found in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event

from cluster.records import LIVE, Records, open_records
from configs.identity import parse_ref
from tests.cluster.catalog import MANIFEST, REF, published, submit, why_dead

EACH = {
    "stage": "train",
    "project": "p",
    "created_by": "ada",
    "name": "n",
    "tag": "t",
    "fingerprint": "f",
    "parent": "j",
}
GROWS = (
    "jobs",
    "attempts",
    "events",
    "artifacts",
    "job_tags",
    "artifact_tags",
    "artifact_inputs",
    "artifact_fields",
    "feature_annotations",
)


def call_everything(records: Records) -> None:
    published(records, "a" * 16)
    for filters in (
        {},
        {"before": 7},
        {"states": ["FAILED"]},
        {"states": LIVE},
        EACH,
        *({k: v} for k, v in EACH.items()),
    ):
        records.jobs(**{"limit": 50, **filters})  # type: ignore[arg-type]
    job = submit(records, drive=False, tags=["t"], name="n")
    records.wait(job.job_id, 1, {"kind": "resources"}, "waits", 1.0)
    records.live()
    records.grant(job.job_id, 1, "j", "c")
    records.claim(job.job_id, 1)
    records.progress(job.job_id, 1, done=1, message="m", phase="p", durable=1)
    records.publish(job.job_id, 1, MANIFEST | {"kind": "evaluations", "summary": {"sae": REF}})
    records.cancel_requested(job.job_id, 1)
    records.request_cancel(job.job_id)
    records.finish(job.job_id, 1, "CANCELLED")
    records.resume(job.job_id, "ada")
    records.lose(job.job_id, 2, "gone", "gone")
    records.resume(job.job_id, "ada")
    records.request_cancel(job.job_id)
    records.job(job.job_id)
    records.attempts(job.job_id)
    records.events(job.job_id)
    records.changes(3)
    why_dead(records, job.job_id)
    records.lease("a", "b")
    records.lease_row("a")
    records.set_labels(job.job_id, name="m", tags=["u"])
    records.set_labels(parse_ref(REF), name="m", tags=["u"])
    records.annotate_feature(parse_ref(REF), 1, "ada", starred=True)
    records.feature_annotations(parse_ref(REF))
    records.artifact(parse_ref(REF))
    for filters in ({}, {"kind": "saes"}, {"name": "m"}, {"tag": "u"}, {"before": 9}):
        records.artifacts(**filters)  # type: ignore[arg-type]
    records.artifacts("saes", filters={"model": "m", "hook": "h", "min_ev": 0.5})
    records.delete_artifact(parse_ref("evaluations/" + REF.rpartition("/")[2]))


def test_everything_is_found_in_an_index(tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    plans: dict[str, list[str]] = {}
    with open_records(f"sqlite:///{tmp_path}/catalog.db") as records:
        engine = records._engine
        event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, given, *_: asked.setdefault(sql, given))
        call_everything(records)
        connection = engine.raw_connection()
        for sql, given in asked.items():
            if sql.startswith(("SELECT", "UPDATE", "DELETE")):
                cursor = connection.cursor()
                many = given if not isinstance(given, list) else given[0]
                plans[sql] = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}", many)]
        connection.close()
    assert len(plans) > 40
    bad = {
        sql: plan
        for sql, plan in plans.items()
        for step in plan
        if step.startswith("SCAN") and step.split()[1].rstrip("_1") in GROWS and " INDEX " not in step
    }
    assert not bad
    # Lists end at their fiftieth row: they are read in order, not sorted.
    lists = {sql: plan for sql, plan in plans.items() if "IN (SELECT jobs.seq" in sql}
    assert lists
    scanned = [s for plan in lists.values() for s in plan if s.startswith("SCAN jobs")]
    assert scanned
    assert all("COVERING INDEX" in step or "live_jobs" in step for step in scanned), scanned
    # What lives is a handful among them.
    live = [plan for sql, plan in plans.items() if sql.endswith("ORDER BY jobs.seq")]
    assert len(live) == 2
    assert all("SCAN jobs USING INDEX live_jobs" in plan for plan in live), live
