"""The store on a real S3 server."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from cluster.store import CorruptFile, Manifest, Store, StoredFile, StoreError
from configs.artifact_ids import ArtifactRef
from tests.s3 import SECRET, S3Server, use

REF = ArtifactRef("features", "0123456789abcdef")


@pytest.fixture
def store(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    use(s3_server, monkeypatch)
    url = s3_server.make_bucket(f"store-{os.urandom(4).hex()}")
    return Store.open(f"{url}/raylens", cache=str(tmp_path / "cache"))


def put(store: Store, folder: Path, name: str, content: bytes, attempt: int = 1) -> StoredFile:
    (folder / "local").write_bytes(content)
    file = store.put(REF, attempt, name, folder / "local", extra={"rows": 1}, part=True)
    assert not (folder / "local").exists(), "as on a folder, the file is taken over"
    return file


def commit(store: Store, *files: StoredFile, attempt: int = 1) -> None:
    store.commit(Manifest(kind=REF.kind, id=REF.id, stage="extract", stage_version=1, attempt=attempt, files=files))


def test_round_trip(store: Store, tmp_path: Path) -> None:
    big = os.urandom(11 << 20)  # more than one part of a multipart upload
    assert store.list("features") == []
    assert store.manifest(REF) is None
    assert store.parts(REF) == {}
    old = put(store, tmp_path, "features.parquet", b"old", attempt=1)
    files = [put(store, tmp_path, n, c, 2) for n, c in (("features.parquet", big), ("sub/e.json", b"{}"), ("0", b""))]
    parts = store.parts(REF)
    assert parts["features.parquet"] == (files[0], {"rows": 1})
    assert files[0].path == "a2/features.parquet"
    commit(store, *files, attempt=2)
    commit(store, *files, attempt=2)
    store.sweep(REF)
    assert store.parts(REF) == {}
    assert store.backend.size(store.key(REF, old.path)) is None
    assert store.list("features") == [REF]
    assert store.list("features", "1") == []

    there = pickle.loads(pickle.dumps(store.files(REF)))
    assert there.path("features.parquet").read_bytes() == big
    folder = there.directory()
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "0",
        "features.parquet",
        "sub/e.json",
    ]
    assert (folder / "sub/e.json").read_bytes() == b"{}"
    assert there.directory() == folder
    assert store.free_bytes() is None

    store.delete(REF)
    assert store.manifest(REF) is None
    assert store.list("features") == []
    assert store.backend.sizes("features") == {}


def test_other_content_never_takes_the_place_of_stored_content(store: Store, tmp_path: Path) -> None:
    first = put(store, tmp_path, "x", b"one")
    commit(store, first)
    assert put(store, tmp_path, "x", b"one") == first
    second = put(store, tmp_path, "x", b"two")
    assert store.files(REF).path("x").read_bytes() == b"one"
    commit(store, second)
    assert store.files(REF).path("x").read_bytes() == b"two"


def test_a_damaged_object_is_named_and_not_kept(store: Store, tmp_path: Path, s3_server: S3Server) -> None:
    file = put(store, tmp_path, "x", b"content")
    commit(store, file)
    key = f"{store.url.removeprefix('s3://')}/{store.key(REF, file.path)}"
    with s3_server.file_system().open_output_stream(key) as stream:
        stream.write(b"cOntent")
    with pytest.raises(CorruptFile, match=rf"'x' \({store.url}/features/.*expected sha256 {file.sha256}.*run the"):
        store.files(REF).path("x")
    s3_server.file_system().delete_file(key)
    with pytest.raises(CorruptFile, match="found no file at all"):
        store.files(REF).path("x")
    with pytest.raises(StoreError, match=r"expected 7 bytes, found no file"):
        commit(store, file, attempt=2)


def test_a_wrong_secret_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    wrong = Store.open(store.url)
    (tmp_path / "local").write_bytes(b"x")
    for call in (
        lambda: wrong.manifest(REF),
        lambda: wrong.list("features"),
        lambda: wrong.put(REF, 1, "x", tmp_path / "local"),
        lambda: wrong.delete(REF),
    ):
        with pytest.raises(StoreError, match="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY") as caught:
            call()
        assert "not the secret" not in str(caught.value)
    assert (tmp_path / "local").exists()


def test_a_missing_bucket_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'"):
        Store.open("s3://no-such-bucket/x").manifest(REF)


def test_no_secret_travels(store: Store) -> None:
    assert store.list("features") == []  # the client is made
    assert SECRET.encode() not in pickle.dumps(store)
