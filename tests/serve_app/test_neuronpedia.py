"""Neuronpedia's public client reads features, activations on a text and top features from RayLens, and steers texts and chats."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neuronpedia.np_feature import SteerFeature
from neuronpedia.np_vector import NPVector
from neuronpedia.requests.activation_request import ActivationRequest
from neuronpedia.requests.base_request import NPRequest, NPUnauthorizedError
from neuronpedia.requests.feature_request import FeatureRequest
from neuronpedia.requests.sae_feature_request import SAEFeatureRequest
from neuronpedia.requests.steer_request import SteerChatRequest, SteerCompletionRequest
from neuronpedia.requests.topk_by_token_request import TopKByTokenRequest

from configs.artifact_ids import ArtifactRef
from tests.actors.extract_world import put_artifact
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts

TEXT = "the captain of the boat"
CHAT_MODEL, CHAT_SAE = ArtifactRef("models", "c" * 16), ArtifactRef("saes", "c" * 16)
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}; {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture
def key(site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(NPRequest, "BASE_URL", f"{site.url}/api")
    monkeypatch.setenv("NO_PROXY", "*")
    return str(site.reader.headers["authorization"].removeprefix("Bearer "))


def test_a_feature_has_its_density_examples_and_label(site: Site, samples: SampleArtifacts, key: str) -> None:
    path = f"/v1/features/{samples.features.id}/latents"
    (first,) = site.reader.get(path, params={"sort": "count", "order": "desc", "limit": 1}).json()["items"]
    latent = first["latent"]
    label = f"/v1/saes/{samples.sae.id}/latents/{latent}"
    site.writer.patch(label, json={"label": "boats", "notes": ""}).raise_for_status()
    found = FeatureRequest(key).get(MODEL.id, samples.sae.id, latent)
    assert found.density == first["density"]
    assert [one.text for one in found.explanations or ()] == ["boats"]
    ours = site.reader.get(f"{path}/{latent}/examples").json()
    assert [one.values for one in found.activations or ()] == [one["activations"] for one in ours]
    intervals = [
        one for one, example in zip(found.activations or (), ours, strict=True) if example["kind"] == "quantile"
    ]
    for one in intervals:
        assert one.quantileMin is not None and one.quantileMax is not None
        assert one.quantileMin <= max(one.values)
    assert SAEFeatureRequest(key).get(MODEL.id, samples.sae.id, str(latent)).source == samples.sae.id
    site.writer.patch(label, json={"label": "", "notes": ""}).raise_for_status()


def test_activations_on_a_text_are_those_of_the_api(site: Site, samples: SampleArtifacts, key: str) -> None:
    body = {"sae": str(samples.sae), "text": TEXT, "top": 3, "latents": [7]}
    ours = site.reader.post("/v1/text/features", json=body).json()
    one = ActivationRequest(key).compute_activation_for_text(MODEL.id, samples.sae.id, "7", TEXT)
    assert one.values == ours["latents"]["7"]
    assert one.tokens == [token["text"] for token in ours["tokens"]]
    by_token = TopKByTokenRequest(key).compute_top_features_by_token_for_text(MODEL.id, samples.sae.id, TEXT, 3)
    assert [(token.position, token.token) for token in by_token] == [
        (token["position"], token["text"]) for token in ours["tokens"] if token["role"] != "bos"
    ]
    assert by_token[0].topFeatures[0].activationValue == ours["tokens"][1]["top"][0]["activation"]


def test_steering_gives_the_default_and_the_steered_text(site: Site, samples: SampleArtifacts, key: str) -> None:
    features = [SteerFeature(modelId=MODEL.id, source=samples.sae.id, index=latent, strength=5) for latent in (3, 20)]

    def ours(op: str, value: float, **fields: Any) -> dict[str, Any]:
        changes = [
            {"sae": str(samples.sae), "latent": one.index, "op": op, "value": value, "special_tokens": True}
            for one in features
        ]
        body = {"text": TEXT, "interventions": changes, "max_tokens": 8, "temperature": 0.7, "seed": 11, **fields}
        found: dict[str, Any] = site.reader.post("/v1/text/steer", json=body).raise_for_status().json()
        return {"DEFAULT": TEXT + found["unsteered"]["text"], "STEERED": TEXT + found["steered"][0]["text"]}

    options: dict[str, Any] = {"prompt": TEXT, "temperature": 0.7, "n_tokens": 8, "seed": 11}
    client = SteerCompletionRequest(key)
    answer = client.steer_features(MODEL.id, features, **options)
    assert {name: answer[name] for name in ("DEFAULT", "STEERED")} == ours("add", 20.0, frequency_penalty=2)
    assert answer["DEFAULT"] != answer["STEERED"]
    other = client.steer_features(MODEL.id, features, **options, freq_penalty=-2, strength_multiplier=1)
    assert {name: other[name] for name in ("DEFAULT", "STEERED")} == ours("add", 5.0, frequency_penalty=-2)
    assert other["DEFAULT"] != answer["DEFAULT"]
    vectors = [
        NPVector("a direction", MODEL.id, samples.sae.id, str(one.index), [], "", default_steer_strength=5)
        for one in features
    ]
    assert client.steer(MODEL.id, vectors, **options) == answer
    body = {
        "modelId": MODEL.id, **options, "freq_penalty": 0, "steer_method": "ORTHOGONAL_DECOMP",
        "features": [{"modelId": MODEL.id, "layer": samples.sae.id, "index": one.index, "strength": 5} for one in features],
    }  # fmt: skip
    set_to = site.reader.post("/api/steer/", json=body).raise_for_status().json()
    assert {name: set_to[name] for name in ("DEFAULT", "STEERED")} == ours("project", 20.0)
    negative = {**body, "seed": -3}
    assert site.reader.post("/api/steer/", json=negative).raise_for_status().json()["STEERED"] != set_to["STEERED"]


def test_steering_of_another_model_or_method_is_refused(site: Site, samples: SampleArtifacts, key: str) -> None:
    client = SteerCompletionRequest(key)
    own, other = (
        SteerFeature(modelId=model, source=samples.sae.id, index=3, strength=5) for model in (MODEL.id, "9" * 16)
    )
    with pytest.raises(Exception, match=r"a feature of model 9{16} cannot steer"):
        client.steer_features(MODEL.id, [other], TEXT)
    with pytest.raises(Exception, match="Resource not found"):
        client.steer_features("9" * 16, [other], TEXT)
    with pytest.raises(Exception, match="n_tokens"):
        client.steer_features(MODEL.id, [own], TEXT, n_tokens=513)
    feature = {"modelId": MODEL.id, "layer": samples.sae.id, "index": 3, "strength": 5}
    body = {"modelId": MODEL.id, "prompt": TEXT, "features": [feature], "steer_method": "PROJECTION_CAP"}
    assert site.reader.post("/api/steer/", json=body).status_code == 422


@pytest.fixture
def chat_sae(site: Site, samples: SampleArtifacts, tmp_path: Path) -> Iterator[str]:
    """The ID of an SAE like the sample's, of a model that has a chat template."""
    files = samples.store.files(MODEL)
    shutil.copytree(files.directory(), tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(TEMPLATE)
    put_artifact(
        samples.store, CHAT_MODEL, tmp_path / "model", config=files.manifest.config, summary=files.manifest.summary
    )
    sae = samples.store.files(samples.sae)
    shutil.copytree(sae.directory(), tmp_path / "sae")  # files are moved into an artifact
    inputs = {**sae.manifest.inputs, "model": str(CHAT_MODEL)}
    put_artifact(
        samples.store,
        CHAT_SAE,
        tmp_path / "sae",
        config=sae.manifest.config,
        inputs=inputs,
        summary=sae.manifest.summary,
    )
    for ref in (CHAT_MODEL, CHAT_SAE):
        manifest = samples.store.manifest(ref)
        assert manifest is not None
        site.catalog.record_artifact(manifest.model_dump(mode="json"))
    yield CHAT_SAE.id
    for ref in (CHAT_SAE, CHAT_MODEL):
        site.catalog.delete_artifact(ref)
        samples.store.delete(ref)


def test_a_chat_is_answered_without_the_change_and_with_it(site: Site, chat_sae: str, key: str) -> None:
    latents, chat = (3, 20), [{"role": "user", "content": "who steers the boat"}]
    other = [*chat, {"role": "model", "content": "the captain"}, {"role": "user", "content": "and then"}]

    def ours(messages: list[dict[str, str]], special_tokens: bool) -> dict[str, Any]:
        change = {"sae": str(CHAT_SAE), "op": "add", "value": 20.0, "special_tokens": special_tokens}
        body = {
            "messages": [{**one, "role": one["role"].replace("model", "assistant")} for one in messages],
            "interventions": [{**change, "latent": latent} for latent in latents], "max_tokens": 8,
            "temperature": 0.7, "frequency_penalty": 2, "seed": 11,
        }  # fmt: skip
        found: dict[str, Any] = site.reader.post("/v1/text/steer", json=body).raise_for_status().json()
        return found

    features = [SteerFeature(modelId=CHAT_MODEL.id, source=chat_sae, index=latent, strength=5) for latent in latents]
    options: dict[str, Any] = {"temperature": 0.7, "n_tokens": 8, "seed": 11}
    client, same = SteerChatRequest(key), ours(chat, True)
    answer = client.steer_features(CHAT_MODEL.id, features, chat, chat, **options)
    plain, steered = same["unsteered"]["text"], same["steered"][0]["text"]
    assert answer["DEFAULT"]["chatTemplate"] == [*chat, {"role": "assistant", "content": plain}]
    assert answer["STEERED"]["chatTemplate"] == [*chat, {"role": "assistant", "content": steered}]
    assert plain != steered
    assert answer["STEERED"]["raw"] == f"user: who steers the boat; assistant:{steered}"
    two = client.steer_features(CHAT_MODEL.id, features, other, chat, **options)
    assert two["STEERED"] == answer["STEERED"]
    assert two["DEFAULT"]["chatTemplate"] == [
        *other,
        {"role": "assistant", "content": ours(other, True)["unsteered"]["text"]},
    ]
    assert "; assistant: the captain; user: and then; assistant:" in two["DEFAULT"]["raw"]
    vectors = [
        NPVector("a direction", CHAT_MODEL.id, chat_sae, str(latent), [], "", default_steer_strength=5)
        for latent in latents
    ]
    assert client.steer(CHAT_MODEL.id, vectors, chat, chat, **options) == answer
    kept = client.steer_features(CHAT_MODEL.id, features, chat, chat, **options, steer_special_tokens=False)
    assert kept["STEERED"]["chatTemplate"][-1]["content"] == ours(chat, False)["steered"][0]["text"]


def test_a_chat_with_a_model_without_a_template_is_refused(samples: SampleArtifacts, key: str) -> None:
    feature = SteerFeature(modelId=MODEL.id, source=samples.sae.id, index=3, strength=5)
    chat = [{"role": "user", "content": "hello"}]
    with pytest.raises(Exception, match="chat template"):
        SteerChatRequest(key).steer_features(MODEL.id, [feature], chat, chat)
    with pytest.raises(Exception, match="system"):
        SteerChatRequest(key).steer_features(MODEL.id, [feature], [{"role": "tool", "content": "x"}], chat)


def test_a_wrong_key_model_or_latent_is_refused(samples: SampleArtifacts, key: str) -> None:
    with pytest.raises(NPUnauthorizedError):
        FeatureRequest("nonsense").get(MODEL.id, samples.sae.id, 0)
    for model, latent in (("9" * 16, 0), (MODEL.id, 96)):
        with pytest.raises(Exception, match="Resource not found"):
            FeatureRequest(key).get(model, samples.sae.id, latent)
