"""Files to documents: every format, sections, splits, and what is said of files that cannot be used."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError, Document
from sae.text.html import strip_html
from sae.text.json_sections import sections
from sae.text.source_documents import SourceDocuments, SourceFile
from sae.text.splits import heldout_split, splits_by_file

ROWS: list[dict[str, Any]] = [{"text": "first\nline", "year": 1801, "note": None}, {"text": "second", "year": 1802}]


def read(folder: Path, **options: Any) -> list[Document]:
    files = [
        SourceFile(path.relative_to(folder).as_posix(), path)
        for path in reversed(sorted(folder.rglob("*")))
        if path.is_file()
    ]
    return list(SourceDocuments(files, DatasetOptions(**{"heldout_fraction": 0, **options})))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".jsonl":
            path.write_text(lines)
        case ".gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, ["text", "year", "note"])
                writer.writeheader()
                writer.writerows(rows)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.json", "a.csv"])
def test_each_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ROWS)
    documents = read(tmp_path)
    assert [d.text for d in documents] == ["first\nline", "second"]
    assert [d.columns["year"] for d in documents] == ["1801", "1802"]
    assert all(not d.columns.get("note") for d in documents)


def test_text_files_and_json_lines_under_the_name_json(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("whole\n\nfile\r\n", newline="")
    (tmp_path / "a.json").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert [d.text for d in read(tmp_path)] == ["one", "two", "whole\n\nfile\r\n"]


def test_other_columns_become_text_and_reserved_names_move(tmp_path: Path) -> None:
    row = {"body": "x", "text": "t", "doc": 7, "ok": True, "deep": {"a": 1}, "many": [1]}
    write(tmp_path / "a.jsonl", [row])
    assert read(tmp_path, text_column="body") == [
        Document("train", "x", {"source_text": "t", "source_doc": "7", "ok": "True"})
    ]


def test_order_limit_and_empty_documents(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        write(
            tmp_path / f"{name}.jsonl", [{"text": f"{name}{i}"} for i in range(3)] + [{"text": " \n"}, {"text": None}]
        )
    assert [d.text for d in read(tmp_path)] == ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]
    assert [d.text for d in read(tmp_path, max_documents=4)] == ["a0", "a1", "a2", "b0"]
    source = SourceDocuments([SourceFile("a.jsonl", tmp_path / "a.jsonl")], DatasetOptions())
    assert len(list(source)) == 3
    assert (source.counts.empty, source.files_done) == (2, 1)


def test_splits_of_the_source_are_kept(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "test-00000-of-00001", "dev"):
        write(tmp_path / f"data/{name}.jsonl", [{"text": name}])
    assert {d.text[:4]: d.split for d in read(tmp_path)} == {"trai": "train", "test": "test", "dev": "validation"}
    write(tmp_path / "column/x.jsonl", [{"text": "a", "split": "Val"}, {"text": "b", "split": "TRAIN"}])
    documents = read(tmp_path / "column")
    assert [d.split for d in documents] == ["validation", "train"]
    assert all("split" not in d.columns for d in documents)
    write(tmp_path / "some/x.jsonl", [{"text": "a", "split": "test"}, {"text": "b"}, {"text": "c", "split": None}])
    assert [d.split for d in read(tmp_path / "some")] == ["test", "train", "train"]  # by the held-out fraction, here 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.jsonl", "eval.jsonl"], ["train", "test"]),
        (["train/a.txt", "validation/a.txt", "test/a.txt"], ["train", "validation", "test"]),
        (["train/a.txt", "test/a.txt", "more.txt"], ["train", "test", "train"]),
        (["train.jsonl", "human_annotated_testset.jsonl"], ["train", "test"]),
        (["wiki.train.tokens.txt", "wiki.valid.tokens.txt"], ["train", "validation"]),
        (["squad_train_v2.json", "squad_dev_v2.json"], ["train", "validation"]),
        (["train-00000-of-00002-a1b2.parquet", "test_set.parquet"], ["train", "test"]),
        (["how-to-train-a-dragon.txt", "the-test-of-time.txt", "story-1.txt"], None),
        (["train.jsonl", "train-2.jsonl"], None),  # only a train split still gets held-out documents
        (["test.txt"], None),
        (["contest.txt", "detrain.txt"], None),
    ],
)  # fmt: skip
def test_splits_in_names(names: list[str], expected: list[str] | None) -> None:
    found = splits_by_file(names)
    assert found == (None if expected is None else dict(zip(names, expected, strict=True)))


def test_the_limit_is_for_each_split_of_the_source(tmp_path: Path) -> None:
    for name in ("test", "train"):
        write(tmp_path / f"files/{name}.jsonl", [{"text": f"{name} {i}"} for i in range(30)])
    assert Counter(d.split for d in read(tmp_path / "files", max_documents=10)) == {"train": 10, "test": 10}
    rows = [{"text": f"{split} {i}", "split": split} for split in ("test", "train") for i in range(30)]
    write(tmp_path / "column/a.jsonl", rows)
    assert Counter(d.split for d in read(tmp_path / "column", max_documents=10)) == {"train": 10, "test": 10}
    write(tmp_path / "none/a.jsonl", [{"text": f"text {i}"} for i in range(400)])
    assert len(read(tmp_path / "none", max_documents=100, heldout_fraction=0.2)) == 100


def test_held_out_share_depends_on_text_and_seed_alone() -> None:
    texts = [f"document {i}" for i in range(4000)]
    chosen = [heldout_split(text, 0.1, 0) for text in texts]
    assert 320 < chosen.count("test") < 480
    assert chosen == [heldout_split(text, 0.1, 0) for text in texts]
    assert chosen != [heldout_split(text, 0.1, 1) for text in texts]
    assert all(heldout_split(text, 0, 0) == "train" for text in texts)


def test_sections_become_lines_behind_their_keys() -> None:
    content = {
        "Land": {
            "Area": {"total ": {"text": "3 km"}, "land": {"text": "2 km"}, "note": "<b>note:</b> small"},
            "Climate": {"text": "mild<br>wet &amp; windy"},
            "Empty": {"text": " "},
        },
        "Nothing": {"a": {"text": ""}},
    }
    assert list(sections(content, html=True)) == [
        ("Land", "Area:\ntotal: 3 km\nland: 2 km\nnote: small\nClimate: mild\nwet & windy"), ("Nothing", ""),
    ]  # fmt: skip


def test_sections_carry_region_and_country(tmp_path: Path) -> None:
    (tmp_path / "data/europe").mkdir(parents=True)
    (tmp_path / "data/europe/au.json").write_text('{"A": {"text": "x"}, "B": {"c": {"text": "y"}}, "C": {}}')
    documents = read(tmp_path, documents="sections")
    assert [(d.text, d.columns) for d in documents] == [
        ("x", {"region": "europe", "country": "au", "section": "A"}),
        ("c: y", {"region": "europe", "country": "au", "section": "B"}),
    ]


def test_html_goes_and_lines_stay() -> None:
    text = "<p>one</p>\n\ttwo<br/>three <b class='x'>bold</b> &lt;kept&gt; a < b > c &eacute;"
    text += "<!-- no\n --><script>x<y</script>"
    assert strip_html(text) == "\none\n\n\ttwo\nthree bold <kept> a < b > c é"
    assert strip_html("plain\n\ntext") == "plain\n\ntext"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.xml", "<a/>", {}, r"a\.xml is none of \.parquet, "),
        ("a.jsonl", '{"text": "x", "split": "holdout"}', {}, "column 'split' of line 1 holds 'holdout'; expected train"),
        ("a.txt", "x", {"documents": "sections"}, r"reads \.json files only"),
        ("a.json", "[]", {"documents": "sections"}, "needs a JSON object with a section for each key, not a list"),
        ("a.json", "{", {"documents": "sections"}, r"cannot read a\.json .*line 1, column 2"),
        ("a.json", '{"a":' * 900 + "1" + "}" * 900, {"documents": "sections"}, r"cannot read a\.json .*nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, **options)


def test_a_split_column_can_be_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"text": "x", "split": "holdout"}])
    assert read(tmp_path, split_column=None) == [Document("train", "x", {"source_split": "holdout"})]
