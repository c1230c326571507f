"""Steering over HTTP: the two routes of RayLens, and OpenAI's with its own client."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import openai
import pytest

from serve_app.language_models.steering_queries import steering_query
from serve_app.schemas.steering import SteerBody
from tests.serve_app.conftest import Answers, Site
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts

TEXT = "the captain of the boat"


@pytest.fixture(scope="module")
def loud(site: Site, samples: SampleArtifacts) -> int:
    """A feature that is active on many tokens."""
    path = f"/v1/features/{samples.features.id}/latents"
    found: int = site.reader.get(path, params={"sort": "count", "order": "desc", "limit": 1}).json()["items"][0][
        "latent"
    ]
    return found


def _body(samples: SampleArtifacts, latent: int, **fields: Any) -> dict[str, Any]:
    change = {"sae": str(samples.sae), "latent": latent, "op": "add", "value": 2.0, "unit": "max"}
    return {"text": TEXT, "interventions": [change], "max_tokens": 6, **fields}


def _openai(site: Site) -> openai.OpenAI:
    token = site.reader.headers["authorization"].removeprefix("Bearer ")
    return openai.OpenAI(base_url=f"{site.url}/v1", api_key=token, max_retries=0)


def test_both_answers_and_what_the_change_did(site: Site, samples: SampleArtifacts, loud: int) -> None:
    found = site.reader.post("/v1/text/steer", json=_body(samples, loud)).raise_for_status().json()
    assert found["model"] == str(MODEL)
    (steered,) = found["steered"]
    prompt = len(found["prompt"])
    assert steered["positions"] == prompt - 1 + 5  # not BOS, and the last token is never read
    assert steered["kl"] > 0
    assert steered["change"] > 0
    assert steered["perplexity"] >= found["unsteered"]["perplexity"] > 1
    assert found["unsteered"]["kl"] == found["unsteered"]["positions"] == 0
    assert "".join(found["unsteered"]["tokens"]).startswith(found["unsteered"]["text"][:5])
    again = site.reader.post("/v1/text/steer", json=_body(samples, loud)).json()
    assert again == found


def test_a_dose_response_curve_begins_at_nothing(site: Site, samples: SampleArtifacts, loud: int) -> None:
    found = (
        site.reader.post("/v1/text/steer", json=_body(samples, loud, doses=[0, 0.5, 1, 2])).raise_for_status().json()
    )
    nothing, *others = found["steered"]
    assert nothing["ids"] == found["unsteered"]["ids"]
    assert nothing["kl"] == nothing["positions"] == 0
    assert [one["dose"] for one in others] == [0.5, 1, 2]
    changes = [one["change"] for one in found["steered"]]
    assert changes == sorted(changes)


def test_a_budget_of_kl_chooses_the_dose(site: Site, samples: SampleArtifacts, loud: int) -> None:
    found = site.reader.post("/v1/text/steer", json=_body(samples, loud, kl_budget=0.05)).raise_for_status().json()
    assert found["budget"]["kl"] == pytest.approx(0.05, rel=0.1)
    assert found["steered"][0]["dose"] == found["budget"]["dose"]


def test_a_stream_has_every_token_and_then_the_same_answer(site: Site, samples: SampleArtifacts, loud: int) -> None:
    body = _body(samples, loud, stream=True)
    with site.reader.stream("POST", "/v1/text/steer", json=body) as response:
        events = [block.split("\n") for block in response.read().decode().strip().split("\n\n")]
    names = [lines[0].removeprefix("event: ") for lines in events]
    bodies = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert names == ["token"] * 12 + ["answers"]
    answers = bodies[-1]
    assert answers == site.reader.post("/v1/text/steer", json=_body(samples, loud)).json()
    for number, answer in enumerate([answers["unsteered"], *answers["steered"]]):
        tokens = [one for one in bodies[:-1] if one["number"] == number]
        assert [one["id"] for one in tokens] == answer["ids"]
        assert answer["text"].startswith("".join(one["text"] for one in tokens))


def test_a_client_that_goes_away_ends_the_answer(site: Site, samples: SampleArtifacts, loud: int) -> None:
    models: Answers = site.app.state.api.interactive_models
    body = _body(samples, loud, stream=True, max_tokens=110)
    before = len(models.steered_to_the_end)
    with site.reader.stream("POST", "/v1/text/steer", json=body) as response:
        next(response.iter_raw())
    deadline = time.monotonic() + 30
    while len(models.steered_to_the_end) == before:
        assert time.monotonic() < deadline, "the answer went on without its client"
        time.sleep(0.02)
    assert models.steered_to_the_end[-1] is False


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interventions": []}, "at least 1 item"),
        ({"text": ""}, "at least 1 character"),
        ({"text": "long " * 300}, "is longer than the model's"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "give either `text` or `messages`"),
        ({"text": None, "messages": [{"role": "user", "content": "hello"}]}, "give `text` instead of `messages`"),
        ({"doses": [1, 2], "kl_budget": 1.0}, "leave `doses` out"),
        ({"colour": "red"}, "colour"),
        ({"op": "clamp", "value": None}, "clamp needs a value"),
        ({"op": "ablate"}, "ablate has no value"),
        ({"op": "scale"}, "scale has no unit"),
        ({"latent": 96}, "there is no latent 96 in .*: they are 0 to 95"),
        ({"latent": 96, "unit": "raw"}, "there is no latent 96 in .*: they are 0 to 95"),
        ({"sae": "saes/" + "9" * 16}, "there is no artifact saes/9999999999999999"),
        ({"value": 1e6, "unit": "norm", "doses": [1000]}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    site: Site, samples: SampleArtifacts, loud: int, fields: dict[str, Any], message: str | None
) -> None:
    body = _body(samples, loud)
    own = {key: fields[key] for key in ("op", "value", "unit", "latent", "sae") if key in fields}
    body["interventions"][0].update(own)
    body |= {key: value for key, value in fields.items() if key not in own}
    body = {key: value for key, value in body.items() if value is not None}
    for stream in (False, True):
        answer = site.reader.post("/v1/text/steer", json={**body, "stream": stream})
        if message is None:  # far too strong, and yet finite on this model, or said
            assert answer.status_code == 200 or "not finite" in answer.json()["detail"]
            continue
        assert answer.status_code in (404, 422), answer.text
        assert re_search(message, answer.json()), answer.text


def test_one_request_has_bounded_answers(
    site: Site, samples: SampleArtifacts, loud: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.language_models.pool.MOST_POSITIONS", 100)
    answer = site.reader.post("/v1/text/steer", json=_body(samples, loud, max_tokens=100, doses=[1, 2]))
    assert answer.status_code == 422
    assert "5 rows" in answer.json()["detail"]
    assert "one request may take 100: give fewer doses" in answer.json()["detail"]


def test_a_search_for_a_dose_gives_way_after_each_pass_and_ends_when_it_is_stopped(
    site: Site, samples: SampleArtifacts, loud: int
) -> None:
    models: Answers = site.app.state.api.interactive_models
    query = steering_query(site.app.state.api, SteerBody(**_body(samples, loud, kl_budget=0.05)))
    pool, lm = asyncio.run(models._model(query.key))
    items = list(pool.steer(lm, query.key, query.query, lambda: False))
    tokens = [i for i, item in enumerate(items) if "token" in item]
    assert all(item == {} for item in items[: tokens[0]])
    assert tokens[0] > 6  # six tokens of the unsteered answer, and passes of the search
    asked = iter(range(100))
    cut = list(pool.steer(lm, query.key, query.query, lambda: next(asked) >= 7))
    assert len(cut) <= 7
    assert not any(cut)


def re_search(message: str, problem: dict[str, Any]) -> bool:
    import re

    return re.search(message, json.dumps(problem, ensure_ascii=False)) is not None


def test_openais_client_completes_a_text(site: Site, samples: SampleArtifacts, loud: int) -> None:
    client = _openai(site)
    plain = client.completions.create(model=str(MODEL), prompt=TEXT, max_tokens=6, temperature=0)
    body = _body(samples, loud)
    steered = client.completions.create(
        model=str(samples.sae),
        prompt=TEXT,
        max_tokens=6,
        temperature=0,
        extra_body={"interventions": body["interventions"]},
    )
    ours = site.reader.post("/v1/text/steer", json=body).json()
    assert steered.choices[0].text == ours["steered"][0]["text"]
    applied = steered.choices[0].model_dump()["interventions_applied"]
    assert applied["positions"] == ours["steered"][0]["positions"]
    assert applied["kl_per_token"] == ours["steered"][0]["kl"]
    assert applied["baseline"] == ours["unsteered"]["text"]
    assert steered.usage is not None
    assert steered.usage.completion_tokens == 6
    assert plain.choices[0].finish_reason == "length"
    assert "interventions_applied" not in plain.choices[0].model_dump()


def test_openais_client_lists_models(site: Site, samples: SampleArtifacts) -> None:
    client = _openai(site)
    page = client.models.list()
    assert page.object == "list"
    ours = site.reader.get("/v1/models").json()["items"]
    assert [one.id for one in page] == [item["ref"] for item in ours]
    assert str(MODEL) in [one.id for one in page]
    found = client.models.retrieve(str(MODEL))
    assert found in page.data and (found.object, found.owned_by) == ("model", "raylens")
    assert found.created > 1_600_000_000
    with pytest.raises(openai.NotFoundError, match=r"models/9{16}"):
        client.models.retrieve("models/" + "9" * 16)


def test_a_dose_that_explodes_is_shown_beside_the_others(
    site: Site, samples: SampleArtifacts, loud: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: Answers = site.app.state.api.interactive_models
    body = _body(samples, loud, doses=[1e-36, 1000.0, 0.0])
    body["interventions"][0] |= {"value": 1.0, "unit": "raw", "where": "answer"}
    site.reader.post("/v1/text/steer", json=body).raise_for_status()
    sae, _ = models._models[""]._sae(samples.sae.id)
    monkeypatch.setitem(sae.tensors, "W_dec", sae.W_dec * 1e36)
    for stream in (False, True):
        answer = site.reader.post("/v1/text/steer", json={**body, "stream": stream}).raise_for_status()
        found = json.loads(answer.text.rpartition("data: ")[2]) if stream else answer.json()
        weak, strong, none = found["steered"]
        assert (weak["problem"], none["problem"], found["unsteered"]["problem"]) == (None, None, None)
        assert len(weak["ids"]) == len(none["ids"]) == 6
        assert none["text"] == found["unsteered"]["text"]
        assert len(strong["ids"]) == 1 and "the change is too strong, use a smaller value" in strong["problem"]
        alone = site.reader.post("/v1/text/steer", json={**body, "doses": [1000.0]})
        assert alone.status_code == 422 and "too strong" in alone.json()["detail"]


def test_a_frequency_penalty_lowers_what_the_answer_has(site: Site, samples: SampleArtifacts, loud: int) -> None:
    client = _openai(site)
    options: dict[str, Any] = {"model": str(MODEL), "prompt": TEXT, "max_tokens": 24, "temperature": 0}
    texts = [client.completions.create(**options, frequency_penalty=penalty).choices[0].text for penalty in (-2, 0, 2)]
    assert len(set(texts[0].split())) < len(set(texts[2].split()))
    distinct = [
        len(set(site.reader.post("/v1/text/steer", json=body).json()["unsteered"]["ids"]))
        for body in (_body(samples, loud, max_tokens=24, frequency_penalty=penalty) for penalty in (-2, 0, 2))
    ]
    assert distinct[0] < distinct[1] < distinct[2]


def test_openais_client_streams(site: Site, samples: SampleArtifacts, loud: int) -> None:
    client = _openai(site)
    options: dict[str, Any] = {
        "model": str(MODEL), "prompt": TEXT, "max_tokens": 6, "temperature": 0.8, "seed": 3,
        "extra_body": {"interventions": _body(samples, loud)["interventions"]},
    }  # fmt: skip
    whole = client.completions.create(**options)
    chunks = list(client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage == whole.usage


def test_a_text_to_stop_at_is_never_sent(site: Site, samples: SampleArtifacts) -> None:
    client = _openai(site)
    whole = client.completions.create(model=str(MODEL), prompt=TEXT, max_tokens=12, temperature=0).choices[0].text
    stop = whole[4:8]
    end = whole.index(stop)
    for stream in (False, True):
        answer = client.completions.create(
            model=str(MODEL), prompt=TEXT, max_tokens=12, temperature=0, stop=[stop], stream=stream
        )
        parts = list(answer) if stream else [answer]
        assert "".join(part.choices[0].text for part in parts) == whole[:end]
        assert parts[-1].choices[0].finish_reason == "stop"


def test_what_openais_client_cannot_have_is_refused_in_its_own_error(site: Site, samples: SampleArtifacts) -> None:
    client = _openai(site)
    with pytest.raises(openai.UnprocessableEntityError, match="presence_penalty"):
        client.completions.create(model=str(MODEL), prompt=TEXT, presence_penalty=1.0)
    with pytest.raises(openai.UnprocessableEntityError, match="no chat template"):
        client.chat.completions.create(model=str(MODEL), messages=[{"role": "user", "content": "hello"}])
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="models/" + "9" * 16, prompt=TEXT)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{site.url}/v1", api_key="x", max_retries=0).completions.create(
            model=str(MODEL), prompt="x"
        )
