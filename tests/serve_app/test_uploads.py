"""Uploads over HTTP: in pieces, over cuts, to a dataset; and what is refused."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from serve_app.__main__ import main
from serve_app.upload_client import Sender, UploadFailed
from tests.serve_app.conftest import Site

LINES = b"".join(b'{"text": "document %d"}\n' % i for i in range(100))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def create(site: Site, **body: Any) -> str:
    response = site.writer.post("/v1/uploads", json=body)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v1/uploads/{response.json()['id']}"
    return str(response.json()["id"])


def send(site: Site, id: str, name: str, data: bytes, offset: int = 0) -> httpx2.Response:
    return site.writer.patch(f"/v1/uploads/{id}/files/{name}", content=data, headers={"Upload-Offset": str(offset)})


def finish(site: Site, id: str, **files: bytes) -> httpx2.Response:
    hashes = {name: sha256(data) for name, data in files.items()}
    return site.writer.post(f"/v1/uploads/{id}/finish", json={"files": hashes})


def test_a_file_in_two_pieces_becomes_a_dataset(site: Site) -> None:
    id = create(site, name="news")
    first = send(site, id, "data/a.jsonl", LINES[:1000])
    assert (first.status_code, first.json(), first.headers["upload-offset"]) == (
        200, {"name": "data/a.jsonl", "bytes": 1000}, "1000",
    )  # fmt: skip
    assert send(site, id, "data/a.jsonl", LINES[1000:], 1000).json()["bytes"] == len(LINES)
    shown = site.reader.get(f"/v1/uploads/{id}").json()
    assert (shown["name"], shown["state"], shown["bytes"], shown["created_by"]) == (
        "news",
        "open",
        len(LINES),
        "api:writer",
    )
    assert shown["files"] == [{"name": "data/a.jsonl", "bytes": len(LINES), "sha256": None}]
    early = site.writer.post("/v1/datasets", json={"source": {"type": "upload", "upload": id}})
    assert (early.status_code, "is not finished" in early.json()["detail"]) == (422, True)
    done = finish(site, id, **{"data/a.jsonl": LINES})
    assert (done.status_code, done.json()["state"], done.json()["files"][0]["sha256"]) == (
        200,
        "finished",
        sha256(LINES),
    )
    (site.home / "data" / "data").mkdir(exist_ok=True)
    (site.home / "data" / "data" / "a.jsonl").write_bytes(LINES)
    answers = [
        site.writer.post("/v1/datasets", json={"source": source, "options": {"heldout_fraction": 0.25}})
        for source in ({"type": "upload", "upload": id, "files": ["data/*"]}, {"type": "upload", "upload": id})
    ]
    assert [answer.status_code for answer in answers] == [202, 202], answers[0].text
    assert answers[0].json()["artifacts"] == answers[1].json()["artifacts"]
    refused = site.writer.delete(f"/v1/uploads/{id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert refused.json()["referrers"] == [answers[0].json()["job"]["id"]]
    site.writer.post(f"/v1/jobs/{answers[0].json()['job']['id']}/cancel")


def test_a_connection_that_is_cut_loses_nothing_that_came(site: Site) -> None:
    id, data = create(site), random.Random(1).randbytes(3 << 20)
    parts = urlsplit(site.url)
    head = (
        f"PATCH /v1/uploads/{id}/files/a.bin HTTP/1.1\r\nHost: {parts.netloc}\r\nUpload-Offset: 0\r\n"
        f"Authorization: {site.writer.headers['Authorization']}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + data[: 2 << 20])
    deadline = time.monotonic() + 20
    while (come := files_of(site, id).get("a.bin", 0)) < 2 << 20:
        assert time.monotonic() < deadline, come
        time.sleep(0.05)
    wrong = retry(lambda: send(site, id, "a.bin", data))
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["offset"]) == (409, "wrong_offset", come)
    assert wrong.headers["upload-offset"] == str(come)
    assert send(site, id, "a.bin", data[come:], come).json()["bytes"] == len(data)
    assert finish(site, id, **{"a.bin": data}).status_code == 200


def files_of(site: Site, id: str) -> dict[str, int]:
    return {file["name"]: file["bytes"] for file in site.reader.get(f"/v1/uploads/{id}").json()["files"]}


def retry(request: Any) -> httpx2.Response:
    """The server may be about to notice that the connection before is gone."""
    deadline = time.monotonic() + 20
    while True:
        response: httpx2.Response = request()
        if response.json().get("code") != "upload_busy" or time.monotonic() > deadline:
            return response
        time.sleep(0.05)


def test_what_is_refused(site: Site) -> None:
    id = create(site)
    limit = site.app.state.api.settings.piece_bytes
    assert send(site, id, "a.txt", bytes(limit + 1)).status_code == 413
    assert site.writer.post(f"/v1/uploads/{id}/finish", content=b"x" * (2 << 20)).status_code == 413
    for name in ("a%5Cb", ".hidden", "x" * 300, "a%09b"):
        answer = send(site, id, name, b"x")
        assert (answer.status_code, answer.json()["code"]) == (422, "name_not_allowed"), name
    assert send(site, id, "..%2F..%2Fx", b"x").status_code == 404
    assert site.writer.patch(f"/v1/uploads/{id}/files/a.txt", content=b"x").status_code == 422
    assert send(site, id, "a.txt", b"x", -1).status_code == 422
    assert finish(site, id).json()["code"] == "invalid_request"
    assert finish(site, id, b=b"x").json()["code"] == "wrong_files"
    assert send(site, id, "a.txt", b"text").status_code == 200
    assert finish(site, id, **{"a.txt": b"test"}).json()["code"] == "wrong_hash"
    assert site.writer.delete(f"/v1/uploads/{id}/files/a.txt").status_code == 204
    assert send(site, id, "a.txt", b"test").status_code == 200
    assert finish(site, id, **{"a.txt": b"test"}).status_code == 200
    again = send(site, id, "a.txt", b"x", 4)
    assert (again.status_code, again.json()["code"]) == (409, "upload_finished")
    for method in ("GET", "DELETE"):
        assert site.writer.request(method, f"/v1/uploads/{'0' * 16}").status_code == 404
    assert site.writer.post("/v1/datasets", json={"source": {"type": "upload", "upload": "x"}}).status_code == 422
    missing = site.writer.post("/v1/datasets", json={"source": {"type": "upload", "upload": "0" * 16}})
    assert (missing.status_code, str(site.home) in missing.text) == (422, False)


def test_the_scope_read_lists_uploads_and_changes_none(site: Site) -> None:
    id = create(site)
    for method, path in (("POST", ""), ("PATCH", f"/{id}/files/a"), ("POST", f"/{id}/finish"), ("DELETE", f"/{id}"),
                         ("DELETE", f"/{id}/files/a")):  # fmt: skip
        assert site.reader.request(method, f"/v1/uploads{path}").status_code == 403, (method, path)
    assert site.reader.get(f"/v1/uploads/{id}").status_code == 200


def test_the_list_goes_page_by_page(site: Site) -> None:
    made = [create(site, name=f"upload {i}") for i in range(5)]
    found: list[str] = []
    cursor = ""
    while len(found) < 5:
        page = site.reader.get("/v1/uploads", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert found[:5] == made[::-1]
    assert site.writer.delete(f"/v1/uploads/{made[0]}").status_code == 204
    assert site.reader.get(f"/v1/uploads/{made[0]}").status_code == 404


class Cuts(httpx2.BaseTransport):
    """A network that breaks: before a request is sent, or before its answer comes, or with an answer of a proxy."""

    def __init__(self, seed: int) -> None:
        self._inner = httpx2.HTTPTransport()
        self._draw = random.Random(seed)
        self.faults = self._in_turn = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        fault = self._draw.choice(["none", "before", "after", "503"])
        if self.faults == 20 or self._in_turn == 5:
            fault = "none"
        self._in_turn = 0 if fault == "none" else self._in_turn + 1
        self.faults += fault != "none"
        if fault == "before":
            raise httpx2.ConnectError("cut before")
        if fault == "503":
            return httpx2.Response(503, text="no replica is ready")
        response = self._inner.handle_request(request)
        if fault == "after":
            response.read()
            response.close()
            raise httpx2.ReadError("cut after")
        return response

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_client_goes_on_over_cuts(site: Site, tmp_path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(300_000)
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    files = {"a.bin": data, "sub/b ä?#%41.txt": b"text", "sub/empty.txt": b""}
    for name, content in files.items():
        (tmp_path / "folder" / name).write_bytes(content)
    (tmp_path / "folder" / ".hidden").write_bytes(b"not sent")
    transport = Cuts(seed)
    with httpx2.Client(base_url=site.url, headers=site.writer.headers, transport=transport) as http:
        found = Sender(http, piece=10_000, pause_s=0.001).send([tmp_path / "folder"], "over cuts")
    assert transport.faults == 20
    assert (found["state"], found["name"]) == ("finished", "over cuts")
    assert {file["name"]: file["sha256"] for file in found["files"]} == {n: sha256(c) for n, c in files.items()}


def test_the_command_sends_and_resumes(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(site.writer.headers["Authorization"].removeprefix("Bearer "))
    (tmp_path / "a.jsonl").write_bytes(LINES)
    where = ["--url", site.url, "--token-file", str(token)]
    id = create(site, name="begun")
    send(site, id, "a.jsonl", LINES[:100])
    assert main(["upload", str(tmp_path / "a.jsonl"), "--resume", id, *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"upload": id, "files": 1, "bytes": len(LINES)}
    assert main(["upload", str(tmp_path / "a.jsonl"), "--name", "new", *where]) == 0
    new = json.loads(capsys.readouterr().out)["upload"]
    assert site.reader.get(f"/v1/uploads/{new}").json()["name"] == "new"
    for arguments, message in (
        (["--resume", "0" * 16], "there is no upload"), (["--token-file", str(tmp_path / "none")], "there is no token file"),
    ):  # fmt: skip
        assert main(["upload", str(tmp_path / "a.jsonl"), *where, *arguments]) == 1
        assert message in capsys.readouterr().err
    token.chmod(0o644)
    assert main(["upload", str(tmp_path / "a.jsonl"), *where]) == 1
    assert "others can read the token" in capsys.readouterr().err
    for paths, message in (
        ([tmp_path / "none"], "there is no file or folder"), ([tmp_path / "a.jsonl", tmp_path / "a.jsonl"], "both be called"),
    ):  # fmt: skip
        with pytest.raises(UploadFailed, match=message):
            Sender(site.writer).send(paths)


def test_two_clients_do_not_mix_their_pieces(site: Site) -> None:
    id, data = create(site), random.Random(4).randbytes(8 << 20)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(send(site, id, "a.bin", data).status_code)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409]
    assert finish(site, id, **{"a.bin": data}).status_code == 200
