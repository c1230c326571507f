"""Damage that once was fatal or went unseen: each ends with an error that names the file and a place."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae.formats.dataset import DatasetError
from tests.sae.test_text_readers import A, B, C, documents, lines, table, zstd


def arrow_with_wrong_offsets() -> bytes:
    """A text column whose first text ends a gigabyte behind its buffer."""
    offsets = b"".join(end.to_bytes(4, "little") for end in (0, 1 << 30, 6))
    column = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(b"abcdef")])
    sink = io.BytesIO()
    content = pa.record_batch([column], names=["text"])
    with pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_batch(content)
    return sink.getvalue()


def test_arrow_is_not_read_beyond_its_buffers(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.arrow .*behind row 0: column 'text' is damaged"):
        documents(tmp_path, "a.arrow", arrow_with_wrong_offsets())


@pytest.mark.parametrize(("ending", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress), ("gz", gzip.compress)])
def test_a_damaged_stream_behind_a_whole_one_is_no_end(tmp_path: Path, ending: str, pack: object) -> None:
    assert callable(pack)
    first, second = pack(lines({"text": A})), pack(lines({"text": B}))
    assert [one.text for one in documents(tmp_path, f"a.jsonl.{ending}", first + second + bytes(64))] == [A, B]
    with pytest.raises(DatasetError, match=rf"a\.jsonl\.{ending} .*\((behind line 1|before its first row)\)"):
        documents(tmp_path, f"a.jsonl.{ending}", first + b"\x01" + second[1:])


def test_compressed_tables_are_read(tmp_path: Path) -> None:
    content = table(pa.table({"text": [A, B, C]}))
    for ending, pack in (("zst", zstd), ("gz", gzip.compress), ("xz", lzma.compress)):
        assert [one.text for one in documents(tmp_path, f"a.parquet.{ending}", pack(content))] == [A, B, C]


def test_parquet_pages_are_checked_where_they_have_checksums(tmp_path: Path) -> None:
    sink = io.BytesIO()
    plain = pa.table({"text": [A, B]})
    pq.write_table(plain, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    content = sink.getvalue()
    assert content.count(b"ships") >= 1
    with pytest.raises(DatasetError, match=r"a\.parquet .*before its first row"):
        documents(tmp_path, "a.parquet", content.replace(b"ships", b"chips"))


@pytest.mark.parametrize("policy", ["error", "skip", "cut"])
def test_what_unpacks_to_more_than_a_document_may_have(tmp_path: Path, policy: str) -> None:
    text, options = "a" * (20 << 20), {"max_document_bytes": 1000, "long_documents": policy}
    with pytest.raises(DatasetError, match=r"a\.jsonl\.gz .*line 1 is longer than 16,783,216 characters"):
        documents(tmp_path, "a.jsonl.gz", gzip.compress(lines({"text": text}), 1), **options)
    content = gzip.compress(text.encode(), 1)
    if policy == "error":
        with pytest.raises(DatasetError, match="the document has 1,001 bytes or more"):
            documents(tmp_path, "a.txt.gz", content, **options)
        return
    found = documents(tmp_path, "a.txt.gz", content, **options)
    assert [len(one.text) for one in found] == ([1000] if policy == "cut" else [])
    with pytest.raises(DatasetError, match=r"a\.txt\.gz .*before its first row"):
        documents(tmp_path, "a.txt.gz", content[:-8], **options)
