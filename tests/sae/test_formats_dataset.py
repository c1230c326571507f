"""Documents in Parquet files: written, cut into chunks, read back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, DatasetReader, Document, iter_documents, write_documents

DOCS = [Document(("train", "test")[i % 3 == 0], f"text {i} é" * (i + 1), {"n": str(i)}) for i in range(25)]


def test_round_trip_over_several_files(tmp_path: Path) -> None:
    info = write_documents(tmp_path, iter(DOCS), rows_per_file=10)
    assert info.files == {f"documents-0000{i}.parquet": n for i, n in enumerate((10, 10, 5))}
    assert info.documents == 25
    assert info.columns == ["n"]
    assert info.splits["test"]["documents"] == 9
    assert info.text_bytes == sum(len(d.text.encode()) for d in DOCS)
    assert list(iter_documents(LocalFiles(tmp_path))) == list(enumerate(DOCS))
    tested = [(i, d) for i, d in enumerate(DOCS) if d.split == "test"]
    assert list(iter_documents(LocalFiles(tmp_path), "test")) == tested


def test_equal_documents_give_equal_bytes(tmp_path: Path) -> None:
    seen = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_documents(tmp_path / name, DOCS, rows_per_file=7)
        seen.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / name).iterdir())])
    assert seen[0] == seen[1]


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120))
def test_chunks_cover_every_document_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    write_documents(folder, (Document("train", "x" * size, {}) for size in sizes), rows_per_file=15)
    reader = DatasetReader(LocalFiles(folder))
    docs = []
    for name, start, stop in reader.chunks(most):
        table = reader.read(name, start, stop)
        chunk = table.column("text_bytes").to_pylist()
        assert sum(chunk) <= most or len(chunk) == 1
        docs += table.column("doc").to_pylist()
    assert docs == list(range(len(sizes)))


def test_reads_only_the_wanted_rows(tmp_path: Path) -> None:
    texts = [chr(97 + i) * 400_000 for i in range(7)]  # row groups hold 1 MiB: two of these each
    write_documents(tmp_path, (Document("train", text, {}) for text in texts))
    table = DatasetReader(LocalFiles(tmp_path)).read("documents-00000.parquet", 3, 6, ["doc", "text"])
    assert table.column("doc").to_pylist() == [3, 4, 5]
    assert [text[0] for text in table.column("text").to_pylist()] == ["d", "e", "f"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the dataset is empty"):
        write_documents(tmp_path, [])
    with pytest.raises(DatasetError, match="split 'dev'; the splits are train, validation, test"):
        write_documents(tmp_path, [Document("dev", "a", {})])
    with pytest.raises(DatasetError, match="this is no dataset"):
        DatasetReader(LocalFiles(tmp_path))
    write_documents(tmp_path, DOCS)
    (tmp_path / "documents-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"cannot read documents from .*documents-00000\.parquet"):
        DatasetReader(LocalFiles(tmp_path)).chunks(10)
