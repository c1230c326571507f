"""Lists of artifacts in an order: page after page they have what sorting all of them gives, on both databases."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cluster.catalog import ArtifactRow, Catalog
from cluster.catalog.artifact_order import SORTED_CHARACTERS, artifact_sorts
from cluster.catalog.index_fields import INDEX
from cluster.catalog.list_order import Order, Place, Placed
from configs.artifact_ids import parse_ref
from tests.cluster.catalog_rows import MANIFEST

HOOKS = ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"]
LONG = "x" * SORTED_CHARACTERS


@pytest.fixture
def filled(catalog: Catalog) -> list[ArtifactRow]:
    """SAEs with equal, missing and different values; the newest first."""
    rng = random.Random(0)
    for n in range(14):
        sae: dict[str, Any] = {
            "architecture": rng.choice(["topk", "relu"]),
            "d_sae": rng.choice([64, 128]),
            "hook": HOOKS[n % 2],
        }
        if n % 4:
            sae["k"] = rng.choice([4, 8])
        if n == 5:
            sae["hooks"] = [HOOKS[1], HOOKS[0]]
        label = rng.choice(["b", "A", f"{LONG}{n}"])
        files = [{"size": rng.choice([3, 5, 2**40])}]
        said = {"id": f"{n:016x}", "label": label, "summary": {"sae": sae}, "files": files}
        catalog.record_artifact(MANIFEST | said)
        if n % 3:
            ev = {"sae": f"saes/{n:016x}", "ev": rng.choice([0.25, 0.5, -0.1 / 3])}
            catalog.record_artifact(MANIFEST | {"kind": "evaluations", "id": f"{n:016x}", "summary": ev, "inputs": {}})
    catalog.set_labels(parse_ref(f"saes/{3:016x}"), name="Aa", tags=["t"])
    catalog.set_labels(parse_ref(f"saes/{4:016x}"), name="aB", tags=["t"])
    return catalog.artifacts("saes")


def value_of(row: ArtifactRow, by: str) -> Any:
    """What a row is sorted by, said once more in Python."""
    if by == "created":
        return row.seq
    if by == "name":
        return (row.name or row.label).lower()[:SORTED_CHARACTERS].encode()
    if by == "bytes":
        return row.bytes
    found = row.fields.get(by)
    one = found[0] if isinstance(found, list) else found
    return one[:SORTED_CHARACTERS].encode() if isinstance(one, str) else one


def in_pages(catalog: Catalog, order: Order, limit: int, **filters: Any) -> list[Placed[ArtifactRow]]:
    found: list[Placed[ArtifactRow]] = []
    while page := catalog.sorted_artifacts("saes", order, limit, after=found[-1].place if found else None, **filters):
        assert len(page) <= limit
        found += page
    return found


def test_each_order_page_by_page(catalog: Catalog, filled: list[ArtifactRow]) -> None:
    for by in artifact_sorts("saes"):
        values = {row.seq: value_of(row, by) for row in filled}
        with_value = [row for row in filled if values[row.seq] is not None]
        without = [row.seq for row in filled if values[row.seq] is None]
        for descending in (True, False):
            # A stable sort: ties have the newest first.
            wanted = sorted(with_value, key=lambda row: values[row.seq], reverse=descending)
            for limit in (1, 4, 50):
                found = [one.row.seq for one in in_pages(catalog, Order(by, descending), limit)]
                assert found == [row.seq for row in wanted] + without, (by, descending, limit)


def test_orders_go_with_filters(catalog: Catalog, filled: list[ArtifactRow]) -> None:
    topk = [row for row in filled if row.fields["architecture"] == "topk"]
    found = in_pages(catalog, Order("d_sae", False), 2, filters={"architecture": "topk", "min_d_sae": 64})
    assert [one.row.seq for one in found] == [row.seq for row in sorted(topk, key=lambda row: row.fields["d_sae"])]
    assert [one.row.name for one in in_pages(catalog, Order("name", False), 1, tag="t")] == ["Aa", "aB"]
    assert in_pages(catalog, Order("name"), 5, project="none") == []


def test_a_page_goes_on_where_the_last_one_ended_though_rows_come_and_go(
    catalog: Catalog, filled: list[ArtifactRow]
) -> None:
    first = catalog.sorted_artifacts("saes", Order("bytes"), 5)
    wanted = [one.row.seq for one in catalog.sorted_artifacts("saes", Order("bytes"))][5:]
    catalog.delete_artifact(parse_ref(first[-1].row.ref))
    catalog.record_artifact(MANIFEST | {"id": "f" * 16, "files": [{"size": 2**50}], "summary": {}})
    again = catalog.sorted_artifacts("saes", Order("bytes"), after=first[-1].place)
    assert [one.row.seq for one in again] == wanted


def test_every_kind_is_sorted_by_each_of_its_fields(catalog: Catalog) -> None:
    for kind, fields in INDEX.items():
        assert set(artifact_sorts(kind)) == {"created", "name", "bytes", *(field.name for field in fields)}
        for by, type in artifact_sorts(kind).items():
            place = Place("x" if type == "text" else 1, 1)
            assert catalog.sorted_artifacts(kind, Order(by), after=place) == []
    with pytest.raises(ValueError, match="reports cannot be sorted by 'ev': they can by created, name, bytes"):
        catalog.sorted_artifacts("reports", Order("ev"))
