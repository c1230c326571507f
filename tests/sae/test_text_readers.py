"""Odd files of every format: the documents that come out of them, or the one message that says what is wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.download import DatasetOptions
from configs.text_formats import TEXT_FORMATS, TextFormat, format_endings, format_titles
from sae.formats.dataset import DatasetError, Document
from sae.sources.file_selection import select_files
from sae.text.readers import SourceFile, SourceRow
from sae.text.source_documents import SourceDocuments

A, B, C = "The first text, about ships.", "A second text; about trains.", "The third text about tests."


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


def parquet(**columns: Any) -> bytes:
    return table(pa.table(columns))


def table(content: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(content, sink)
    return sink.getvalue()


def arrow(stream: bool) -> bytes:
    content = pa.table({"text": [A, B]})
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, content.schema) as writer:
        writer.write_table(content)
    return sink.getvalue()


def not_utf8(*values: bytes) -> pa.StringArray:
    ends = [sum(map(len, values[:i])) for i in range(len(values) + 1)]
    offsets = b"".join(end.to_bytes(4, "little") for end in ends)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values)))


def documents(folder: Path, name: str, content: bytes, **options: Any) -> list[Document]:
    (folder / name).write_bytes(content)
    files = [SourceFile(name, folder / name)]
    return list(SourceDocuments(files, DatasetOptions(**{"heldout_fraction": 0, **options})))


TEXTS: dict[str, tuple[str, bytes, list[str]]] = {
    "csv with a byte order mark": ("a.csv", b"\xef\xbb\xbf" + f'text,id\n"{A}",1\n'.encode(), [A]),
    "csv, lines and quotes in fields": (
        "a.csv",
        b'text,id\n"one\ntwo ""quoted"" and, comma",1\n"x\r\ny",2\n',
        ['one\ntwo "quoted" and, comma', "x\r\ny"],
    ),
    "csv, lines end with CR LF": ("a.csv", f'text,id\r\n"{A}",1\r\n'.encode(), [A]),
    "csv, lines end with CR": ("a.csv", f'text,id\r"{A}",1\r"{B}",2\r'.encode(), [A, B]),
    "csv, blank lines": ("a.csv", f'\ntext,id\n\n"{A}",1\n\n'.encode(), [A]),
    "csv, NUL": ("a.csv", b'id,text\n1,"a\0b"\n', ["a\0b"]),
    "csv, a field above 128 KiB": ("a.csv", b'id,text\n1,"' + b"word " * 40_000 + b'"\n', ["word " * 40_000]),
    "csv, words that other programs take for nothing": (
        "a.csv",
        b'id,text\n1,NA\n2,null\n3,nan\n4,""\n5,None\n',
        ["NA", "null", "nan", "None"],
    ),
    "tsv": ("a.tsv", f"id\ttext\n1\t{A}\n2\t{B}\n".encode(), [A, B]),
    "json lines, null text": ("a.jsonl", lines({"text": A}, {"text": None}, {"text": B}), [A, B]),
    "json lines, other types in other columns": (
        "a.jsonl",
        lines({"text": A, "m": 1}, {"text": B, "m": "x"}, {"text": C, "m": {"a": [1]}}),
        [A, B, C],
    ),
    "json lines, no last line end": ("a.jsonl", lines({"text": A})[:-1], [A]),
    "json lines, other line ends in a text": (
        "a.jsonl",
        lines({"text": "a\u2028b\u2029c\x85d\x0be"}),
        ["a\u2028b\u2029c\x85d\x0be"],
    ),
    "json lines, special strings are text": (
        "a.jsonl",
        lines({"text": "x <|endoftext|> </s>"}),
        ["x <|endoftext|> </s>"],
    ),
    "json lines, white space alone is no document": (
        "a.jsonl",
        lines({"text": ""}, {"text": " \n\t"}, {"text": "\u00a0\u3000"}, {"text": "\u200b"}),
        ["\u200b"],
    ),
    "json lines, equal documents all stay": ("a.jsonl", lines(*[{"text": A}] * 3), [A, A, A]),
    "json lines, a number of 5,000 digits": ("a.jsonl", b'{"text": "x", "n": ' + b"9" * 5000 + b"}\n", ["x"]),
    "json lines, not a number": ("a.jsonl", b'{"text": "x", "n": NaN}\n', ["x"]),
    "json lines, many keys": (
        "a.jsonl",
        lines(*({"text": f"d{i}", f"k{i}": i} for i in range(1100))),
        [f"d{i}" for i in range(1100)],
    ),
    "json": ("a.json", json.dumps([{"text": A}, {"text": B}]).encode(), [A, B]),
    "json lines under the name json": ("a.json", lines({"text": A}, {"text": B}), [A, B]),
    "text, line ends and NUL stay": ("a.txt", b"one\r\ntwo\0\r\n", ["one\r\ntwo\0\r\n"]),
    "gzip of two members": (
        "a.jsonl.gz",
        gzip.compress(lines({"text": A})) + gzip.compress(lines({"text": B})),
        [A, B],
    ),
    "gzip, zeros behind it": ("a.jsonl.gz", gzip.compress(lines({"text": A})) + bytes(512), [A]),
    "bzip2 of two streams": (
        "a.jsonl.bz2",
        bz2.compress(lines({"text": A})) + bz2.compress(lines({"text": B})),
        [A, B],
    ),
    "xz": ("a.jsonl.xz", lzma.compress(lines({"text": A})), [A]),
    "zstandard of two frames": ("a.jsonl.zst", zstd(lines({"text": A})) + zstd(lines({"text": B})), [A, B]),
    "an ending in capitals": ("A.JSONL.GZ", gzip.compress(lines({"text": A})), [A]),
    "arrow file": ("a.arrow", arrow(stream=False), [A, B]),
    "arrow stream": ("a.arrow", arrow(stream=True), [A, B]),
    "parquet, large strings": ("a.parquet", parquet(text=pa.array([A], pa.large_string())), [A]),
    "parquet, string views": ("a.parquet", parquet(text=pa.array([A], pa.string_view())), [A]),
    "parquet, dictionary": ("a.parquet", parquet(text=pa.array([A, B, A]).dictionary_encode()), [A, B, A]),
    "parquet, null text": ("a.parquet", parquet(text=[A, None, B]), [A, B]),
    "parquet, no text at all": ("a.parquet", parquet(text=pa.nulls(3)), []),
    "json lines, one other column": ("a.jsonl", lines({"content": A, "n": 1}, {"content": B}), [A, B]),
    "json lines, one other column, at first null": ("a.jsonl", lines({"content": None}, {"content": B}), [B]),
    "json lines, nested": ("a.jsonl", lines({"data": {"text": A, "n": 1}}), [A]),
    "parquet, one other column": ("a.parquet", parquet(n=[1], day=pa.array([1], pa.date32()), content=[A]), [A]),
    "parquet, nested": ("a.parquet", parquet(data=[{"text": A, "n": 1}, {"text": None}], n=[1, 2]), [A]),
    "parquet, a name with a dot": ("a.parquet", parquet(**{"meta.text": [A]}), [A]),
    "parquet, no rows": ("a.parquet", parquet(text=pa.array([], pa.string())), []),
}


@pytest.mark.parametrize("case", TEXTS)
def test_the_documents(tmp_path: Path, case: str) -> None:
    name, content, expected = TEXTS[case]
    assert [document.text for document in documents(tmp_path, name, content)] == expected


MESSAGES: dict[str, tuple[str, bytes, str]] = {
    "csv, quotes behind a backslash": (
        "a.csv",
        b'id,text\n1,"p"\n2,"he said \\"no\\""\n',
        r'line 3: .* must be doubled \(""\)',
    ),
    "csv, open quote": (
        "a.csv",
        b'id,text\n1,"p"\n2,"never\n3,p\n',
        "line 3: a quoted field is opened here and never closed",
    ),
    "csv, a blank in the header": (
        "a.csv",
        b"id, text\n1,x\n",
        r"no column 'text'; it has 'id', ' text'; set dataset.text_column to ' text', with its blanks",
    ),
    "csv, a short row": ("a.csv", b"id,text\n1,x\n2\n3,y\n", "line 3 has 1 fields, but the header has 2 columns"),
    "csv, a long row": ("a.csv", b"id,text\n1,x,y,z\n", "line 2 has 4 fields, but the header has 2 columns"),
    "csv, no header": (
        "a.csv",
        b'1,"' + b"long text " * 20_000 + b'"\n',
        "the first line, which names the columns, has no column 'text'",
    ),
    "csv, semicolons": ("a.csv", b"id;text\n1;x\n", r"seem to be separated by ';' .* is read with ','"),
    "csv, two text columns": ("a.csv", b"text,text\nx,y\n", "a.csv has 2 columns 'text'"),
    "csv, Latin-1": (
        "a.csv",
        b'id,text\n1,"caf\xe9"\n',
        "line 2: byte 0xe9 at character 3 is not UTF-8 .* dataset.invalid_text",
    ),
    "csv, UTF-16": ("a.csv", "id,text\n".encode("utf-16"), "a.csv is UTF-16: convert it to UTF-8 first"),
    "json lines, no text in a row": (
        "a.jsonl",
        lines({"text": A}, {"id": 2}),
        "line 2 has no column 'text'; it has 'id'",
    ),
    "csv, one other column": ("a.csv", b"content\nx\n", "set dataset.text_column to 'content'"),
    "json lines, two other columns": (
        "a.jsonl",
        lines({"body": A, "title": B}),
        "it has 'body', 'title'; set dataset.text_column to the one .* or join several by dataset.text_template",
    ),
    "json lines, two nested texts": (
        "a.jsonl",
        lines({"data": {"a": A, "b": B}}),
        r"no column 'text'; it has 'data\.a', 'data\.b'; set",
    ),
    "json lines, a number alone": ("a.jsonl", lines({"id": 1}), "no column 'text'; it has 'id' \\(a number\\); set"),
    "json lines, never a value": (
        "a.jsonl",
        lines({"a": None}, {"a": None}),
        "line 1 has no column 'text'; it has 'a'",
    ),
    "json lines, a number": (
        "a.jsonl",
        lines({"text": A}, {"text": 42}),
        "column 'text' of line 2 holds a number, not text",
    ),
    "json lines, a long number": ("a.jsonl", b'{"text": ' + b"9" * 5000 + b"}", "holds a number, not text"),
    "json lines, a list": ("a.jsonl", lines({"text": ["p", "q"]}), "column 'text' of line 1 holds a list, not text"),
    "json lines, a comma too many": (
        "a.jsonl",
        b'{"text": "a",}\n',
        "line 1, column 1[34]: .*; each line must be one whole JSON object",
    ),
    "json lines, commas between": ("a.jsonl", b'{"text": "a"},\n', "line 1, column 14: Extra data"),
    "json lines, an array": ("a.jsonl", json.dumps([{"text": A}]).encode(), "line 1: .* belongs in a .json file"),
    "json lines, an array of many lines": (
        "a.jsonl",
        json.dumps([{"text": A}], indent=1).encode(),
        "line 1.* belongs in a .json file",
    ),
    "json lines, objects of many lines": (
        "a.jsonl",
        json.dumps({"text": A}, indent=1).encode(),
        "line 1.*one whole JSON object",
    ),
    "json lines, a line cut off": (
        "a.jsonl",
        lines(*[{"text": A}] * 50) + b'{"text": "cut\n' + lines({"text": B}),
        "line 51, column 14",
    ),
    "json lines, deep": (
        "a.jsonl",
        b'{"text": "x", "d": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        "line 1: it is nested too deeply",
    ),
    "json lines, half of a pair": (
        "a.jsonl",
        b'{"text": "cut \\ud83d here"}',
        r"line 1: \\ud83d, half of a pair, at character 4 is not UTF-8",
    ),
    "json lines, an odd split": (
        "a.jsonl",
        lines({"text": A, "split": "x" * 500}),
        r"column 'split' of line 1 holds 'x+…'; expected train",
    ),
    "json lines, two chats": (
        "a.jsonl",
        lines({key: [{"role": "user", "content": "hi"}] for key in ("chosen", "rejected")}),
        "line 1 has several columns that hold chat messages: 'chosen', 'rejected'; set dataset.chat_column to one",
    ),
    "json, nothing": ("a.json", b"", "the file is empty, which is not JSON"),
    "json, columns": ("a.json", json.dumps({"text": [A, B]}).encode(), "an object of columns; .* write it row by row"),
    "json, rows under a key": (
        "a.json",
        json.dumps({"data": [{"text": A}]}).encode(),
        "whose rows seem to be under 'data'",
    ),
    "json, strings": ("a.json", json.dumps([A, B]).encode(), "row 1: expected an object with columns, not a string"),
    "text, Latin-1": ("a.txt", b"caf\xe9", "byte 0xe9 at character 3 is not UTF-8"),
    "gzip that is none": ("a.jsonl.gz", lines({"text": A}), "Not a gzipped file"),
    "gzip under a plain name": ("a.jsonl", gzip.compress(b"x"), "a.jsonl holds gzip data, .* rename it to a.jsonl.gz"),
    "gzip cut off": (
        "a.jsonl.gz",
        gzip.compress(lines(*({"text": os.urandom(9).hex()} for _ in range(999))))[:9000],
        "ended before the end",
    ),
    "zstandard cut off": ("a.txt.zst", zstd(os.urandom(30_000))[:9000], "Truncated compressed stream"),
    "parquet, cut off": ("a.parquet", parquet(text=[A])[:99], "cannot read a.parquet"),
    "parquet, binary": ("a.parquet", parquet(text=[b"x"]), "column 'text' of the file holds binary values, not text"),
    "parquet, dates": ("a.parquet", parquet(text=pa.array([1], pa.date32())), r"holds date32\[day\] values, not text"),
    "parquet, a list": ("a.parquet", parquet(text=[["p"]]), "holds a list, not text"),
    "parquet, two text columns": (
        "a.parquet",
        table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["text", "text"])),
        "has 2 columns 'text'",
    ),
    "parquet, not UTF-8": (
        "a.parquet",
        parquet(text=not_utf8(b"caf\xe9", b"good")),
        "row 1: byte 0xe9 at character 3 is not UTF-8",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_the_message(tmp_path: Path, case: str) -> None:
    name, content, expected = MESSAGES[case]
    with pytest.raises(DatasetError, match=expected) as caught:
        documents(tmp_path, name, content)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 500


def test_chat_as_the_text_column_is_said_not_to_be_text(tmp_path: Path) -> None:
    messages = [[{"role": "user", "content": "hi"}]]
    for name, content in (
        ("a.parquet", parquet(id=[1], messages=messages)),
        ("a.jsonl", lines({"messages": messages[0]})),
    ):
        with pytest.raises(DatasetError, match=r"column 'messages' of .* holds chat messages, not text"):
            documents(tmp_path, name, content, text_column="messages")


def test_columns_that_are_not_needed_never_stop_a_download(tmp_path: Path) -> None:
    columns = {
        "far": pa.array([253402300800 + 10**9], pa.timestamp("s")),
        "nano": pa.array([1700000000123456789], pa.timestamp("ns")),
        "zone": pa.array([1700000000], pa.timestamp("s", tz="Mars/Olympus")),
        "day": pa.array([4_000_000], pa.date32()),
        "long": pa.array([2**62], pa.duration("s")),
        "decimal": pa.array([None], pa.decimal256(60, 2)),
        "latin": not_utf8(b"caf\xe9"),
        "meta.id": pa.array([7]),
        "meta": pa.array([{"id": 4, "x": 1}]),
        "raw": pa.array([b"\xff"]),
    }
    (document,) = documents(tmp_path, "a.parquet", parquet(text=[A], **columns))
    assert document == Document("train", A, {
        "far": "10031-09-09 01:46:40.000", "nano": "2023-11-14 22:13:20.123456789", "zone": "2023-11-14 22:13:20.000Z",
        "day": "12921-08-18", "long": "4611686018427387904 s", "latin": "caf\ufffd", "meta.id": "7",
    })  # fmt: skip


def test_columns_keep_apart(tmp_path: Path) -> None:
    (document,) = documents(tmp_path, "a.csv", b",text,n,n,n_2\n0,x,1,2,3\n")
    assert document.columns == {"column_1": "0", "n": "1", "n_3": "2", "n_2": "3"}
    row = {"text": "x", "doc": 7, "source_doc": 8, "source_source_doc": 9, "k\udc00": 1, "deep": {}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    source = SourceDocuments([SourceFile("a.jsonl", tmp_path / "a.jsonl")], DatasetOptions(heldout_fraction=0))
    (document,) = source
    assert document.columns == {
        "source_doc": "7",
        "source_source_doc": "8",
        "source_source_source_doc": "9",
        "k\ufffd": "1",
    }
    assert source.left_out == {"deep"}


@pytest.mark.parametrize(
    ("name", "content", "replaced"),
    [
        ("a.jsonl", b'{"text": "cut \\ud83d off"}\n{"text": "\\ud83d\\ude00"}\n', ["cut \ufffd off", "\U0001f600"]),
        ("a.jsonl", b'{"text": "caf\xe9"}\n{"text": "good"}\n', ["caf\ufffd", "good"]),
        ("a.parquet", parquet(text=not_utf8(b"caf\xe9", b"good")), ["caf\ufffd", "good"]),
        ("a.csv", b"text\ncaf\xe9\ngood\n", ["caf\ufffd", "good"]),
    ],
)
def test_text_that_is_no_valid_unicode_goes_by_the_policy(
    tmp_path: Path, name: str, content: bytes, replaced: list[str]
) -> None:
    assert [d.text for d in documents(tmp_path, name, content, invalid_text="replace")] == replaced
    assert [d.text for d in documents(tmp_path, name, content, invalid_text="skip")] == replaced[1:]
    source = SourceDocuments([SourceFile(name, tmp_path / name)], DatasetOptions(invalid_text="skip"))
    assert len(list(source)) == source.counts.invalid == 1


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(raw)).write_text(A)
    (document,) = SourceDocuments([SourceFile(os.fsdecode(b"caf\xe9.txt"), Path(os.fsdecode(raw)))], DatasetOptions())
    assert document.columns == {"file": "caf\\xe9.txt"}


def read_shouted(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """A toy format: each line of the file is a text in capitals."""
    for number, line in enumerate(file.path.read_text().splitlines(), 1):
        yield SourceRow(f"line {number}", {options.text_column: line.lower()})


def test_a_format_is_one_line_and_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_FORMATS, "shout", TextFormat("Shouts", f"{__name__}:read_shouted"))
    assert [d.text for d in documents(tmp_path, "a.shout", b"ONE\nTWO\n")] == ["one", "two"]
    assert select_files(["a.shout", "README.md"], (), "dataset", "here").names == ["a.shout"]
    assert format_endings().endswith(", .shout")
    assert format_titles()[-1] == "Shouts"
    monkeypatch.undo()
    with pytest.raises(DatasetError, match=r"a\.shout is none of \.parquet, \.arrow, \.jsonl, "):
        documents(tmp_path, "a.shout", b"ONE\n")


def test_columns_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sae.text.source_documents.MOST_COLUMNS", 2)
    (tmp_path / "a.jsonl").write_bytes(lines(*({"text": "x", f"k{i}": i} for i in range(4))))
    source = SourceDocuments([SourceFile("a.jsonl", tmp_path / "a.jsonl")], DatasetOptions())
    assert [document.columns for document in source] == [{"k0": "0"}, {"k1": "1"}, {}, {}]
    assert source.left_out == {"k2", "k3"}
