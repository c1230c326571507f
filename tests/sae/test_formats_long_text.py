"""Texts in files: everywhere the same as the same text in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.download import DatasetOptions
from sae.formats import dataset, long_text
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, Document, iter_documents, write_documents
from sae.formats.long_text import LongText, is_unicode, text_pieces, utf8_bytes
from sae.text import document_limits
from sae.text.document_limits import cut_text, is_longer, valid_text, wrong_character
from sae.text.duplicates import text_hash
from sae.text.near_duplicates import minima
from sae.text.readers import SourceFile
from sae.text.splits import heldout_split
from sae.text.unicode_blocks import letters_by_block
from sae.text.write_dataset import write_dataset

ANY_BYTES = st.lists(st.sampled_from([b"a", b" ", b"\n", b"\r\n", "é漢🙂".encode(), b"\xff", b"\xe2\x82", b"<p>"])).map(
    b"".join
)


@settings(deadline=None)
@given(ANY_BYTES, st.integers(1, 15), st.integers(20, 30), st.integers(0, 20), st.integers(1, 100))
def test_a_text_in_a_file_is_the_same_text(part: bytes, times: int, piece: int, overlap: int, most: int) -> None:
    data = part * times
    text = data.decode(errors="surrogateescape")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_text, "PIECE", piece)
        patch.setattr(document_limits, "PIECE", piece)
        filed = LongText(text[start : start + 5] for start in range(0, len(text), 5))
        assert (str(filed), len(filed), is_unicode(filed)) == (text, len(text), is_unicode(text))
        assert list(text_pieces(filed, overlap)) == list(text_pieces(text, overlap))
        assert not text or filed.isspace() == text.isspace()
        valid = valid_text(text)
        assert str(valid_text(filed)) == valid
        if not is_unicode(text):
            assert wrong_character(filed) == wrong_character(text)
        elif text:
            assert str(cut_text(filed, most)) == cut_text(text, most)
            assert is_longer(filed, most) == is_longer(text, most)
            assert utf8_bytes(filed) == len(text.encode())
            assert text_hash(filed) == text_hash(text)
            assert heldout_split(filed, 0.5, 1) == heldout_split(text, 0.5, 1)
            assert (minima([filed, "x"]) == minima([text, "x"])).all()
            for one, other in zip(letters_by_block(["a", filed]), letters_by_block(["a", text]), strict=True):
                assert np.array_equal(one, other)
            with filed.array() as array:
                assert array.to_pylist() == [text]


def made(files: list[SourceFile], options: DatasetOptions, folder: Path) -> Any:
    """What write_dataset returns, and its files; or its error."""
    folder.mkdir()
    writing = write_dataset(files, options, folder)
    try:
        while True:
            next(writing)
    except StopIteration as done:
        return done.value, {path.name: path.read_bytes() for path in folder.iterdir()}
    except DatasetError as error:
        return str(error)


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(ANY_BYTES, min_size=1, max_size=3),
    lines=st.lists(st.text("ab é漢🙂\ud83d", max_size=9), max_size=3),
    options=st.fixed_dictionaries(
        {
            "invalid_text": st.sampled_from(["error", "skip", "replace"]),
            "long_documents": st.sampled_from(["error", "skip", "cut"]),
            "max_document_bytes": st.sampled_from([6, 1000]),
            "strip_html": st.booleans(),
            "near_duplicates": st.sampled_from([None, 0.8]),
        },
        optional={
            "text_template": st.just("{text}!"),
            "text_column": st.just("file"),
            "chat_column": st.just("text"),
            "split_column": st.just("text"),
        },
    ),
)
def test_a_dataset_of_long_texts_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], lines: list[str], options: dict[str, Any]
) -> None:
    if len({"text_template", "text_column", "chat_column"} & options.keys()) > 1:
        return  # refused by the config
    folder = tmp_path_factory.mktemp("files")
    for number, data in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(data)
    (folder / "x.jsonl").write_text("".join(json.dumps({"text": line, "file": "f"}) + "\n" for line in lines))
    files = [SourceFile(path.name, path) for path in folder.iterdir()]
    expected = made(files, DatasetOptions(**options), folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_text, "LONG", 3)
        assert made(files, DatasetOptions(**options), folder / "long") == expected


def test_a_document_larger_than_a_file_of_others_is_written_without_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [Document("train", text, {"n": "1"}) for text in ("one", "long é" * 40, "two", "three")]
    monkeypatch.setattr(dataset, "_FILE_BYTES", 100)
    filed = [document._replace(text=LongText(text_pieces(document.text))) for document in documents]
    write_documents(tmp_path, filed)
    assert [document for _, document in iter_documents(LocalFiles(tmp_path))] == documents
    large, small = (pq.read_metadata(tmp_path / f"documents-0000{i}.parquet").row_group(0) for i in range(2))
    assert not large.column(2).is_stats_set
    assert "RLE_DICTIONARY" not in large.column(2).encodings
    assert large.column(0).is_stats_set
    assert small.column(2).is_stats_set
    assert "RLE_DICTIONARY" in small.column(2).encodings
