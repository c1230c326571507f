"""Labels over HTTP: what a page shows is what the artifact holds, filtered and sorted as a loop would."""

from __future__ import annotations

from typing import Any

import pytest

from sae.formats.labels import LabelsReader
from tests.actors.extract_world import WIDTH
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import SampleArtifacts


def rows(site: Site, samples: SampleArtifacts, **query: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = site.reader.get(f"/v1/{samples.labels}/latents", params={"limit": 40, **query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next"] is None:
            assert page["total"] == len(found)
            return found
        cursor = {"cursor": page["next"]}


def test_the_list_has_every_feature_and_the_filters_and_orders_of_a_loop(site: Site, samples: SampleArtifacts) -> None:
    everything = rows(site, samples)
    assert [row["latent"] for row in everything] == list(range(WIDTH))
    stored = LabelsReader(samples.store.files(samples.labels)).features().to_pylist()
    assert [{"latent": row.pop("feature"), **row} for row in stored] == [
        {key: row[key] for key in ("latent", *(k for k in row if k != "latent"))} for row in everything
    ]
    for beats in (True, False):
        wanted = [row for row in everything if bool(row["beats"]) == beats]
        assert rows(site, samples, beats=beats) == wanted
    middle = sorted(row["label_score"] for row in everything if row["label"])[WIDTH // 3]
    wanted = [row for row in everything if row["label"] and row["label_score"] >= middle and row["type"] == "obscure"]
    assert rows(site, samples, min_label_score=middle, type="obscure") == wanted
    text = next(row["label"] for row in everything if row["label"])[1:4]
    assert rows(site, samples, label=text) == [
        r for r in everything if r["label"] and text.lower() in r["label"].lower()
    ]
    ordered = rows(site, samples, sort="difference", order="desc")
    labelled = [row for row in everything if row["label"]]
    wanted = sorted(labelled, key=lambda row: (-row["difference"], row["latent"]))
    assert ordered == wanted + [row for row in everything if not row["label"]]


def test_the_labels_of_one_feature(site: Site, samples: SampleArtifacts) -> None:
    best = rows(site, samples, sort="label_score", order="desc")[0]
    labels = site.reader.get(f"/v1/{samples.labels}/latents/{best['latent']}").json()
    assert (labels[0]["label"], labels[0]["score"]) == (best["label"], best["label_score"])
    assert all(one["evidence"] for one in labels)
    silent = site.reader.get(f"/v1/{samples.labels}/latents/7")
    assert silent.json() == []


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/{labels}/latents/96", 404, "they are 0 to 95"),
        ("/v1/labels/0000000000000000/latents", 404, "labels/0000000000000000"),
        ("/v1/{labels}/latents?type=odd", 422, "type"),
        ("/v1/{labels}/latents?colour=red", 422, "colour"),
    ],
)
def test_what_is_not_there_is_named(site: Site, samples: SampleArtifacts, path: str, status: int, message: str) -> None:
    answer = site.reader.get(path.format(labels=samples.labels))
    assert answer.status_code == status
    assert message in answer.text
    assert len(answer.json()["detail"]) < 500


def test_labels_are_found_by_their_sae(site: Site, samples: SampleArtifacts) -> None:
    found = site.reader.get("/v1/labels", params={"sae": str(samples.sae), "min_n_features": WIDTH}).json()["items"]
    assert [item["ref"] for item in found] == [str(samples.labels)]


def test_a_request_names_no_model_server_that_the_operator_has_not_named(site: Site, samples: SampleArtifacts) -> None:
    body = {"features": str(samples.features), "endpoint": {"url": "http://127.0.0.1:9/v1", "model": "judge"}}
    for path, sent in (("/v1/labels", body), ("/v1/jobs/check", {"config": {"stage": "label", **body}})):
        answer = site.writer.post(path, json=sent)
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "endpoint_not_allowed", answer.text
        assert "RAYLENS_LABEL_ENDPOINTS" in answer.json()["detail"]
