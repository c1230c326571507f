"""Neuronpedia's public client reads features, activations on a text and top features from RayLens."""

from __future__ import annotations

import pytest
from neuronpedia.requests.activation_request import ActivationRequest
from neuronpedia.requests.base_request import NPRequest, NPUnauthorizedError
from neuronpedia.requests.feature_request import FeatureRequest
from neuronpedia.requests.sae_feature_request import SAEFeatureRequest
from neuronpedia.requests.topk_by_token_request import TopKByTokenRequest

from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts

TEXT = "the captain of the boat"


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


def test_a_wrong_key_model_or_latent_is_refused(samples: SampleArtifacts, key: str) -> None:
    with pytest.raises(NPUnauthorizedError):
        FeatureRequest("nonsense").get(MODEL.id, samples.sae.id, 0)
    for model, latent in (("9" * 16, 0), (MODEL.id, 96)):
        with pytest.raises(Exception, match="Resource not found"):
            FeatureRequest(key).get(model, samples.sae.id, latent)
