"""The store on a local folder: what is put comes back whole, what is not committed does not exist."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.store import CorruptFile, Manifest, Store, StoredFile, StoreError
from configs.artifact_ids import ArtifactRef

REF = ArtifactRef("saes", "0123456789abcdef")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"), cache=str(tmp_path / "cache"))


def write(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def manifest(*files: StoredFile, attempt: int = 1, **more: Any) -> Manifest:
    return Manifest(kind=REF.kind, id=REF.id, stage="train", stage_version=1, attempt=attempt, files=files, **more)


def test_put_commit_read(store: Store, tmp_path: Path) -> None:
    file = store.put(REF, 1, "cfg.json", write(tmp_path / "cfg.json", b"{}"))
    nested = store.put(REF, 1, "tokenizer/vocab.json", write(tmp_path / "vocab.json", b"[]"))
    assert (file.path, file.size) == ("a1/cfg.json", 2)
    assert store.manifest(REF) is None
    assert store.list("saes") == []
    with pytest.raises(StoreError, match=r"no finished artifact saes/0123456789abcdef"):
        store.files(REF)

    wanted = manifest(file, nested, label="k 32", inputs={"tokens": "tokens/0123456789abcdef"}, summary={"ev": 0.8})
    store.commit(wanted)
    assert store.manifest(REF) == wanted
    assert store.list("saes") == [REF]
    assert store.list("saes", "01") == [REF]
    assert store.list("saes", "f") == []
    files = pickle.loads(pickle.dumps(store.files(REF)))
    assert files.names == ["cfg.json", "tokenizer/vocab.json"]
    assert files.path("cfg.json").read_bytes() == b"{}"
    assert (files.directory() / "tokenizer" / "vocab.json").read_bytes() == b"[]"
    assert files.directory() == tmp_path / "store" / "saes" / REF.id / "a1", "a local folder is given as it is"
    with pytest.raises(StoreError, match=r"has no file 'weights'; it has cfg.json"):
        files.path("weights")

    store.delete(REF)
    assert store.manifest(REF) is None
    assert store.list("saes") == []
    assert not (tmp_path / "store" / "saes" / REF.id).exists()
    store.delete(REF)  # once more: nothing to do


def test_put_takes_the_file_over_unless_told_to_keep_it(store: Store, tmp_path: Path) -> None:
    taken, kept = write(tmp_path / "taken"), write(tmp_path / "kept")
    store.put(REF, 1, "taken", taken)
    store.put(REF, 1, "kept", kept, keep=True)
    assert not taken.exists()
    assert kept.exists()
    kept.write_bytes(b"changed!")
    assert (tmp_path / "store/saes" / REF.id / "a1/kept").read_bytes() == b"content"


def test_a_file_that_others_can_change_is_copied(store: Store, tmp_path: Path) -> None:
    blob = write(tmp_path / "blob")
    (tmp_path / "link").symlink_to(blob)
    os.link(blob, tmp_path / "other name")
    store.put(REF, 1, "by-link", tmp_path / "link")
    store.put(REF, 1, "by-name", blob)
    with open(tmp_path / "other name", "r+b") as file:
        file.write(b"CHANGED")
    stored = tmp_path / "store/saes" / REF.id / "a1"
    assert [(stored / n).read_bytes() for n in ("by-link", "by-name")] == [b"content", b"content"]
    assert not (stored / "by-link").is_symlink()


def test_the_same_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    files = [store.put(REF, 1, "x", write(tmp_path / "x"), part=True) for _ in range(2)]
    assert files[0] == files[1]
    store.commit(manifest(files[0]))
    at = tmp_path / "store/saes" / REF.id / "manifest.json"
    before = at.stat().st_ino
    store.commit(manifest(files[0]))
    assert at.stat().st_ino == before


def test_other_content_never_takes_the_place_of_stored_content(store: Store, tmp_path: Path) -> None:
    first = store.put(REF, 1, "x", write(tmp_path / "x", b"one"))
    store.commit(manifest(first))
    second = store.put(REF, 1, "x", write(tmp_path / "x", b"two"))
    assert store.files(REF).path("x").read_bytes() == b"one"
    store.commit(manifest(second))
    assert store.files(REF).path("x").read_bytes() == b"two"
    folder = store.files(REF).directory()
    assert [p.name for p in folder.iterdir()] == ["x"]
    assert (folder / "x").read_bytes() == b"two"


def test_parts_are_found_again_and_the_latest_attempt_wins(store: Store, tmp_path: Path) -> None:
    store.put(REF, 1, "a", write(tmp_path / "a", b"a1"), extra={"rows": 1}, part=True)
    store.put(REF, 1, "b", write(tmp_path / "b", b"b1"), extra={"rows": 2}, part=True)
    store.put(REF, 10, "a", write(tmp_path / "a", b"a10"), extra={"rows": 10}, part=True)
    store.put(REF, 2, "a", write(tmp_path / "a", b"a2"), part=True)
    store.put(REF, 2, "c", write(tmp_path / "c", b"not a part"))
    parts = store.parts(REF)
    assert {name: (file.path, extra) for name, (file, extra) in parts.items()} == {
        "a": ("a10/a", {"rows": 10}),
        "b": ("a1/b", {"rows": 2}),
    }
    files = store.part_files(REF)
    assert files.names == ["a", "b"]
    assert files.path("a").read_bytes() == b"a10"
    (tmp_path / "store/saes" / REF.id / "a1/b").write_bytes(b"xx")
    with pytest.raises(CorruptFile, match="delete that file and run the job again"):
        files.path("b")
    os.truncate(tmp_path / "store/saes" / REF.id / "a10/a", 1)
    assert store.parts(REF)["a"][0].path == "a2/a", "a part that is not whole is left out"
    assert store.parts(ArtifactRef("saes", "f" * 16)) == {}


def test_commit_wants_all_files_whole(store: Store, tmp_path: Path) -> None:
    file = store.put(REF, 1, "x", write(tmp_path / "x"))
    gone = StoredFile("y", "a1/y", 3, "0" * 64)
    with pytest.raises(StoreError, match=r"a1/y \(expected 3 bytes, found no file\)"):
        store.commit(manifest(file, gone))
    with pytest.raises(StoreError, match=r"a1/x \(expected 8 bytes, found 7\)"):
        store.commit(manifest(file._replace(size=8)))
    for figure, why in ((float("nan"), "JSON compliant"), (tmp_path, "not JSON serializable")):
        with pytest.raises(ValueError, match=why):
            manifest(file, summary={"ev": figure})
    assert store.manifest(REF) is None


def test_an_older_attempt_comes_too_late(store: Store, tmp_path: Path) -> None:
    old = store.put(REF, 1, "x", write(tmp_path / "x"))
    store.commit(manifest(store.put(REF, 2, "x", write(tmp_path / "x")), attempt=2))
    with pytest.raises(StoreError, match=r"finished by attempt 2; attempt 1 is too late"):
        store.commit(manifest(old, attempt=1))


def test_sweep_leaves_what_is_named_and_what_a_newer_attempt_makes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no finished artifact"):
        store.sweep(REF)
    store.put(REF, 1, "x", write(tmp_path / "x"), part=True)
    file = store.put(REF, 2, "x", write(tmp_path / "x"), part=True)
    store.put(REF, 3, "x", write(tmp_path / "x"), part=True)
    write(tmp_path / "store/saes" / REF.id / "a2/.tmp-of-a-killed-process")
    store.commit(manifest(file, attempt=2))
    store.sweep(REF)
    prefix = tmp_path / "store/saes" / REF.id
    left = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*")}
    assert left == {"manifest.json", "a2", "a2/x", "a3", "a3/x", "a3/x.part.json"}
    assert store.files(REF).path("x").exists()


def test_where_a_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYLENS_STORE", raising=False)
    monkeypatch.delenv("RAYLENS_CACHE", raising=False)
    assert Store.open().url == str(tmp_path / "home/store")
    assert Store.open().cache_folder() == tmp_path / "home/cache"
    assert Store.open().list("saes") == []
    assert (Store.open().free_bytes() or 0) > 0
    monkeypatch.setenv("RAYLENS_STORE", "s3://bucket/prefix/")
    monkeypatch.setenv("RAYLENS_CACHE", str(tmp_path / "node"))
    assert Store.open().url == "s3://bucket/prefix"
    assert pickle.loads(pickle.dumps(Store.open())).cache_folder() == tmp_path / "node"
    with pytest.raises(StoreError, match="give a folder or s3://BUCKET/PREFIX"):
        Store.open("gs://bucket")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ".hidden", "a//b", "", "x.part.json", "a\nb", "_x/y"])
def test_names_cannot_leave_the_prefix(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a stored file"):
        store.put(REF, 1, name, write(tmp_path / "x"))
    with pytest.raises(ValidationError):
        manifest(StoredFile(name, f"a1/{name}", 1, "0" * 64))


@pytest.mark.parametrize("path", ["x", "a1/y", "/a1/x", "a1/../x", "a0/x", "a1/b/x"])
def test_paths_hold_the_attempt_and_the_name(path: str) -> None:
    with pytest.raises(ValidationError, match="is not a<attempt>/x"):
        manifest(StoredFile("x", path, 1, "0" * 64))


steps = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 3), st.sampled_from("xy"), st.sampled_from([b"1", b"22", b"33"])),
    st.tuples(st.just("commit"), st.integers(1, 3)),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("delete")),
)


@settings(max_examples=40, deadline=None)
@given(sequence=st.lists(steps, max_size=12))
def test_what_exists_is_whole_whatever_came_before(tmp_path_factory: pytest.TempPathFactory, sequence: Any) -> None:
    folder = tmp_path_factory.mktemp("law")
    store = Store.open(str(folder / "store"), cache=str(folder / "cache"))
    put: dict[int, dict[str, StoredFile]] = {}
    for step in sequence:
        match step:
            case ("put", attempt, name, content):
                file = store.put(REF, attempt, name, write(folder / "local", content), part=True)
                put.setdefault(attempt, {})[name] = file
            case ("commit", attempt):
                with suppress(StoreError):  # a sweep or a delete took its files, or it came too late
                    store.commit(manifest(*put.get(attempt, {}).values(), attempt=attempt))
            case ("sweep",) if store.manifest(REF):
                store.sweep(REF)
                standing = store.manifest(REF)
                assert standing
                assert all(int(f.path[1]) > standing.attempt for f, _ in store.parts(REF).values())
            case ("delete",):
                store.delete(REF)
        if store.manifest(REF):
            files = store.files(REF)
            assert all((files.directory() / name).is_file() for name in files.names)
