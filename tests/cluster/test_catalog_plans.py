"""No call reads a whole table: what is asked of a catalog with a hundred thousand jobs is found in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from sqlalchemy import event

from cluster.catalog import LIVE, Catalog, open_catalog
from cluster.catalog.job_queries import JobSort
from cluster.catalog.list_order import Order, Place
from configs.artifact_ids import parse_ref
from tests.cluster.catalog_rows import MANIFEST, REF, published, submit, why_dead

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
    "annotation_versions",
    "feature_lists",
    "listed_features",
)


def call_everything(catalog: Catalog) -> None:
    published(catalog, "a" * 16)
    for filters in (
        {},
        {"before": 7},
        {"states": ["FAILED"]},
        {"states": LIVE},
        EACH,
        *({k: v} for k, v in EACH.items()),
    ):
        catalog.jobs(**{"limit": 50, **filters})  # type: ignore[arg-type]
    job = submit(catalog, drive=False, tags=["t"], name="n")
    catalog.wait(job.job_id, 1, {"kind": "resources"}, "waits", 1.0)
    catalog.live()
    catalog.grant(job.job_id, 1, "j", "c")
    catalog.claim(job.job_id, 1)
    catalog.progress(job.job_id, 1, done=1, message="m", phase="p", durable=1)
    catalog.publish(job.job_id, 1, MANIFEST | {"kind": "evaluations", "summary": {"sae": REF}})
    catalog.cancel_requested(job.job_id, 1)
    catalog.request_cancel(job.job_id)
    catalog.finish(job.job_id, 1, "CANCELLED")
    catalog.resume(job.job_id, "ada")
    catalog.lose(job.job_id, 2, "gone", "gone")
    catalog.resume(job.job_id, "ada")
    catalog.request_cancel(job.job_id)
    catalog.job(job.job_id)
    catalog.attempts(job.job_id)
    catalog.events(job.job_id)
    catalog.changes(3)
    why_dead(catalog, job.job_id)
    catalog.lease("a", "b")
    catalog.lease_row("a")
    catalog.set_labels(job.job_id, name="m", tags=["u"])
    catalog.set_labels(parse_ref(REF), name="m", tags=["u"])
    catalog.annotate_feature(parse_ref(REF), 1, "ada", starred=True)
    catalog.feature_annotations(parse_ref(REF))
    catalog.annotate_feature(parse_ref(REF), 1, "ada", label="l")
    catalog.annotation_versions(parse_ref(REF), 1)
    found = catalog.create_list("boats", "ada").row.id
    catalog.rename_list(found, "ships")
    catalog.add_to_list(found, [(parse_ref(REF), 1)], "ada")
    catalog.feature_list(found)
    catalog.feature_lists()
    catalog.feature_lists((parse_ref(REF), 1))
    catalog.listed_features(found)
    catalog.remove_from_list(found, parse_ref(REF), 1)
    catalog.delete_list(found)
    catalog.artifact(parse_ref(REF))
    for filters in ({}, {"kind": "saes"}, {"name": "m"}, {"tag": "u"}, {"before": 9}):
        catalog.artifacts(**filters)  # type: ignore[arg-type]
    catalog.artifacts("saes", filters={"model": "m", "hook": "h", "min_ev": 0.5})
    for by in ("created", "name", "bytes", "ev", "hook"):
        for after in (None, Place(None, 3), Place("m" if by in ("name", "hook") else 0.5, 3)):
            catalog.sorted_artifacts("saes", Order(by, descending=False), after=after)
    for by in get_args(JobSort):
        catalog.sorted_jobs(Order(by, descending=False), states=LIVE, stage="train")
    catalog.delete_artifact(parse_ref("evaluations/" + REF.rpartition("/")[2]))


def test_everything_is_found_in_an_index(tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    plans: dict[str, list[str]] = {}
    with open_catalog(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        engine = catalog._engine
        event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, given, *_: asked.setdefault(sql, given))
        call_everything(catalog)
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
    # Sorted lists of jobs read an index that has all that they are filtered and sorted by, and no row.
    sorts = [step for sql, plan in plans.items() if " AS place" in sql and "FROM jobs" in sql for step in plan]
    assert sum("USING COVERING INDEX jobs_listed" in step for step in sorts) == len(get_args(JobSort)), sorts
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
