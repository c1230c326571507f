"""A dataset from files: held-out documents where the source has train alone, and what is said about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.download import DatasetOptions
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, iter_documents
from sae.text.readers import SourceFile
from sae.text.write_dataset import write_dataset


def write(
    folder: Path, rows: list[dict[str, Any]], splits: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "out").mkdir(exist_ok=True)
    writing = write_dataset(
        [SourceFile("a.jsonl", folder / "a.jsonl")], DatasetOptions(**options), folder / "out", splits
    )  # fmt: skip
    while True:
        try:
            next(writing)
        except StopIteration as done:
            summary: dict[str, Any] = done.value
            return summary


def test_a_split_column_with_train_alone_still_gets_held_out_documents(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "split": "train"} for i in range(400)]
    summary = write(tmp_path, rows, heldout_fraction=0.2)
    assert 40 < summary["splits"]["test"]["documents"] < 120
    assert summary["documents"] == 400
    assert summary["notes"] == ["the source has split train alone: heldout_fraction 0.2 made split test"]
    documents = [document for _, document in iter_documents(LocalFiles(tmp_path / "out"))]
    assert [document.text for document in documents] == [row["text"] for row in rows]
    assert all(document.columns == {} for document in documents)


def test_without_held_out_documents_it_is_said(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "split": "train"} for i in range(40)]
    (note,) = write(tmp_path, rows, heldout_fraction=0)["notes"]
    assert "no document is of split test, which evaluation reads by default; there are 40 of train" in note
    (note,) = write(tmp_path, [{"text": "x", "split": "train"}, {"text": "y", "split": "dev"}])["notes"]
    assert "there are 2 of train, validation: raise dataset.heldout_fraction (now 0.05), or set `split` there" in note


def test_splits_that_are_known_go_before_names(tmp_path: Path) -> None:
    assert set(write(tmp_path, [{"text": "x"}], {"a.jsonl": "validation"})["splits"]) == {"validation"}


def test_what_was_left_out_is_counted_and_said(tmp_path: Path) -> None:
    rows = [{"text": "x", "split": "test", "deep": [1]}, {"text": "\ud83d", "split": "test"}, {"text": " "}]
    summary = write(tmp_path, rows, invalid_text="skip")
    assert (summary["documents"], summary["empty_documents"], summary["invalid_documents"]) == (1, 1, 1)
    assert summary["notes"] == [
        "characters that are no valid Unicode were the reason to leave out 1 documents",
        "columns that hold no plain values were left out: deep",
    ]
    with pytest.raises(DatasetError, match=r"the dataset is empty: no document of a\.jsonl has any text \(1 rows"):
        write(tmp_path, [{"text": " "}])


def test_statistics_are_of_the_documents_that_were_written(tmp_path: Path) -> None:
    text = "a long enough text about the harbour and the boats that lie in it"
    rows = [{"text": text, "split": "train"}, {"text": text.upper(), "split": "train"}, {"text": " "}]
    rows += [{"text": f"число {i}", "split": "train"} for i in range(200)] + [{"text": text, "split": "train"}]
    found = write(tmp_path, rows, heldout_fraction=0.2)["statistics"]
    # All documents came from split train, and were divided in a second pass over the source: they count once.
    assert found["missing_splits"] == ["validation"]
    assert found["scripts"][0] == {
        "block": "Cyrillic", "documents": 200, "documents_with_any": 200, "letters": 1000,
    }  # fmt: skip
    assert found["duplicates"]["documents"] == found["duplicates"]["texts"] == 1
    assert found["duplicates"]["largest"] == [{"doc": 0, "documents": 2}]
    assert "near_duplicates" not in found
    near = write(tmp_path, rows, heldout_fraction=0.2, near_duplicates=1)["statistics"]["near_duplicates"]
    assert near == {"similarity": 1.0, "documents": 2, "groups": 1, "largest": [{"doc": 0, "documents": 3}]}
