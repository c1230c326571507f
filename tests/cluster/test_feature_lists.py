"""Lists of features in the catalog: what is on them, what is refused, and what outlives what."""

from __future__ import annotations

import pytest

from cluster.catalog import Catalog, CatalogError, NameTaken, NotFound
from cluster.catalog.feature_lists import MOST_FEATURES
from configs.artifact_ids import ArtifactRef, parse_ref
from tests.cluster.catalog_rows import MANIFEST, REF

SAE = parse_ref(REF)
OTHER = ArtifactRef("saes", "f" * 16)


@pytest.fixture
def with_saes(catalog: Catalog) -> Catalog:
    """Two SAEs of 20,000 latents."""
    summary = {"sae": {"architecture": "topk", "d_sae": 20_000, "k": 8, "hook": "blocks.1.hook_resid_post"}}
    for ref in (SAE, OTHER):
        catalog.record_artifact(MANIFEST | {"id": ref.id, "summary": summary})
    return catalog


def on(catalog: Catalog, id: str) -> list[tuple[str, int]]:
    return [(found.row.sae, found.row.latent) for found in catalog.listed_features(id)]


def test_features_of_any_sae_are_put_on_a_list_and_taken_off(with_saes: Catalog) -> None:
    made = with_saes.create_list("boats", "ada").row
    assert (made.name, made.created_by) == ("boats", "ada")
    assert with_saes.add_to_list(made.id, [(OTHER, 3), (SAE, 7), (SAE, 7)], "ada").features == 2
    assert with_saes.add_to_list(made.id, [(SAE, 7), (SAE, 2)], "eve").features == 3
    order = sorted([(str(SAE), 2), (str(SAE), 7), (str(OTHER), 3)])
    assert on(with_saes, made.id) == order
    added = {(found.row.latent, found.row.added_by) for found in with_saes.listed_features(made.id)}
    assert added == {(2, "eve"), (7, "ada"), (3, "ada")}, "who put it there first"
    assert [(f.row.sae, f.row.latent) for f in with_saes.listed_features(made.id, order[0], 1)] == order[1:2]
    with_saes.annotate_feature(SAE, 7, "ada", label="rivers", starred=True)
    labels = {f.row.latent: f.annotation and f.annotation.label for f in with_saes.listed_features(made.id)}
    assert labels == {2: None, 7: "rivers", 3: None}
    for _ in range(2):
        with_saes.remove_from_list(made.id, SAE, 7)
    assert on(with_saes, made.id) == [one for one in order if one != (str(SAE), 7)]
    with_saes.delete_artifact(SAE)
    assert with_saes.feature_list(made.id).features == 2, "a list outlives the files of its SAEs"


def test_lists_by_name_and_by_feature(with_saes: Catalog) -> None:
    ids = {name: with_saes.create_list(name, "ada").row.id for name in ("c", "a", "b")}
    with_saes.add_to_list(ids["a"], [(SAE, 1)], "ada")
    with_saes.add_to_list(ids["c"], [(SAE, 1), (OTHER, 1)], "ada")
    assert [(row.name, n) for row, n in with_saes.feature_lists()] == [("a", 1), ("b", 0), ("c", 2)]
    assert [row.name for row, _ in with_saes.feature_lists(after="a", limit=1)] == ["b"]
    assert [row.name for row, _ in with_saes.feature_lists((SAE, 1))] == ["a", "c"]
    assert [row.name for row, _ in with_saes.feature_lists((OTHER, 1))] == ["c"]
    assert with_saes.feature_lists((SAE, 2)) == []
    assert with_saes.rename_list(ids["c"], "d").features == 2
    assert [row.name for row, _ in with_saes.feature_lists()] == ["a", "b", "d"]
    with_saes.delete_list(ids["a"])
    assert [row.name for row, _ in with_saes.feature_lists((SAE, 1))] == ["d"]
    with pytest.raises(NotFound, match="there is no list"):
        with_saes.listed_features(ids["a"])


def test_lists_that_cannot_be(with_saes: Catalog) -> None:
    made = with_saes.create_list("boats", "ada").row.id
    other = with_saes.create_list("ships", "ada").row.id
    with pytest.raises(NameTaken, match=f"'boats' belongs to lists/{made}"):
        with_saes.create_list("boats", "eve")
    with pytest.raises(NameTaken):
        with_saes.rename_list(other, "boats")
    assert with_saes.rename_list(made, "boats").row.name == "boats", "its own name is free to it"
    for name in ("", " boats", "a\0b", "x" * 101):
        with pytest.raises(ValueError, match="cannot be the name of a list"):
            with_saes.create_list(name, "ada")
    with pytest.raises(ValueError, match="has no latent 20000"):
        with_saes.add_to_list(made, [(SAE, 1), (SAE, 20_000)], "ada")
    with pytest.raises(CatalogError, match="there is no SAE"):
        with_saes.add_to_list(made, [(SAE, 1), (ArtifactRef("saes", "e" * 16), 1)], "ada")
    assert on(with_saes, made) == [], "all or none"
    for call in (
        lambda: with_saes.add_to_list("0" * 16, [(SAE, 1)], "ada"),
        lambda: with_saes.remove_from_list("0" * 16, SAE, 1),
        lambda: with_saes.rename_list("0" * 16, "x"),
        lambda: with_saes.delete_list("0" * 16),
        lambda: with_saes.feature_list("0" * 16),
    ):
        with pytest.raises(NotFound, match="there is no list"):
            call()


def test_a_list_has_an_end(with_saes: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_FEATURES == 10_000
    monkeypatch.setattr("cluster.catalog.feature_lists.MOST_FEATURES", 5)
    made = with_saes.create_list("long", "ada").row.id
    assert with_saes.add_to_list(made, [(SAE, i) for i in range(5)], "ada").features == 5
    with pytest.raises(ValueError, match="at most 5 features: with these it has 6"):
        with_saes.add_to_list(made, [(SAE, 6)], "ada")
    assert with_saes.feature_list(made).features == 5
