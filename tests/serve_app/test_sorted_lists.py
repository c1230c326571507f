"""Lists of artifacts and jobs, sorted by the API over all of their pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from configs.artifact_ids import ArtifactRef
from serve_app.paging import encode
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import DATASET, MODEL

TAG = {"tag": "sorted"}
SIZES = [300, 100, 200, 100, 100]  # documents, of the first made to the last
REFS = [ArtifactRef("datasets", f"{n:016x}") for n in range(0xA0, 0xA0 + len(SIZES))]


@pytest.fixture(scope="module", autouse=True)
def datasets(site: Site) -> Iterator[None]:
    """Datasets of several sizes, and one that does not say how large it is."""
    for number, (ref, documents) in enumerate(zip(REFS, SIZES, strict=True)):
        summary = {"documents": documents} if number else {}
        site.catalog.record_artifact(
            {
                "kind": "datasets", "id": ref.id, "stage": "download", "stage_version": 1, "attempt": 1, "label": f"é {number}",
                "inputs": {}, "summary": summary, "files": [{"size": 10 + number % 2}],
            }
        )  # fmt: skip
        site.catalog.set_labels(ref, tags=["sorted"])
    yield
    for ref in REFS:
        site.catalog.delete_artifact(ref)


def listed(site: Site, path: str, limit: int, **query: Any) -> list[Any]:
    """All items, page after page."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = site.reader.get(path, params={**query, **cursor, "limit": limit}).raise_for_status().json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("limit", [1, 2, 200])
def test_order_is_right_over_more_than_one_page(site: Site, limit: int) -> None:
    def order(**query: Any) -> list[int]:
        return [int(item["id"], 16) - 0xA0 for item in listed(site, "/v1/datasets", limit, **TAG, **query)]

    assert order() == [4, 3, 2, 1, 0]
    assert order(order="asc") == [0, 1, 2, 3, 4]
    assert order(sort="documents") == [2, 4, 3, 1, 0], "ties: the newest first; without a value: last"
    assert order(sort="documents", order="asc") == [4, 3, 1, 2, 0]
    assert order(sort="bytes") == [3, 1, 4, 2, 0]
    assert order(sort="name", order="asc") == [0, 1, 2, 3, 4]
    assert order(sort="documents", max_documents=100) == [4, 3, 1]


def test_a_cursor_belongs_to_its_order(site: Site) -> None:
    query = {**TAG, "sort": "documents", "limit": 1}
    cursor = site.reader.get("/v1/datasets", params=query).json()["next"]
    wrong = (
        {"sort": "documents", "order": "asc", "cursor": cursor},
        {"sort": "bytes", "cursor": cursor},
        {"cursor": cursor},
        {"sort": "documents", "cursor": encode("documents", "desc", "many", 3)},
        {"sort": "name", "cursor": encode("name", "desc", 5, 3)},
        {"sort": "bytes", "cursor": encode("bytes", "desc", float("nan"), 3)},
        {"sort": "bytes", "cursor": encode("bytes", "desc", 1e300, 3)},
        {"sort": "name", "cursor": encode("name", "desc", "a\0", 3)},
        {"sort": "name", "cursor": encode("name", "desc", "a", 2**64)},
        {"sort": "name", "cursor": encode("name", "desc", "a", True)},
        {"cursor": encode(3)},
    )
    for bad in wrong:
        refused = site.reader.get("/v1/datasets", params={**TAG, **bad})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor"), bad
    for path, bad in (
        ("/v1/datasets", {"sort": "ev"}),
        ("/v1/datasets", {"sort": "tags"}),
        ("/v1/datasets", {"order": "up"}),
        ("/v1/reports", {"sort": "documents"}),
        ("/v1/jobs", {"sort": "name"}),
        ("/v1/artifacts", {"sort": "bytes"}),
    ):
        refused = site.reader.get(path, params=bad)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), (path, bad)


def test_jobs_are_sorted(site: Site) -> None:
    ids = []
    for number in range(4):
        tokenize = {"stage": "tokenize", "dataset": str(DATASET), "model": str(MODEL), "seed": 900 + number}
        config = tokenize if number % 2 else {"stage": "maintain", "log_days": 900 + number}
        body = {"config": config, "tags": ["in order"]}
        made = site.writer.post("/v1/jobs", json=body).raise_for_status().json()["job"]["id"]
        if number > 1:
            site.writer.post(f"/v1/jobs/{made}/cancel").raise_for_status()
        ids.append(made)
    own = {"tag": "in order"}

    def order(limit: int, **query: str) -> list[int]:
        return [ids.index(job["id"]) for job in listed(site, "/v1/jobs", limit, **own, **query)]

    for limit in (1, 3):
        assert order(limit) == [3, 2, 1, 0]
        assert order(limit, order="asc") == [0, 1, 2, 3]
        assert order(limit, sort="stage") == [3, 1, 2, 0], "ties: the newest first"
        assert order(limit, sort="stage", order="asc") == [2, 0, 3, 1]
        assert order(limit, sort="state") == [1, 0, 3, 2]
        assert order(limit, sort="state", order="asc") == [3, 2, 1, 0]
        assert order(limit, sort="created_by", order="asc") == [3, 2, 1, 0], "one person's"
        assert order(limit, sort="stage", state="QUEUED") == [1, 0]
    for id in ids[:2]:
        site.writer.post(f"/v1/jobs/{id}/cancel").raise_for_status()
