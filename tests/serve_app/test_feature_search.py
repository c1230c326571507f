"""Search of several SAEs over HTTP: what searches of each of them give, merged, with the SAE of every feature."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from configs.artifact_ids import ArtifactRef
from sae.formats.search_index import read_index, write_index
from sae.labels.search_index import SearchIndex, shared_chance
from sae.text.word_vectors import word_vectors
from tests.actors.extract_world import WIDTH, put_artifact
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts

SAE, LABELS = ArtifactRef("saes", "7" * 16), ArtifactRef("labels", "7" * 16)
OTHER_HOOK, QUERY = "blocks.0.hook_resid_post", "boat"


@pytest.fixture(scope="module")
def two(site: Site, samples: SampleArtifacts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A second SAE at another hook, with labels whose vectors are other features'."""
    root = tmp_path_factory.mktemp("second")
    for ref, own in ((samples.sae, SAE), (samples.labels, LABELS)):
        shutil.copytree(site.store.files(ref).directory(), root / own.kind)
        manifest = site.store.manifest(ref)
        assert manifest is not None
        summary = dict(manifest.summary)
        if own.kind == "labels":
            index = read_index(site.store.files(ref))
            write_index(root / own.kind, SearchIndex(np.roll(index.vectors, 1, axis=0), index.chance))
            summary["sae"] = str(SAE)
        else:
            summary["sae"] = {**summary["sae"], "hook": OTHER_HOOK}
        put_artifact(site.store, own, root / own.kind, config=manifest.config, inputs=manifest.inputs, summary=summary)
        made = site.store.manifest(own)
        assert made is not None
        site.catalog.record_artifact(made.model_dump(mode="json"))
    yield
    for ref in (LABELS, SAE):
        site.writer.delete(f"/v1/{ref}").raise_for_status()


def search(site: Site, **query: Any) -> dict[str, Any]:
    answer = site.reader.get("/v1/search/features", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def places(items: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["sae"], one["latent"]) for one in items]


def test_hits_are_those_of_both_saes_in_one_order(site: Site, samples: SampleArtifacts, two: None) -> None:
    alone = {
        sae: site.reader.get(f"/v1/{labels}/search", params={"q": QUERY, "limit": WIDTH}).json()
        for sae, labels in ((samples.sae, samples.labels), (SAE, LABELS))
    }
    wanted = sorted(
        (-one["cosine"], str(sae), one["latent"]) for sae, answer in alone.items() for one in answer["items"]
    )
    for limit in (1, 7, 2 * WIDTH):
        found = search(site, q=QUERY, limit=limit)
        assert [(-one["cosine"], one["sae"], one["latent"]) for one in found["items"]] == wanted[:limit]
    by_place = {(str(sae), one["latent"]): one for sae, answer in alone.items() for one in answer["items"]}
    for one in found["items"]:
        assert one["hook"] == (OTHER_HOOK if one["sae"] == str(SAE) else "blocks.1.hook_resid_post")
        assert one["labels"] == str(LABELS if one["sae"] == str(SAE) else samples.labels)
        assert one["features"] == str(samples.features)
        own = by_place[one["sae"], one["latent"]]
        assert {name: one[name] for name in own} == own
    vectors = [read_index(site.store.files(ref)).vectors.astype(np.float32) for ref in (samples.labels, LABELS)]
    assert found["chance"] == pytest.approx(shared_chance(vectors, word_vectors(), word_vectors().tokens(QUERY)))
    assert found["chance"] > 0 and found["left_out"] == 0


def test_filters_choose_the_saes_and_their_features(site: Site, samples: SampleArtifacts, two: None) -> None:
    everything = search(site, q=QUERY, limit=2 * WIDTH)
    own = [one for one in everything["items"] if one["sae"] == str(samples.sae)]
    for query in ({"sae": samples.sae.id}, {"hook": "blocks.1.hook_resid_post"}, {"labels": samples.labels.id}):
        found = search(site, q=QUERY, limit=WIDTH, **query)
        assert found["items"] == own
    assert [one["hook"] for one in search(site, q=QUERY, hook=OTHER_HOOK)["saes"]] == [
        one["hook"] for one in everything["saes"]
    ], "the SAEs to choose from stay"
    assert search(site, q=QUERY, model=MODEL.id, limit=2 * WIDTH) == everything
    nothing = search(site, q=QUERY, model="9" * 16)
    assert (nothing["items"], nothing["saes"], nothing["chance"]) == ([], [], None)
    both = search(site, q=QUERY, limit=2 * WIDTH, labels=[samples.labels.id, LABELS.id])
    assert both["items"] == everything["items"]
    dense = sorted(one["density"] for one in everything["items"])[WIDTH]
    assert search(site, q=QUERY, limit=2 * WIDTH, min_density=dense)["items"] == [
        one for one in everything["items"] if one["density"] >= dense
    ]


def test_labels_are_searched_by_their_words_the_best_score_first(
    site: Site, samples: SampleArtifacts, two: None
) -> None:
    rows = site.reader.get(f"/v1/{samples.labels}/latents", params={"limit": WIDTH}).json()["items"]
    text = next(row["label"] for row in rows if row["label"])[1:4]
    with_text = [row for row in rows if row["label"] and text.lower() in row["label"].lower()]
    found = search(site, label=text, limit=500)
    assert found["chance"] is None and {one["cosine"] for one in found["items"]} == {None}
    wanted = sorted((-row["label_score"], str(sae), row["latent"]) for row in with_text for sae in (samples.sae, SAE))
    assert places(found["items"]) == [(sae, latent) for _, sae, latent in wanted]
    both = search(site, q=QUERY, label=text, limit=500)
    by_meaning = search(site, q=QUERY, limit=500)["items"]
    latents = {row["latent"] for row in with_text}
    assert both["items"] == [one for one in by_meaning if one["latent"] in latents]


def test_labels_of_an_earlier_version_are_left_out_or_named(
    site: Site, samples: SampleArtifacts, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.routes.feature_search.SEARCH", "nothing.safetensors")
    found = search(site, q=QUERY)
    assert (found["items"], found["left_out"], len(found["saes"])) == ([], 2, 2)
    answer = site.reader.get("/v1/search/features", params={"q": QUERY, "labels": samples.labels.id})
    assert answer.status_code == 404 and "label the features again" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/search/features", 422, "give `q`, `label` or both"),
        ("/v1/search/features?q=x&labels=0000000000000000", 404, "labels/0000000000000000"),
        ("/v1/search/features?q=x&labels=nonsense", 422, "labels"),
        ("/v1/search/features?q=x&colour=red", 422, "colour"),
    ],
)
def test_what_is_wrong_is_named(site: Site, path: str, status: int, message: str) -> None:
    answer = site.reader.get(path)
    assert answer.status_code == status, answer.text
    assert message in answer.text
