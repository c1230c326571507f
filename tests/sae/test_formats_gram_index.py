"""The index of grams: it leaves out no row group that has a match, and most of those that have none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.formats import dataset as dataset_format
from sae.formats import long_text
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, DatasetReader, Document, write_documents
from sae.formats.gram_index import GramIndexWriter, grams_of, groups_with
from sae.text.document_search import DocumentQuery, find_documents
from sae.text.text_search import TextSearch

LETTERS = "abkKsS\u017f\u212aåÅ漢 \0é"
texts = st.text(LETTERS, max_size=30)


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.lists(texts, min_size=1, max_size=4), min_size=1, max_size=20),
    cut=st.tuples(st.integers(0, 19), st.integers(0, 3), st.integers(0, 30), st.integers(1, 15)),
    ignore_case=st.booleans(),
)
def test_no_row_group_with_a_match_is_left_out(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[list[str]],
    cut: tuple[int, int, int, int],
    ignore_case: bool,
) -> None:
    writer = GramIndexWriter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_text, "PIECE", 5)
        for group in groups:
            writer.add(group)
    path = tmp_path_factory.mktemp("index") / "x.grams.safetensors"
    writer.save(path)
    group = groups[cut[0] % len(groups)]
    wanted = group[cut[1] % len(group)][cut[2] % 31 :][: cut[3]] or "abab"
    wanted = wanted.swapcase() if ignore_case else wanted
    found = groups_with(path, grams_of(wanted, ignore_case))
    pattern = re.compile(re.escape(wanted), re.IGNORECASE if ignore_case else 0)
    for may, own in zip(found, groups):
        assert may or not any(pattern.search(text) for text in own)


def test_row_groups_without_a_rare_word_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(3000)]
    sentences = [" ".join(words[i] for i in rng.integers(0, 3000, 10)) for _ in range(400)]
    writer = GramIndexWriter()
    for number in range(70):
        group = [sentences[i] for i in rng.integers(0, 400, 3000)]
        writer.add([*group, "a Quartermaster at sea"] if number in (3, 64) else group)
    writer.save(tmp_path / "x")
    for text, ignore_case in (("Quartermaster at", False), ("qUARTERMASTER AT", True)):
        found = np.flatnonzero(groups_with(tmp_path / "x", grams_of(text, ignore_case))).tolist()
        assert {3, 64} <= set(found)
        assert len(found) <= 10
    assert groups_with(tmp_path / "x", grams_of("quart", False))[:70].all(), "too short: any row group can have it"
    assert (tmp_path / "x").stat().st_size < 70 * 150_000 / 8


def test_the_index_of_little_text_is_little(tmp_path: Path) -> None:
    write_documents(tmp_path, [Document("train", "one document", {})])
    assert (tmp_path / "documents-00000.grams.safetensors").stat().st_size < 1200


def test_a_search_reads_only_row_groups_that_can_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_format, "_GROUP_BYTES", 1000)
    words = [f"{i * i % 997:03d}x{i:05d}" for i in range(3000)]
    write_documents(tmp_path, [Document("train", " ".join(words[i : i + 10]), {}) for i in range(0, 3000, 10)], 100)
    read: list[int] = []
    plain = dataset_format.pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        dataset_format.pq.ParquetFile,
        "read_row_groups",
        lambda self, groups, **more: read.extend(groups) or plain(self, groups, **more),
    )
    reader = DatasetReader(LocalFiles(tmp_path))
    found = find_documents(reader, DocumentQuery(search=TextSearch(words[1234])))
    assert [row["doc"] for row in found.items] == [123]
    assert found.looked_at == 300, "what was ruled out was looked at"
    assert len(read) <= 6
    for path in tmp_path.glob("*.safetensors"):  # a dataset without an index is read as a whole
        path.unlink()
    read.clear()
    assert find_documents(reader, DocumentQuery(search=TextSearch(words[1234]))) == found
    assert len(read) > 30


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    write_documents(tmp_path, [Document("train", "one document", {})])
    (tmp_path / "documents-00000.grams.safetensors").write_bytes(b"damaged")
    with pytest.raises(
        DatasetError, match=r"cannot read .*documents-00000\.grams\.safetensors: .* download the dataset"
    ):
        find_documents(DatasetReader(LocalFiles(tmp_path)), DocumentQuery(search=TextSearch("document")))
