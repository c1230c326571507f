"""Asking for jobs: what is made, what an equal request gets, what is refused; cancelling and resuming."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import ValidationError

from configs.stages import STAGES, StageEntry
from serve_app.schemas.common import SubmitRequest
from serve_app.schemas.requests import JobRequest, stage_request
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import DATASET, MODEL, TOKENS, SampleArtifacts


def tokenization(**more: Any) -> dict[str, Any]:
    return {"dataset": str(DATASET), "model": str(MODEL), "context_length": 32, **more}


def test_a_tokenization_is_asked_for_once(site: Site) -> None:
    first = site.writer.post("/v1/tokens", json=tokenization(seed=1, name="once", tags=["t"], notes="n"))
    assert first.status_code == 202
    body = first.json()
    job = site.reader.get(first.headers["location"]).raise_for_status().json()
    assert job == {**job, **{k: v for k, v in body["job"].items() if k != "progress"}}
    assert (job["state"], job["name"], job["tags"], job["notes"]) == ("QUEUED", "once", ["t"], "n")
    assert job["created_by"] == "api:writer"
    assert job["config"]["return_attention_mask"] is True, "on by default in requests"
    assert body["artifacts"] == job["artifacts"] == [f"tokens/{body['artifacts'][0].partition('/')[2]}"]
    again = site.writer.post("/v1/tokens", json=tokenization(seed=1)).json()
    assert (again["job"]["id"], again["created"], body["created"]) == (job["id"], False, True)
    assert [j["id"] for j in site.reader.get("/v1/jobs", params={"name": "once"}).json()["items"]] == [job["id"]]
    taken = site.writer.post("/v1/tokens", json=tokenization(seed=2, name="once"))
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")


def test_special_tokens_reach_the_stage(site: Site) -> None:
    body = site.writer.post("/v1/tokens", json=tokenization(add_special_tokens=False)).json()
    config = site.reader.get(f"/v1/jobs/{body['job']['id']}").json()["config"]
    assert (config["bos"], config["separator"]) == ("never", "none")
    wrong = site.writer.post("/v1/tokens", json=tokenization(add_special_tokens=False, bos="always"))
    assert wrong.status_code == 422
    assert "add_special_tokens" in wrong.json()["detail"]


@pytest.mark.parametrize(
    "entry", [entry for entry in STAGES.values() if entry.name != "download"], ids=lambda e: e.name
)
def test_a_request_takes_every_option_of_its_stage(entry: StageEntry) -> None:
    """Its config is the one that a YAML file with the same keys gives."""
    request = stage_request(entry)
    assert set(entry.config.model_fields) <= set(request.model_fields)
    assert not set(entry.config.model_fields) & set(SubmitRequest.model_fields)
    for body in request.model_config.get("json_schema_extra", {}).get("examples", []):
        config = request.model_validate({**body, "name": "x", "wait_s": 5.0}).stage_config()
        assert config == entry.config.model_validate(body)
        assert config.model_fields_set == set(body)


def test_the_documented_example_of_any_job_is_one(site: Site) -> None:
    (body,) = JobRequest.model_config["json_schema_extra"]["examples"]  # type: ignore[index, call-overload]
    config = JobRequest.model_validate(body).stage_config()
    assert config.model_dump(mode="json", exclude_unset=True) == body["config"]
    answer = site.writer.post("/v1/jobs/check", json=body)
    assert answer.json()["code"] == "source_error", answer.text  # all of it is understood, up to the hub, which is away


def test_requests_name_their_inputs_by_reference() -> None:
    tokens = stage_request(STAGES["tokenize"])
    mixed = {"dataset": "datasets/" + "0" * 16, "model": "models/" + "0" * 16, "weights": [1, 2]}
    second = "datasets/" + "1" * 16
    assert tokens.model_validate({**mixed, "other_datasets": [second]}).stage_config().other_datasets == (second,)
    for wrong in ("models/" + "0" * 16, {"stage": "download", "what": "dataset"}):
        with pytest.raises(ValidationError):
            tokens.model_validate({**mixed, "other_datasets": [wrong]})
    sae = stage_request(STAGES["evaluate"])
    assert sae.model_validate({"sae": "saes/" + "0" * 16}).stage_config().science()["sae"] == "saes/" + "0" * 16
    for wrong in ("models/" + "0" * 16, "saes/x", {"stage": "train"}, "train.yaml"):
        with pytest.raises(ValidationError):
            sae.model_validate({"sae": wrong})


def test_foreign_saes_come_in_and_ours_go_out(site: Site, samples: SampleArtifacts) -> None:
    """An import from a data folder of the server, never from elsewhere; an export whose archive is then downloaded."""
    root = site.app.state.api.settings.data_roots[0]
    folder = root / "run" / "h.1"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cfg.json", "sae.safetensors"):
        (folder / name).write_text(name)
    body = {
        "source": {"type": "local", "path": "run"},
        "format": "sparsify",
        "model": str(MODEL),
        "tokens": str(TOKENS),
    }
    accepted = site.writer.post("/v1/saes/import", json=body)
    assert accepted.status_code == 202
    assert (accepted.json()["job"]["stage"], accepted.json()["artifacts"][0][:5]) == ("import", "saes/")
    for wrong, code in (
        ({**body, "source": {"type": "local", "path": "/etc"}}, "path_not_allowed"),
        ({**body, "format": "saelens"}, "source_error"),
        ({**body, "format": "pickle"}, "invalid_request"),
    ):
        refused = site.writer.post("/v1/saes/import", json=wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
    export = site.writer.post("/v1/exports", json={"sae": str(samples.sae), "format": "sparsify"})
    assert export.status_code == 202
    assert (export.json()["job"]["stage"], export.json()["artifacts"][0][:8]) == ("export", "exports/")
    assert site.writer.post("/v1/exports", json={"sae": str(samples.sae), "format": "neuronpedia"}).status_code == 422


def test_a_training_is_planned_before_it_is_asked_for(site: Site) -> None:
    """A reader may do so: nothing is recorded."""
    sae = {"hook": "blocks.1.hook_resid_post", "architecture": "topk", "d_sae": 40, "k": 20}
    body = {"model": str(MODEL), "tokens": str(TOKENS), "rows": 24, "batch_rows": 8, "saes": [sae]}
    before = site.reader.get("/v1/jobs").json()["items"]
    plan = site.reader.post("/v1/saes/plan", json=body).raise_for_status().json()
    assert (plan["missing"], plan["rows"], plan["steps"]) == ([], 24, 3)
    assert plan["tokens"] == 24 * plan["context_length"] and plan["memory_bytes"] > 0 and plan["flops"]["total"] > 0
    assert any("40 latents are fewer than the 48 dimensions" in text for text in plan["warnings"])
    assert site.reader.get("/v1/jobs").json()["items"] == before
    refused = site.reader.post("/v1/saes/plan", json={**body, "rows": 5000})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    absent = {**body, "tokens": f"tokens/{'7' * 16}"}
    assert site.reader.post("/v1/saes/plan", json=absent).json()["missing"] == [absent["tokens"]]


def test_what_is_there_is_not_made_again(site: Site, samples: SampleArtifacts) -> None:
    """A request for an artifact that exists ends at once, whoever made it."""
    body = {"sae": str(samples.sae), "rows": 26, "top_examples": 5, "quantiles": 2, "quantile_examples": 2}
    found = site.writer.post("/v1/features", json={**body, "uniform_examples": 3})
    assert found.status_code == 202, found.text
    assert found.json()["artifacts"] == [str(samples.features)]


def test_a_hundred_requests_with_one_key_make_one_job(site: Site) -> None:
    body, key = tokenization(seed=100), str(uuid.uuid4())
    before = len(site.catalog.jobs(limit=1000))

    def post(_: int) -> tuple[int, str]:
        response = site.writer.post("/v1/tokens", json=body, headers={"Idempotency-Key": key})
        return response.status_code, response.json()["job"]["id"]

    with ThreadPoolExecutor(100) as threads:
        answers = set(threads.map(post, range(100)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 202
    assert len(site.catalog.jobs(limit=1000)) == before + 1
    other = site.writer.post("/v1/tokens", json=tokenization(seed=101), headers={"Idempotency-Key": key})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    elsewhere = site.writer.post(
        "/v1/datasets", json={"source": {"type": "hub", "repo": "a/b"}}, headers={"Idempotency-Key": key}
    )
    assert elsewhere.status_code == 409
    again = site.writer.post("/v1/tokens", json=body, headers={"Idempotency-Key": key})
    assert again.headers["idempotent-replayed"] == "true"
    _, text = site.tokens.create("another", ["write"])
    theirs = site.anonymous.post(
        "/v1/tokens", json=tokenization(seed=102), headers={"Idempotency-Key": key, "Authorization": f"Bearer {text}"}
    )
    assert theirs.status_code == 202, "keys of different tokens are apart"


def test_a_refused_request_leaves_its_key_free(site: Site) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    missing = tokenization(dataset="datasets/" + "0" * 16)
    refused = site.writer.post("/v1/tokens", json=missing, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "missing_input")
    assert site.writer.post("/v1/tokens", json=tokenization(seed=3), headers=headers).status_code == 202


def test_what_can_never_fit_is_refused_with_need_and_offer(site: Site) -> None:
    before = len(site.catalog.jobs(limit=1000))
    body = tokenization(seed=4, resources={"workers": 3, "memory": 3 << 30})
    refused = site.writer.post("/v1/tokens", json=body)
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["stage"]) == (409, "cannot_fit", "tokenize")
    assert problem["requirement"]["workers"] == 3
    assert problem["requirement"]["memory"] == 3 << 30
    assert problem["capacity"][0]["cpus"] == 2
    assert problem["largest_workers"] == 1
    assert "there is 1 node" in problem["detail"]
    assert len(site.catalog.jobs(limit=1000)) == before, "nothing is recorded"
    gpus = site.writer.post("/v1/saes", json={"model": str(MODEL), "tokens": str(TOKENS), "profile": "gpu",
                                              "saes": [{"hook": "blocks.1.hook_resid_post", "d_sae": 64, "k": 4}]})  # fmt: skip
    assert gpus.json()["largest_workers"] == 0


def test_a_pipeline_is_one_request(site: Site) -> None:
    tokens = {"stage": "tokenize", "dataset": str(DATASET), "model": str(MODEL), "context_length": 24}
    train = {"stage": "train", "model": str(MODEL), "tokens": tokens, "batch_rows": 2, "lanes": 1,
             "saes": [{"hook": "blocks.1.hook_resid_post", "d_sae": 64, "k": 4}]}  # fmt: skip
    config = {"stage": "pipeline", "stages": [tokens, train]}
    body = site.writer.post("/v1/jobs", json={"config": config}).raise_for_status().json()
    jobs = {job: site.reader.get(f"/v1/jobs/{job}").json() for job in body["jobs"]}
    assert [jobs[job]["stage"] for job in body["jobs"]] == ["tokenize", "train", "pipeline"]
    assert {jobs[job]["parent"] for job in body["jobs"][:-1]} == {body["job"]["id"]}
    listed = site.reader.get("/v1/jobs", params={"parent": body["job"]["id"]}).json()["items"]
    assert {job["id"] for job in listed} == set(body["jobs"][:-1])


def test_cancel_and_resume(site: Site) -> None:
    body = site.writer.post("/v1/tokens", json=tokenization(seed=5)).json()
    path = f"/v1/jobs/{body['job']['id']}"
    assert site.writer.post(f"{path}/resume").json()["code"] == "illegal_move", "it has not ended"
    assert site.writer.post(f"{path}/cancel", params={"how": "stop"}).json()["state"] == "CANCELLED"
    assert site.writer.post(f"{path}/cancel").json()["code"] == "illegal_move", "it has ended"
    resumed = site.writer.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["state"], resumed.json()["attempt"]) == (202, "QUEUED", 2)
    assert [attempt["number"] for attempt in site.reader.get(path).json()["attempts"]] == [1, 2]
    site.writer.post(f"{path}/cancel")
    assert site.writer.patch(path, json={"name": "kept"}).json()["name"] == "kept"
    assert site.writer.patch(path, json={}).status_code == 422


def test_jobs_are_paged_in_the_order_of_submission(site: Site) -> None:
    for seed in range(10, 17):
        site.writer.post("/v1/tokens", json=tokenization(seed=seed, tags=["paged"])).raise_for_status()
    seen: list[str] = []
    cursor = None
    while True:
        query = {"tag": "paged", "limit": 3, **({"cursor": cursor} if cursor else {})}
        page = site.reader.get("/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7
    states = site.reader.get("/v1/jobs", params={"tag": "paged", "state": ["RUNNING", "FAILED"]}).json()["items"]
    assert states == []


def test_logs_are_read_in_parts_without_paths_or_frames(site: Site) -> None:
    job = site.writer.post("/v1/tokens", json=tokenization(seed=6)).json()["job"]["id"]
    assert site.reader.get(f"/v1/jobs/{job}/log").text == ""
    folder = site.home / "logs"
    folder.mkdir(exist_ok=True)
    lines = ["12:00:00 tokenize starts on /srv/secret/place\n", "Traceback (most recent call last):\n",
             '  File "/srv/secret/code.py", line 3, in run\n', "    raise ValueError(path)\n", "ValueError: bad é\n",
             "12:00:01 tokens/s 3\n"]  # fmt: skip
    (folder / f"{job}.log").write_text("".join(lines))
    text = site.reader.get(f"/v1/jobs/{job}/log").text
    assert text == "12:00:00 tokenize starts on …/place\nValueError: bad é\n12:00:01 tokens/s 3\n"
    part = site.reader.get(f"/v1/jobs/{job}/log", params={"offset": 0, "bytes": 60})
    rest = site.reader.get(f"/v1/jobs/{job}/log", params={"offset": part.headers["x-next-offset"]})
    assert part.text == "12:00:00 tokenize starts on …/place\n"
    assert "12:00:01" in rest.text
    for offset in range(0, 150, 10):
        inside = site.reader.get(f"/v1/jobs/{job}/log", params={"offset": offset, "bytes": 400}).text
        assert "code.py" not in inside, "a part that begins inside a traceback"
    for most in (1, 8, 33):
        assert _in_parts(site, job, most) == text, "whole lines, however little is asked for"
    with (folder / f"{job}.log").open("a") as log:
        log.write("x" * (1 << 17) + " /srv/secret/long\n" + "cut off at /srv/secret/end")
    assert "cut off" not in _in_parts(site, job, 4096), "it may go on"
    site.writer.post(f"/v1/jobs/{job}/cancel")
    whole = site.reader.get(f"/v1/jobs/{job}/log/stream").text
    assert whole.startswith(text)
    assert whole.endswith("cut off at …/end"), "what a driver said last that was killed"
    assert "secret" not in whole
    assert _in_parts(site, job, 4096).endswith("cut off at …/end")


def _in_parts(site: Site, job: str, most: int) -> str:
    text, offset = "", 0
    while True:
        part = site.reader.get(f"/v1/jobs/{job}/log", params={"offset": offset, "bytes": most})
        if int(part.headers["x-next-offset"]) == offset:
            return text
        text, offset = text + part.text, int(part.headers["x-next-offset"])


def test_a_key_holds_though_the_source_has_gone(site: Site) -> None:
    source = site.home / "data" / "goes.txt"
    source.write_text("a document\n")
    request = {"source": {"type": "local", "path": "goes.txt"}}
    headers = {"Idempotency-Key": "goes"}
    first = site.writer.post("/v1/datasets", json=request, headers=headers)
    source.unlink()
    again = site.writer.post("/v1/datasets", json=request, headers=headers)
    assert (again.status_code, again.json()["job"]["id"]) == (202, first.json()["job"]["id"])
    assert again.headers["idempotent-replayed"] == "true"
    assert site.writer.post("/v1/datasets", json=request).json()["code"] == "source_not_found"
