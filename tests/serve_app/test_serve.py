"""The application under Ray Serve on a running cluster: its own guard, one job for one key, streams over killed replicas."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serve_app.upload_client import Sender
from tests.running_cluster import RunningCluster
from tests.serve_app.following import client, killed
from tests.serve_app.sample_artifacts import DATASET, MODEL, SampleArtifacts
from tests.serve_app.served import Served, wait_until


@pytest.fixture(scope="module")
def site(running_cluster: RunningCluster, samples: SampleArtifacts) -> Served:
    """The running cluster, with one artifact of each kind in its store."""
    shutil.copytree(samples.store.url, running_cluster.store.url, dirs_exist_ok=True)
    samples.record(running_cluster.catalog)
    head = psutil.Process(running_cluster.head_pid())
    return Served(
        running_cluster.url, running_cluster.home, running_cluster.catalog, samples, running_cluster.token, head
    )


def test_the_same_answers_as_without_serve(site: Served) -> None:
    with client(site) as http, httpx2.Client(base_url=site.url, trust_env=False) as anonymous:
        assert anonymous.get("/v1/jobs").status_code == 401
        assert anonymous.get("/v1/ready").json() == {"ready": True, "catalog": True, "store": True, "dispatcher": True}
        assert http.get("/v1/jobs", headers={"Host": "evil.example"}).status_code == 421
        assert http.get("/v1/jobs", headers={"Origin": "null"}).status_code == 403
        assert http.put("/v1/jobs").headers["allow"] == "GET, POST"
        assert http.get("/v1/nothing").json()["code"] == "not_found"
        assert http.post("/v1/jobs", content=b"x" * (2 << 20)).status_code == 413
        archive = http.get(f"/v1/saes/{site.samples.sae.id}/archive")
        assert len(archive.content) == int(archive.headers["content-length"])
        assert anonymous.get("/-/routes").json() == {"/": "api"}, "all that Serve's own paths say"
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {site.token}", "Origin": "null"}, 403)):
        with pytest.raises(InvalidStatus) as refused:
            connect(site.url.replace("http", "ws") + "/v1/events/ws", additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == status


def test_features_on_a_text_through_the_application_of_their_own(site: Served) -> None:
    with client(site) as http:
        request = {"sae": str(site.samples.sae), "text": "The captain steers the grey boat.", "top": 3}
        found = http.post("/v1/text/features", json=request, timeout=150).raise_for_status().json()
        assert len(found["top"]) == 3
        assert found["tokens"][0]["role"] == "bos"
        absent = {"sae": str(site.samples.sae), "text": "x", "latents": [4096]}
        assert http.post("/v1/text/features", json=absent).json()["code"] == "invalid_request"


def test_a_hundred_requests_with_one_key_make_one_job_whichever_replica_has_them(site: Served) -> None:
    body = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 32, "seed": 902}

    def submit(_: int) -> tuple[int, str]:
        with client(site) as http:
            answer = http.post("/v1/tokens", json=body, headers={"Idempotency-Key": "hundred"})
            return answer.status_code, answer.json()["job"]["id"]

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(submit, range(100)))
    ((status, job),) = answers
    assert status == 202
    assert len(site.catalog.attempts(job)) == 1


def test_nothing_is_lost_when_replicas_are_killed(site: Served) -> None:
    kills = 2
    found = killed(site, "/v1/jobs?limit=5", kills)
    assert found.lost == 0, "each event once, in order"
    assert found.connections >= 2, "at least one follower was on a replica that died"
    # A request that was on the replica when it died has no answer: of four clients that is four a kill at most.
    assert len(found.failures) <= kills * 4, found.failures


def test_an_upload_goes_on_when_replicas_are_killed(site: Served, tmp_path: Path) -> None:
    data = random.Random(7).randbytes(24 << 20)
    (tmp_path / "a.bin").write_bytes(data)
    found: list[dict[str, Any]] = []

    def send() -> None:
        with client(site) as http:
            http.event_hooks = {"request": [lambda request: time.sleep(0.15)]}  # time for two kills
            found.append(Sender(http, piece=256 << 10, pause_s=0.2).send([tmp_path / "a.bin"], "over kills"))

    sending = threading.Thread(target=send)
    replicas = len(site.ready())
    with client(site) as http:
        sending.start()
        for kill in range(2):
            wait_until(lambda kill=kill: come(http) > (kill + 1) << 22, 60, "more of the upload")
            victim = site.pids()[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(
                lambda victim=victim: len(set(site.ready()) - {victim}) == replicas, 120, "a replica in its place"
            )
        sending.join(120)
    assert found and found[0]["state"] == "finished"
    assert [file["sha256"] for file in found[0]["files"]] == [hashlib.sha256(data).hexdigest()]


def come(http: httpx2.Client) -> int:
    """Bytes of the newest upload; 0 while the replica that was asked is dead."""
    try:
        items = http.get("/v1/uploads").json()["items"]
    except (httpx2.HTTPError, ValueError, KeyError):
        return 0
    return int(items[0]["bytes"]) if items else 0
