"""Uploads on the disk: pieces at their offsets, hashes at the end, and names that must not get out."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.download import LocalSource, UploadSource
from sae.sources import SourceError, resolve_source
from sae.sources import uploads as uploads_module
from sae.sources.uploads import UploadError, Uploads, checked_name

MOST = 1 << 20


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    return Uploads(tmp_path / "home" / "uploads", MOST)


def send(uploads: Uploads, id: str, name: str, data: bytes, offset: int = 0) -> int:
    with uploads.piece(id, name, offset, len(data)) as piece:
        piece.write(data)
    return piece.end


def code(uploads: Uploads, id: str, name: str, data: bytes = b"", offset: int = 0) -> str:
    with pytest.raises(UploadError) as caught:
        send(uploads, id, name, data, offset)
    assert len(str(caught.value)) < 500
    return caught.value.code


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a.txt", "b/a.txt", "b/c.md"]), st.lists(st.binary(max_size=50), min_size=1), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_the_pieces_are_the_files_are_what_was_sent(
    files: dict[str, list[bytes]], draw: random.Random
) -> None:
    """Pieces of several files in any order, each from another process' view, some of them sent twice."""
    with tempfile.TemporaryDirectory() as folder:
        id = Uploads(Path(folder), MOST).create(None, "ada").record.id
        order = [name for name, pieces in files.items() for _ in pieces]
        draw.shuffle(order)
        rest, ends = {name: list(pieces) for name, pieces in files.items()}, dict.fromkeys(files, 0)
        for name in order:
            uploads, piece = Uploads(Path(folder), MOST), rest[name].pop(0)
            end = send(uploads, id, name, piece, ends[name])
            assert end == ends[name] + len(piece)
            if piece:
                assert code(uploads, id, name, piece, ends[name]) == "wrong_offset", "sent twice, it counts once"
            ends[name] = end
        hashes = {name: sha256(b"".join(pieces)) for name, pieces in files.items()}
        finished = uploads.finish(id, hashes)
        assert finished.finished and uploads.finish(id, hashes).files == finished.files
        assert {file.name: file.sha256 for file in finished.files} == hashes
        for name, pieces in files.items():
            assert (uploads.files_folder(id) / name).read_bytes() == b"".join(pieces)


def test_a_finished_upload_does_not_change(uploads: Uploads) -> None:
    id = uploads.create("news", "ada").record.id
    send(uploads, id, "a.txt", b"text")
    for wrong in ({}, {"b.txt": sha256(b"text")}, {"a.txt": sha256(b"text"), "b.txt": sha256(b"")}):
        with pytest.raises(UploadError, match="the SHA-256 of each of its files") as caught:
            uploads.finish(id, wrong)
        assert caught.value.code == "wrong_files"
    with pytest.raises(UploadError, match=r"'a\.txt' has SHA-256 982d9e3eb996") as caught:
        uploads.finish(id, {"a.txt": sha256(b"test")})
    assert caught.value.code == "wrong_hash"
    assert not uploads.get(id).finished
    uploads.finish(id, {"a.txt": sha256(b"text")})
    assert code(uploads, id, "a.txt", b"more", 4) == "upload_finished"
    assert code(uploads, id, "b.txt", b"more") == "upload_finished"
    for change in (lambda: uploads.remove_file(id, "a.txt"), lambda: uploads.finish(id, {"a.txt": sha256(b"test")})):
        with pytest.raises(UploadError) as caught:
            change()
        assert caught.value.code == "upload_finished"


def test_one_request_at_a_time_writes_a_file_and_none_while_it_is_finished(uploads: Uploads) -> None:
    id = uploads.create(None, "ada").record.id
    with uploads.piece(id, "a.txt", 0) as piece:
        piece.write(b"te")
        assert code(uploads, id, "a.txt") == "upload_busy"
        assert send(uploads, id, "b.txt", b"other") == 5
        for alone in (
            lambda: uploads.finish(id, {}),
            lambda: uploads.remove(id),
            lambda: uploads.remove_file(id, "b.txt"),
        ):
            with pytest.raises(UploadError) as caught:
                alone()
            assert caught.value.code == "upload_busy"
    assert send(uploads, id, "a.txt", b"xt", 2) == 4


def test_what_was_written_before_a_kill_is_there(uploads: Uploads) -> None:
    id = uploads.create(None, "ada").record.id
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom sae.sources.uploads import Uploads\n"
        f"with Uploads(Path({str(uploads.folder)!r}), {MOST}).piece({id!r}, 'a.txt', 0) as piece:\n"
        "    piece.write(b'half')\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == -9
    assert uploads.get(id).files[0].bytes == 4, "and nobody holds its lock"
    assert send(uploads, id, "a.txt", b" and half", 4) == 13
    assert uploads.finish(id, {"a.txt": sha256(b"half and half")}).finished


def test_bounds(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    id = uploads.create(None, "ada").record.id
    assert send(uploads, id, "a.txt", bytes(MOST - 10)) == MOST - 10
    assert code(uploads, id, "b.txt", bytes(11)) == "too_large"
    with uploads.piece(id, "b.txt", 0) as piece:  # of unknown length
        piece.write(bytes(9))
        with pytest.raises(UploadError) as caught:
            piece.write(bytes(2))
    assert caught.value.code == "too_large"
    assert send(uploads, id, "b.txt", bytes(1), 9) == 10
    monkeypatch.setattr(uploads_module, "MOST_FILES", 2)
    assert code(uploads, id, "c.txt") == "too_many_files"
    monkeypatch.setattr(uploads_module, "RESERVE", 1 << 60)
    assert code(uploads, id, "b.txt", b"", 10) == "no_space"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a//b",
        "../a",
        "a/../b",
        "a/..",
        ".",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\0",
        "a\nb",
        "\ud800",
        "x" * 256,
        "a/" * 300,
    ],
)
def test_names_that_are_not_allowed(uploads: Uploads, name: str) -> None:
    id = uploads.create(None, "ada").record.id
    assert code(uploads, id, name, b"x") == "name_not_allowed"
    assert list(uploads.files_folder(id).iterdir()) == []


@given(st.text(max_size=40))
def test_an_allowed_name_stays_in_its_folder(name: str) -> None:
    try:
        checked_name(name)
    except UploadError:
        return
    root = Path("/root")
    assert (root / name).relative_to(root).as_posix() == name
    assert ".." not in Path(name).parts


def test_a_file_is_no_folder(uploads: Uploads) -> None:
    id = uploads.create(None, "ada").record.id
    send(uploads, id, "a", b"x")
    assert code(uploads, id, "a/b", b"x") == "name_conflict"
    send(uploads, id, "c/d", b"x")
    assert code(uploads, id, "c", b"x") == "name_conflict"


def test_removing(uploads: Uploads) -> None:
    ids = [uploads.create(str(i), "ada").record.id for i in range(3)]
    assert [upload.record.name for upload in uploads.all()] == ["2", "1", "0"]
    send(uploads, ids[0], "b/c/a.txt", b"x")
    uploads.remove_file(ids[0], "b/c/a.txt")
    assert list(uploads.files_folder(ids[0]).iterdir()) == []
    for missing in ("b/c/a.txt", "b"):
        with pytest.raises(UploadError, match="has no file"):
            uploads.remove_file(ids[0], missing)
    uploads.remove(ids[1])
    assert {upload.record.id for upload in uploads.all()} == {ids[0], ids[2]}
    for gone in (ids[1], "0" * 16):
        with pytest.raises(UploadError, match=f"there is no upload '{gone}'") as caught:
            uploads.get(gone)
        assert caught.value.code == "not_found"
        assert code(uploads, gone, "a.txt") == "not_found"
    assert uploads.leftovers() == []


def finished(uploads: Uploads, files: dict[str, bytes], name: str | None = None) -> str:
    id = uploads.create(name, "ada").record.id
    for file, data in files.items():
        send(uploads, id, file, data)
    uploads.finish(id, {file: sha256(data) for file, data in files.items()})
    return id


def quiet(done: int) -> None:
    """Progress that nobody reads."""


def test_an_upload_is_named_by_what_it_holds(uploads: Uploads, tmp_path: Path) -> None:
    files = {"train/a.jsonl": b'{"text": "x"}\n', "test/a.jsonl": b'{"text": "y"}\n', "notes.md": b"not data"}
    one, two = finished(uploads, files, "news"), finished(uploads, files)
    found, again = (resolve_source(UploadSource(upload=id), "dataset") for id in (one, two))
    assert found.identity == again.identity
    assert (found.label, again.label, found.size) == ("news", f"upload {two}", 28)
    for name, data in files.items():
        (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / name).write_bytes(data)
    local = resolve_source(LocalSource(path=str(tmp_path / "local")), "dataset")
    assert local.identity == found.identity, "the same content is the same dataset, wherever it is from"
    some = resolve_source(UploadSource(upload=one, files=("train/*",)), "dataset")
    assert some.names == ["train/a.jsonl"]
    assert some.identity != found.identity
    assert (found.fetch(found.names, quiet) / "train/a.jsonl").read_bytes() == files["train/a.jsonl"]


def test_a_source_must_be_a_finished_upload_that_holds_what_was_sent(uploads: Uploads) -> None:
    with pytest.raises(SourceError, match="there is no upload '0000000000000000' in"):
        resolve_source(UploadSource(upload="0" * 16), "dataset")
    open_one = uploads.create(None, "ada").record.id
    send(uploads, open_one, "a.txt", b"x")
    with pytest.raises(SourceError, match=f"upload {open_one} is not finished"):
        resolve_source(UploadSource(upload=open_one), "dataset")
    id = finished(uploads, {"a.txt": b"text"})
    source = resolve_source(UploadSource(upload=id), "dataset")
    (uploads.files_folder(id) / "a.txt").write_bytes(b"test")
    with pytest.raises(SourceError, match=r"'a\.txt' is no longer what was uploaded"):
        source.fetch(source.names, quiet)
    config = finished(uploads, {"config.json": json.dumps({"quantization_config": {"quant_method": "gptq"}}).encode(),
                                "model.safetensors": b"x"})  # fmt: skip
    with pytest.raises(SourceError, match="quantised with gptq"):
        resolve_source(UploadSource(upload=config), "model")
    with pytest.raises(ValueError, match="pattern"):
        UploadSource(upload="../../etc")
