"""Features that are active together, that a search finds, and on a map, over HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from sae.formats.coactivation import read_partners
from sae.formats.feature_map import read_map
from sae.formats.labels import LabelsReader
from tests.actors.extract_world import WIDTH
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import SampleArtifacts


def test_partners_have_exact_counts_beside_those_of_independence(site: Site, samples: SampleArtifacts) -> None:
    files = samples.store.files(samples.labels)
    positions = LabelsReader(files).info.coactivation_positions
    for latent in (0, 7, 20):
        count, partners = read_partners(files, latent)
        answer = site.reader.get(f"/v1/{samples.labels}/latents/{latent}/coactivation").json()
        assert (answer["latent"], answer["positions"], answer["count"]) == (latent, positions, count)
        assert [(one["latent"], one["count"], one["joint"]) for one in answer["coactive"]] == [p[:3] for p in partners]
        for one in answer["coactive"]:
            assert one["expected"] == pytest.approx(count * one["count"] / positions)
            assert (one["share"], one["share_of_other"]) == (one["joint"] / count, one["joint"] / one["count"])
            assert (one["npmi"] > 0) == (one["joint"] > one["expected"])
    assert answer["coactive"], "the tiny SAE has features that are active together"


def test_the_graph_of_all_features_is_that_of_their_lists(site: Site, samples: SampleArtifacts) -> None:
    files, path = samples.store.files(samples.labels), f"/v1/{samples.labels}/coactivation"
    lists = {latent: read_partners(files, latent) for latent in range(WIDTH)}
    pairs = {
        (min(latent, one.feature), max(latent, one.feature)): (one.joint, one.npmi)
        for latent, (_, partners) in lists.items()
        for one in partners
    }
    middle = float(np.median([npmi for _, npmi in pairs.values()]))
    wanted = {pair: one for pair, one in pairs.items() if one[1] >= middle}
    edges, nodes, cursor = [], {}, {}
    while True:
        query = {"min_strength": middle, "limit": 50, **cursor}
        answer = site.reader.get(path, params=query).raise_for_status().json()
        assert {one["latent"] for one in answer["nodes"]} == {edge[end] for edge in answer["edges"] for end in "ab"}
        edges += answer["edges"]
        nodes |= {one["latent"]: one for one in answer["nodes"]}
        if answer["next"] is None:
            break
        assert len(answer["edges"]) == 50
        cursor = {"cursor": answer["next"]}
    assert (answer["total_edges"], answer["total_nodes"]) == (len(edges), len(nodes)) and len(edges) > 50
    assert {(one["a"], one["b"]): (one["joint"], one["npmi"]) for one in edges} == wanted
    assert [one["strength"] for one in edges] == sorted((one["npmi"] for one in edges), reverse=True)
    for latent, node in nodes.items():
        assert node["degree"] == sum(latent in pair for pair in wanted)
        assert node["count"] == lists[latent][0]
    full = [partners[-1].npmi for _, partners in lists.values() if len(partners) == 20]
    assert answer["cut"] == sum(lowest >= middle for lowest in full)
    jaccard = site.reader.get(path, params={"measure": "jaccard", "min_strength": 0, "min_joint": 9}).json()
    assert jaccard["total_edges"] == sum(joint >= 9 for joint, _ in pairs.values())
    one = jaccard["edges"][0]
    counts = [lists[one[end]][0] for end in "ab"]
    assert one["strength"] == pytest.approx(one["joint"] / (sum(counts) - one["joint"]))


def test_a_search_finds_the_nearest_and_obeys_each_filter(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/{samples.labels}/search"
    answer = site.reader.get(path, params={"q": "boat", "limit": WIDTH}).json()
    items = answer["items"]
    assert 0 < answer["chance"] < 1
    assert WIDTH // 2 < len(items) <= WIDTH
    assert [one["cosine"] for one in items] == sorted((one["cosine"] for one in items), reverse=True)
    first = site.reader.get(path, params={"q": "boat", "limit": 3}).json()["items"]
    assert first == items[:3]
    middle = sorted(one["density"] for one in items)[len(items) // 2]
    kept = {
        "min_density": [one for one in items if one["density"] >= middle],
        "max_density": [one for one in items if one["density"] <= middle],
        "min_label_score": [one for one in items if one["label_score"] is not None and one["label_score"] >= middle],
        "type": [one for one in items if one["type"] == "obscure"],
        "beats": [one for one in items if one["beats"]],
    }
    for name, wanted in kept.items():
        value = {"type": "obscure", "beats": True}.get(name, middle)
        assert site.reader.get(path, params={"q": "boat", "limit": WIDTH, name: value}).json()["items"] == wanted


def test_the_map_places_every_feature(site: Site, samples: SampleArtifacts) -> None:
    answer = site.reader.get(f"/v1/{samples.labels}/map")
    body = answer.json()
    files = samples.store.files(samples.labels)
    assert np.stack([body["x"], body["y"]], 1) == pytest.approx(read_map(files), abs=1e-3)
    types = [body["types"][one] for one in body["type"]]
    assert types == LabelsReader(files).features()["type"].to_pylist()
    again = site.reader.get(f"/v1/{samples.labels}/map", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/{labels}/latents/96/coactivation", 404, "they are 0 to 95"),
        ("/v1/labels/0000000000000000/coactivation", 404, "labels/0000000000000000"),
        ("/v1/{labels}/coactivation?measure=odd", 422, "measure"),
        ("/v1/{labels}/coactivation?cursor=odd", 422, "cursor"),
        ("/v1/labels/0000000000000000/map", 404, "labels/0000000000000000"),
        ("/v1/labels/0000000000000000/search?q=x", 404, "labels/0000000000000000"),
        ("/v1/{labels}/search", 422, "q"),
        ("/v1/{labels}/search?q=", 422, "q"),
        ("/v1/{labels}/search?q=x&type=odd", 422, "type"),
    ],
)
def test_what_is_not_there_is_named(site: Site, samples: SampleArtifacts, path: str, status: int, message: str) -> None:
    answer = site.reader.get(path.format(labels=samples.labels))
    assert answer.status_code == status
    assert message in answer.text


def test_labels_of_an_earlier_version_say_what_to_do(
    site: Site, samples: SampleArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.routes.feature_relations.MAP", "map_that_nobody_made.safetensors")
    answer = site.reader.get(f"/v1/{samples.labels}/map")
    assert answer.status_code == 404
    assert "label the features again" in answer.json()["detail"]
