"""From files to tokens on a running cluster, by HTTP and by the command line: every format, an upload, and chats."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.text_formats import TEXT_FORMATS
from serve_app.upload_client import Sender
from tests.running_cluster import RunningCluster

CHATS = [[{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": "answer"}] for i in range(8)]
MALFORMED = [{"role": "narrator", "content": "who is this"}]


def write_formats(folder: Path) -> dict[str, str]:
    """A file of every format, with one document each; its text by the file's name."""
    folder.mkdir()
    texts = {f"{ending}.{ending}": f"words of {ending}" for ending in TEXT_FORMATS}
    for name, text in texts.items():
        path, rows = folder / name, [{"text": text}]
        match path.suffix[1:]:
            case "parquet":
                pq.write_table(pa.Table.from_pylist(rows), path)
            case "arrow":
                table = pa.Table.from_pylist(rows)
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table)
            case "jsonl" | "ndjson":
                path.write_text(json.dumps(rows[0]) + "\n")
            case "json":
                path.write_text(json.dumps(rows))
            case "csv" | "tsv":
                path.write_text(f"text\n{text}\n")
            case "tar":
                with tarfile.open(path, "w") as archive:
                    member = tarfile.TarInfo("a.txt")
                    member.size = len(text)
                    archive.addfile(member, io.BytesIO(text.encode()))
            case _:
                path.write_text(text)
    return texts


def mixture(upload: str, chats: str, model: dict[str, Any], seed: int) -> dict[str, Any]:
    """Tokens of both datasets; `seed` of the held-out choice of the upload, so that each request makes its own."""
    dataset, split = {"stage": "download", "what": "dataset"}, {"heldout_fraction": 0.3}
    source = {"type": "upload", "upload": upload, "files": ["**/*", "*"]}
    return {
        "stage": "tokenize", "model": model, "context_length": 32, "packing": "off", "weights": [1, 1],
        "dataset": {**dataset, "source": source, "dataset": {**split, "heldout_seed": seed}},
        "other_datasets": [
            {**dataset, "source": {"type": "local", "path": chats}, "dataset": {**split, "malformed_chats": "skip"}}
        ],
    }  # fmt: skip


def check(api: httpx2.Client, tokens: str, texts: dict[str, str]) -> None:
    found = api.get(f"/v1/{tokens}").raise_for_status().json()
    assert found["statistics"]["documents"] == len(texts) + len(CHATS)
    assert found["statistics"]["speakers"]["assistant"] > 0
    inputs = {
        name: api.get(f"/v1/{name}").raise_for_status().json()
        for name in found["inputs"].values()
        if "datasets" in name
    }
    assert sum(one["summary"]["malformed_chats"] for one in inputs.values()) == 1
    documents = api.get(f"/v1/{found['inputs']['dataset']}/samples").raise_for_status().json()
    assert sorted(item["text"] for item in documents["items"]) == sorted(texts.values())


@pytest.mark.timeout(400)
def test_every_format_an_upload_and_chats(running_cluster: RunningCluster, tiny_gpt2: Path, tmp_path: Path) -> None:
    texts = write_formats(tmp_path / "formats")
    data = running_cluster.home / "data"
    data.mkdir(exist_ok=True)
    shutil.copytree(tiny_gpt2, data / "tiny", dirs_exist_ok=True)
    lines = [json.dumps({"messages": chat}) for chat in (*CHATS[:3], MALFORMED, *CHATS[3:])]
    (data / "chats.jsonl").write_text("\n".join(lines))
    model = {"stage": "download", "what": "model", "source": {"type": "local", "path": "tiny"}}
    headers = {"Authorization": f"Bearer {running_cluster.token}"}
    with httpx2.Client(base_url=running_cluster.url, headers=headers, timeout=150, trust_env=False) as api:
        sent = Sender(api).send([tmp_path / "formats"])["id"]
        accepted = api.post("/v1/jobs", json={"config": mixture(sent, "chats.jsonl", model, 1)})
        assert accepted.status_code == 202, accepted.text
        (token := tmp_path / "token").touch(mode=0o600)
        token.write_text(running_cluster.token)
        where = ("--url", running_cluster.url, "--token-file", str(token))
        by_command = running_cluster.run("serve_app", "upload", str(tmp_path / "formats"), *where)
        assert by_command.returncode == 0, by_command.stderr
        upload = json.loads(by_command.stdout)["upload"]
        there = {**model, "source": {"type": "local", "path": str(data / "tiny")}}
        (tmp_path / "tokens.json").write_text(json.dumps(mixture(upload, str(data / "chats.jsonl"), there, 2)))
        ran = running_cluster.run("jobs", "tokenize", "--config", str(tmp_path / "tokens.json"))
        assert ran.returncode == 0, ran.stderr
        # The request by HTTP came first, and jobs start in order: what the command waited for is behind it.
        while (job := api.get(accepted.headers["location"]).json())["state"] in ("QUEUED", "WAITING", "RUNNING"):
            api.get(f"{accepted.headers['location']}/events", params={"wait_s": 5})
        assert job["state"] == "SUCCEEDED", job
        for tokens in (accepted.json()["artifacts"][0], json.loads(ran.stdout)["artifacts"][0]):
            check(api, tokens, texts)
