"""Labels over HTTP: what a page shows is what the artifact holds, filtered and sorted as a loop would."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.artifact_ids import ArtifactRef
from configs.label_endpoint import LabelEndpoint
from sae.formats.labels import LabelsReader
from sae.labels.endpoint.check import check_endpoint
from sae.labels.endpoint.client import EndpointClient, Reply
from sae.labels.endpoint.errors import EndpointError
from sae.labels.endpoint.key import label_key
from tests.actors.extract_world import WIDTH, put_artifact
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts


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


@pytest.fixture
def chat_model(site: Site, tmp_path: Path) -> Iterator[str]:
    """The tiny model with a chat template, as an artifact of the server."""
    ref = ArtifactRef("models", "c" * 16)
    shutil.copytree(site.store.files(MODEL).directory(), tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message.content }}{% endfor %}"
    )
    original = site.store.manifest(MODEL)
    assert original is not None
    put_artifact(site.store, ref, tmp_path / "model", config=original.config, summary=original.summary, label="chats")
    manifest = site.store.manifest(ref)
    assert manifest is not None
    site.catalog.record_artifact(manifest.model_dump(mode="json"))
    yield str(ref)
    site.writer.delete(f"/v1/{ref}").raise_for_status()


def test_this_api_is_a_model_server_for_labels(site: Site, chat_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def endpoint(model: str) -> LabelEndpoint:
        return LabelEndpoint(url=f"{site.url}/v1", model=model)

    monkeypatch.delenv("RAYLENS_LABEL_KEY", raising=False)
    with pytest.raises(EndpointError, match=r"requires a key \(401\)"):
        check_endpoint(endpoint(chat_model))
    monkeypatch.setenv("RAYLENS_LABEL_KEY", site.reader.headers["authorization"].removeprefix("Bearer "))
    check_endpoint(endpoint(chat_model))
    with pytest.raises(EndpointError, match="no chat template"):
        check_endpoint(endpoint(str(MODEL)))
    with pytest.raises(EndpointError, match=r"answers 404 to a request for the model 'models/9{16}'"):
        check_endpoint(endpoint("models/" + "9" * 16))

    async def answered() -> Reply:
        body = {"model": chat_model, "messages": [{"role": "user", "content": "the captain of"}], "max_tokens": 5}
        async with EndpointClient(endpoint(chat_model), label_key()) as client:
            return await client.complete({**body, "temperature": 0.0})

    reply = asyncio.run(answered())
    assert reply.text and reply.completion_tokens == 5 and reply.prompt_tokens > 0 and not reply.whole
