"""Tar archives of text: which members become documents, and the one message for every archive that is damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.download import DatasetOptions
from configs.text_formats import compression_ending, format_ending
from sae.formats.dataset import DatasetError, Document
from sae.sources.file_selection import select_files
from sae.text.readers import SourceFile
from sae.text.source_documents import SourceDocuments

Member = tuple[str, bytes]


def tar(*members: Member, format: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def documents(content: bytes, name: str = "a.tar", **options: object) -> list[Document]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return list(SourceDocuments([SourceFile(name, path)], DatasetOptions.model_validate(options)))


def texts(content: bytes, name: str = "a.tar", **options: object) -> list[str]:
    return [document.text for document in documents(content, name, **options)]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


def test_members_of_one_stem_are_one_document() -> None:
    content = tar(
        ("train/1.txt", b"one"), ("train/1.json", b'{"url": "u1", "n": 1}'), ("train/1.jpg", b"\xff\xd8"),
        ("train/2.json", b'{"url": "u2"}'), ("train/2.md", b"# two"), ("train/3.json", b'{"text": "three"}'),
    )  # fmt: skip
    assert [(d.text, d.columns) for d in documents(content)] == [
        ("one", {"file": "train/1.txt", "url": "u1", "n": "1"}),
        ("# two", {"file": "train/2.json", "url": "u2"}),
        ("three", {"file": "train/3.json"}),
    ]


def test_the_options_of_documents_are_those_of_other_formats() -> None:
    content = tar(("1.json", b'{"body": "one", "part": "test"}'), ("2.json", b'{"body": "two", "part": "train"}'))
    found = documents(content, text_column="body", split_column="part")
    assert [(d.text, d.split) for d in found] == [("one", "test"), ("two", "train")]
    assert texts(content, text_column="body", split_column=None, max_documents=1) == ["one"]
    wrong = tar(("1.txt", b"fine"), ("2.txt", b"caf\xe9"))
    with pytest.raises(DatasetError, match=r"a\.tar: member '2': byte 0xe9 at character 3 is not UTF-8"):
        texts(wrong)
    assert texts(wrong, invalid_text="replace") == ["fine", "caf\ufffd"]
    assert texts(wrong, invalid_text="skip") == ["fine"]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.tar", bytes), ("a.tar.gz", gzip.compress), ("a.tgz", gzip.compress), ("a.tar.bz2", bz2.compress),
        ("a.tbz2", bz2.compress), ("a.tar.xz", lzma.compress), ("a.TXZ", lzma.compress), ("a.tar.zst", zstd),
        ("a.tzst", zstd),
    ],
)  # fmt: skip
def test_compressed_archives(name: str, pack: Callable[[bytes], bytes]) -> None:
    assert texts(pack(tar(("1.txt", b"one"), ("2.txt", b"two"))), name) == ["one", "two"]
    assert format_ending(name) == "tar"
    assert (compression_ending(name) is None) == (name == "a.tar")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(format: int) -> None:
    long = "x" * 90 + "/" + "y" * 80 + ".txt"
    members = [(long, b"long"), ("z.txt", b"z" * 1000)]
    if format != tarfile.USTAR_FORMAT:
        members.append(("n" * 300 + "é.txt", b"longer"))
    assert texts(tar(*members, format=format)) == [content.decode() for _, content in members]


def test_what_is_no_data_is_left_out() -> None:
    content = tar(
        ("._a.txt", b"of a Mac"), ("__MACOSX/a.txt", b"too"), (".git/a.txt", b"hidden"), ("README.md", b"about"),
        ("dataset_info.json", b"{}"), ("LICENSE.txt", b"licence"), ("./a.txt", b"text"), ("b.bin", b"\0"),
    )  # fmt: skip
    assert texts(content) == ["text"]


def test_formats_of_text_and_their_order() -> None:
    assert select_files(["a.md", "b.txt", "c.tar"], (), "dataset", "here").names == ["c.tar"]
    assert select_files(["a.md", "b.txt"], (), "dataset", "here").names == ["b.txt"]
    assert select_files(["a.md", "README.md", "b/c.markdown.gz"], (), "dataset", "here").names == [
        "a.md",
        "b/c.markdown.gz",
    ]
    assert texts(b"# Head\r\n\r\ntext\n", "a.md") == ["# Head\r\n\r\ntext\n"]


WHOLE = tar(("1.txt", b"one" * 500), ("1.json", b'{"a": 1}'), ("2.txt", b"two" * 500))


def link() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("1.txt")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return sink.getvalue()


def long_header(size: int) -> bytes:
    sink = io.BytesIO()
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    sink.write(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10_000))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (long_header(2 << 20), "a.tar", "a header of 2097152 bytes"),
        (b"", "a.tar", "at its beginning: empty header"),
        (b"no archive at all", "a.tar", "at its beginning"),
        (b"no archive at all" * 100, "a.tar", "no tar archive.*at its beginning"),
        (WHOLE[:1000], "a.tar", "unexpected end of data"),
        (WHOLE[:2048], "a.tar", "cut or damaged at byte 2048: empty header"),
        (WHOLE[:2100], "a.tar", "cut or damaged at byte 2048: truncated header"),
        (WHOLE[:2048] + b"x" * 512 + WHOLE[2560:], "a.tar", "damaged at byte 2048: invalid header"),
        (WHOLE + WHOLE, "a.tar", "data follows its end mark"),
        (gzip.compress(WHOLE), "a.tar", r"holds gzip data, but its name does not say so: rename it to a\.tar\.gz"),
        (gzip.compress(WHOLE)[:-20], "a.tgz", r"cannot read a\.tgz"),
        (gzip.compress(WHOLE)[:-4] + b"oops", "a.tgz", r"cannot read a\.tgz"),
        (link(), "a.tar", r"member '1\.txt' is a link or a device"),
        (tar(("1.txt", b"a"), ("1.txt", b"b")), "a.tar", r"member '1\.txt': another member of that name gives column 'text'"),
        (tar(("1.txt", b"a"), ("1.json", b'{"text": "b"}')), "a.tar", r"member '1\.json': another member .* column 'text'"),
        (tar(("1.json", b"{")), "a.tar", r"member '1\.json': Expecting"),
        (tar(("1.json", b"[1]")), "a.tar", r"member '1\.json': expected an object, not a list"),
        (tar(("1.json", b"[" * 100_000)), "a.tar", r"member '1\.json': it is nested too deeply"),
        (tar(("1.json", b'{"n": 1}'), ("2.txt", b"x"), ("1.txt", b"far away")), "a.tar", r"member '1' has no column 'text'"),
    ],
)  # fmt: skip
def test_an_archive_that_is_wrong_ends_with_one_message(content: bytes, name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        texts(content, name)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 500


TEXTS = st.text(min_size=1).filter(lambda text: text.removeprefix("\ufeff").strip())
NAMES = st.text("abé. ", min_size=1, max_size=8).filter(lambda name: not name.startswith("."))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, TEXTS, st.booleans()), unique_by=lambda one: one[0], max_size=8))
def test_every_text_comes_back_in_order(members: list[tuple[str, str, bool]]) -> None:
    packed = []
    for name, text, as_json in members:
        packed.append(
            (f"{name}.json", json.dumps({"text": text}).encode()) if as_json else (f"{name}.txt", text.encode())
        )
    assert texts(tar(*packed)) == [text.removeprefix("\ufeff") if not as_json else text for _, text, as_json in members]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4), st.booleans())
def test_a_damaged_archive_is_an_error_or_other_text_but_never_a_loss(at: int, damage: bytes, cut: bool) -> None:
    """Bytes inside a text have no checksum; wherever else they change, or the archive ends, the reader says so."""
    content = WHOLE[:at] if cut else WHOLE[:at] + damage + WHOLE[at + len(damage) :]
    try:
        found = texts(content, invalid_text="replace")
    except DatasetError:
        return
    assert len(found) == 2, "two documents, or an error"
