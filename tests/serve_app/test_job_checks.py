"""What a request would come to, said before it is submitted; the same as what submitting it then does."""

from __future__ import annotations

from typing import Any

from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import DATASET, MODEL, TOKENS, SampleArtifacts


def check(site: Site, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """As a reader: it changes nothing."""
    found: dict[str, Any] = (
        site.reader.post("/v1/jobs/check", json={"config": config, **more}).raise_for_status().json()
    )
    return found


def tokenize(**more: Any) -> dict[str, Any]:
    return {"stage": "tokenize", "dataset": str(DATASET), "model": str(MODEL), "context_length": 40, **more}


def test_a_check_names_what_submitting_makes_and_records_nothing(site: Site) -> None:
    before = site.reader.get("/v1/jobs").json()["items"]
    found = check(site, tokenize())
    assert site.reader.get("/v1/jobs").json()["items"] == before
    assert (found["existing"], found["job"], found["plan"]) == ([], None, None)
    (step,) = found["steps"]
    assert (step["stage"], step["requirement"]["workers"]) == ("tokenize", 1)
    assert "1 node" in step["capacity"] and found["disk_bytes"] > 0
    body = {key: value for key, value in tokenize().items() if key != "stage"}
    accepted = site.writer.post("/v1/tokens", json=body).json()
    again = check(site, tokenize())
    assert found["artifacts"] == again["artifacts"] == accepted["artifacts"]
    assert again["job"] == accepted["job"]["id"]


def test_what_exists_already_is_named(site: Site, samples: SampleArtifacts) -> None:
    config = {"stage": "extract", "sae": str(samples.sae), "rows": 26, "top_examples": 5, "quantiles": 2}
    found = check(site, {**config, "quantile_examples": 2, "uniform_examples": 3})
    assert found["artifacts"] == found["existing"] == [str(samples.features)]
    assert (found["fits"], found["steps"]) == ("fits", [])


def test_what_can_never_run_says_what_it_needs_and_what_there_is(site: Site) -> None:
    found = check(site, tokenize(resources={"workers": 3, "memory": 3 << 30}))
    (step,) = found["steps"]
    assert (found["fits"], step["fits"], step["largest_workers"]) == ("can_never_fit", "can_never_fit", 1)
    assert "3 workers" in step["requires"] and "1 node" in step["capacity"]
    assert step["suggestion"] and len(step["reason"]) < 500
    refused = site.writer.post(
        "/v1/tokens",
        json={"dataset": str(DATASET), "model": str(MODEL), "resources": {"workers": 3, "memory": 3 << 30}},
    )
    assert refused.json()["code"] == "cannot_fit"


def test_a_training_is_checked_with_its_inputs_and_its_plan(site: Site) -> None:
    sae = {"hook": "blocks.1.hook_resid_post", "architecture": "topk", "d_sae": 64, "k": 4}
    config = {"stage": "train", "model": str(MODEL), "rows": 24, "batch_rows": 8, "saes": [sae]}
    plan = check(site, {**config, "tokens": str(TOKENS)})["plan"]
    assert (plan["missing"], plan["steps"]) == ([], 3)
    both = check(site, {**config, "tokens": tokenize(context_length=44)})
    assert [step["stage"] for step in both["steps"]] == ["tokenize", "train"]
    assert both["plan"]["missing"] and both["disk_bytes"] is None
    absent = {"config": {**config, "tokens": f"tokens/{'7' * 16}"}}
    refused = site.reader.post("/v1/jobs/check", json=absent)
    assert (refused.status_code, refused.json()["code"]) == (422, "missing_input")
