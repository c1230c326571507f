"""A source that is read in chunks becomes, byte for byte and figure for figure, what one pass makes of it."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.download import DatasetOptions
from sae.formats import dataset as dataset_format
from sae.formats.chunk_documents import read_chunk as read_documents
from sae.formats.chunk_documents import write_chunk
from sae.formats.dataset import DOCUMENTS_JSON, DatasetError, DatasetWriter, Document, file_ranges
from sae.formats.long_text import LONG, LongText
from sae.text import source_chunks, source_documents
from sae.text.dataset_in_chunks import (
    chunk_name,
    dataset_files,
    read_chunk,
    sizes_name,
    statistics_name,
    total_findings,
    total_info,
    total_statistics,
    write_file,
)
from sae.text.readers import SourceFile
from sae.text.source_chunks import DividedSource, divide
from sae.text.source_findings import SourceFindings
from sae.text.write_dataset import dataset_summary, has_train_alone, no_documents, write_dataset

WORDS = [
    "the",
    "harbour",
    "lies",
    "behind",
    "ship",
    "and",
    "море",
    "чайка",
    "when",
    "evening",
    "comes",
    "over",
    "boats",
]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_chunks, "ONE_TASK_BYTES", 0)
    monkeypatch.setattr(source_chunks, "CHUNK_BYTES", 1500)
    monkeypatch.setattr(dataset_format, "_FILE_BYTES", 2000)
    monkeypatch.setattr(dataset_format, "_GROUP_BYTES", 300)


def files_of(folder: Path) -> list[SourceFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [SourceFile(path.relative_to(folder).as_posix(), path) for path in paths]


def in_one_pass(files: Sequence[SourceFile], options: DatasetOptions, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    writing = write_dataset(files, options, folder)
    while True:
        try:
            next(writing)
        except StopIteration as done:
            summary: dict[str, Any] = done.value
            return summary


def in_chunks(source: DividedSource, options: DatasetOptions, folder: Path) -> dict[str, Any] | None:
    """What workers do, one thing after another, the last chunks and files first."""
    shared = folder.with_name(f"shared by {folder.name}")
    shared.mkdir()
    folder.mkdir()
    results: list[SourceFindings | DatasetError] = []
    for number, chunk in reversed(list(enumerate(source.chunks))):
        try:
            results.insert(0, SourceFindings.from_json(read_chunk(chunk, number, options, shared).to_json()))
        except DatasetError as error:
            results.insert(0, error)
    found = []
    for result in results:
        if isinstance(result, DatasetError):
            raise result
        found.append(result)
    total = total_findings(found)
    if total is None:
        return None
    files = dataset_files(shared / sizes_name(number) for number in range(len(source.chunks)))
    if not files:
        raise no_documents(dict.fromkeys(file.name for chunk in source.chunks for file in chunk.files), total.counts)
    infos = [
        write_file(
            file, options, has_train_alone(total, options), lambda number: shared / chunk_name(number), folder,
            shared / statistics_name(file.number),
        )
        for file in reversed(files)
    ]  # fmt: skip
    info = total_info(infos[::-1])
    info.save(folder / DOCUMENTS_JSON)
    figures = total_statistics((shared / statistics_name(file.number) for file in files), options)
    return dataset_summary(total, source.shape, info, figures, options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_equal(files: Sequence[SourceFile], folder: Path, least_chunks: int = 2, **given: Any) -> dict[str, Any]:
    """Reads in one pass and in chunks, and gives the summary of both."""
    options = DatasetOptions(**given)
    source = divide(files, options)
    assert source is not None
    assert len(source.chunks) >= least_chunks
    summary = in_one_pass(files, options, folder / "one")
    assert in_chunks(source, options, folder / "many") == summary
    assert contents(folder / "many") == contents(folder / "one")
    return summary


def a_text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 40)))


def rows_of(number: int, rng: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i in range(12):
        row: dict[str, Any] = {"text": a_text(rng), "n": i}
        if i % 5 == 0:
            row[f"extra_{number}"] = "x"
        if i == 7:
            row["text"] = rows[-1]["text"]
        if i == 8:
            row["text"] = " "
        rows.append(row)
    return rows


def a_chat(rng: random.Random) -> dict[str, Any]:
    messages = [{"role": "user", "content": a_text(rng)}, {"role": "assistant", "content": a_text(rng), "extra": "1"}]
    return {"messages": messages, "tools": [{"name": rng.choice(WORDS)}], "id": rng.randint(0, 9)}


def write_parquet(folder: Path, number: int, rng: random.Random) -> None:
    rows = [{"text": row["text"], "n": i, "list": [i]} for i, row in enumerate(rows_of(number, rng) * 4)]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{number}.parquet", row_group_size=10)


def write_arrow(folder: Path, number: int, rng: random.Random) -> None:
    table = pa.Table.from_pylist([{"text": row["text"], "n": row["n"]} for row in rows_of(number, rng)])
    with pa.ipc.new_file(folder / f"{number}.arrow", table.schema) as writer:
        writer.write_table(table)


def write_lines(folder: Path, number: int, rng: random.Random) -> None:
    (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(number, rng)))


def write_packed_lines(folder: Path, number: int, rng: random.Random) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows_of(number, rng))
    (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))


def write_json(folder: Path, number: int, rng: random.Random) -> None:
    (folder / f"{number}.json").write_text(json.dumps(rows_of(number, rng)))


def write_csv(folder: Path, number: int, rng: random.Random) -> None:
    lines = "".join(f'"{row["text"]}",{row["n"]}\n' for row in rows_of(number, rng))
    (folder / f"{number}.csv").write_text(f"text,n{number % 2}\n{lines}")


def write_text(folder: Path, number: int, rng: random.Random) -> None:
    (folder / f"{number}.txt").write_text(a_text(rng) * 9)


def write_tar(folder: Path, number: int, rng: random.Random) -> None:
    with tarfile.open(folder / f"{number}.tar", "w") as archive:
        for i in range(4):
            info, content = tarfile.TarInfo(f"{i}.txt"), a_text(rng).encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_chats(folder: Path, number: int, rng: random.Random) -> None:
    chats = [a_chat(rng) for _ in range(8)]
    if number in (1, 3):
        chats[4]["messages"][0]["role"] = f"narrator {number}"
    (folder / f"{number}.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))


Writer = Callable[[Path, int, random.Random], None]


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (write_parquet, {}),
        (write_arrow, {"near_duplicates": 0.8}),
        (write_lines, {"max_document_bytes": 150, "long_documents": "cut"}),
        (write_packed_lines, {"max_document_bytes": 150, "long_documents": "skip", "heldout_seed": 3}),
        (write_json, {"text_template": "{n}: {text}"}),
        (write_csv, {"heldout_fraction": 0}),
        (write_text, {"near_duplicates": 0.6}),
        (write_tar, {"strip_html": True}),
        (write_chats, {"malformed_chats": "skip"}),
    ],
)
def test_the_same_bytes_in_chunks(tmp_path: Path, write: Writer, options: dict[str, Any]) -> None:
    (tmp_path / "source").mkdir()
    for number in range(5):
        write(tmp_path / "source", number, random.Random(number))
    summary = check_equal(files_of(tmp_path / "source"), tmp_path, **options)
    if write is write_chats:
        assert summary["malformed_chats"] == 2
        assert any("the first: 1.jsonl: column 'messages' of line 5" in note for note in summary["notes"])
    if "long_documents" in options:
        assert summary["long_documents"] > 5
    if write is write_parquet:
        assert "columns that hold no plain values were left out: list" not in summary["notes"]
        assert len(contents(tmp_path / "one")) > 5


def test_row_groups_are_chunks_and_errors_count_rows_of_the_file(tmp_path: Path) -> None:
    texts = [f"text {i} " * 20 for i in range(100)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=9, compression="none")
    files = files_of(tmp_path)
    source = divide(files, DatasetOptions())
    assert source is not None
    groups = [file.row_groups for chunk in source.chunks for file in chunk.files]
    assert len(groups) > 4
    assert [first for first, _ in groups[1:]] == [last for _, last in groups[:-1]]  # type: ignore[misc]
    check_equal(files, tmp_path)
    # A row in the middle of a later row group, by its number in the file.
    texts[95] = "x" * 2000
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=9, compression="none")
    options = DatasetOptions(max_document_bytes=1000)
    source = divide(files, options)
    assert source is not None
    with pytest.raises(DatasetError, match=r"^a\.parquet: row 96: the document has 2,000 bytes"):
        in_chunks(source, options, tmp_path / "again")


def test_a_parquet_file_whose_rows_depend_on_each_other_is_one_chunk(tmp_path: Path) -> None:
    """A nested date beside one that Python cannot hold is read in another way: parts of the file have other neighbours."""
    dates = pa.array([1, 2**31 - 1] * 20, pa.int32()).view(pa.date32())
    texts = pa.array([f"text {i} " * 20 for i in range(40)])
    chats = pa.array([[{"role": "user", "content": "x", "n": 1.5, "raw": b"r"}]] * 40)
    for name, column in (
        ("date", dates),
        ("chats", chats),
        ("at", pa.array([[{"at": d}] for d in dates[:1]] * 40)),
    ):
        table = pa.table({"text": texts, name: column})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=9, compression="none")
    source = divide(files_of(tmp_path), DatasetOptions())
    assert source is not None
    parts = {file.name: len(chunk.files) for chunk in source.chunks for file in chunk.files if file.row_groups}
    assert set(parts) == {"date.parquet", "chats.parquet"}
    check_equal(files_of(tmp_path), tmp_path)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_held_out_documents_of_a_source_with_one_split(tmp_path: Path, split: str) -> None:
    rng = random.Random(0)
    (tmp_path / "source").mkdir()
    for number in range(4):
        rows = [{"text": a_text(rng), **({"split": split} if number != 2 else {})} for _ in range(20)]
        (tmp_path / f"source/{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = check_equal(files_of(tmp_path / "source"), tmp_path, heldout_fraction=0.3)
    assert set(summary["splits"]) == ({"train", "test"} if split == "train" else {"train", "test", "validation"})


def test_splits_in_names_of_files_of_different_chunks(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name in ("data_train_0", "data_train_1", "data_test_0"):
        (tmp_path / f"source/{name}.txt").write_text(f"{name} " * 150)
    splits = check_equal(files_of(tmp_path / "source"), tmp_path)["splits"]
    assert {name: counts["documents"] for name, counts in splits.items()} == {"test": 1, "train": 2}


def test_several_small_files_are_one_chunk(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02d}.txt").write_text("x" * 200)
    source = divide(files_of(tmp_path), DatasetOptions())
    assert source is not None
    assert [len(chunk.files) for chunk in source.chunks] == [7, 7, 7, 7, 2]
    assert [chunk.size for chunk in source.chunks] == [1400, 1400, 1400, 1400, 400]


def test_what_is_read_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": "x" * 2000}) + "\n")
    files = files_of(tmp_path)
    assert divide(files, DatasetOptions()) is not None
    assert divide(files[:1], DatasetOptions()) is None  # one chunk
    assert divide(files, DatasetOptions(max_documents=1)) is None
    assert divide(files, DatasetOptions(text_column="body")) is None  # which is not there
    assert divide([*files, SourceFile("c.jsonl", tmp_path / "c.jsonl")], DatasetOptions()) is None  # nor is this file
    monkeypatch.setattr(source_chunks, "ONE_TASK_BYTES", 1 << 20)
    assert divide(files, DatasetOptions()) is None  # small


def test_too_many_columns_are_left_to_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_documents, "MOST_COLUMNS", 8)
    monkeypatch.setattr("sae.text.dataset_in_chunks.MOST_COLUMNS", 8)
    for number in range(4):
        row = {"text": "x" * 1000, **{f"c{number}{i}": "y" for i in range(2)}}
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row) + "\n")
    options = DatasetOptions()
    (source, fewer) = (divide(files_of(tmp_path)[:n], options) for n in (4, 3))
    assert source is not None
    assert fewer is not None
    assert in_chunks(source, options, tmp_path / "many") is None
    assert (in_chunks(fewer, options, tmp_path / "again") or {})["columns"] == [
        f"c{number}{i}" for number in range(3) for i in range(2)
    ]


def test_the_shape_comes_from_the_first_row_that_says_it(tmp_path: Path) -> None:
    """Rows before it are empty, and files behind it may not say another."""
    nothing = json.dumps({"body": None, "pad": 7, "list": []}) + "\n"
    said = json.dumps({"body": "b" * 900}) + "\n"
    neither = json.dumps({"pad": None}) + "\n"  # which would be an error once the column is known
    (tmp_path / "source").mkdir()
    for number in range(9):
        (tmp_path / f"source/{number}.jsonl").write_text(neither * 120 if number < 4 else nothing * 10 + said)
    files = files_of(tmp_path / "source")
    summary = check_equal(files, tmp_path, 5)
    assert summary["empty_documents"] == 4 * 120 + 5 * 10
    (tmp_path / "source/8.jsonl").write_text(json.dumps({"text": "another column " * 90}) + "\n")
    options = DatasetOptions()
    source = divide(files, options)
    assert source is not None
    for make in (
        lambda: in_one_pass(files, options, tmp_path / "one more"),
        lambda: in_chunks(source, options, tmp_path / "again"),
    ):
        with pytest.raises(DatasetError, match=r"^8\.jsonl: line 1 has no column 'body'; it has 'text'"):
            make()


TEXTS = st.text("ab ж", min_size=1, max_size=30)
SPLITS = st.sampled_from(["train", "test", None])
FINE = st.fixed_dictionaries(
    {"text": st.one_of(TEXTS, st.none(), st.just("\ud800"))},
    optional={"split": SPLITS, "n": st.integers(0, 5), "more": TEXTS},
)
# Of these a source may be refused, for its columns, a split or a value; or it has another column of text.
ODD = st.fixed_dictionaries(
    {}, optional={"text": TEXTS, "body": st.none() | TEXTS | st.just(3), "split": SPLITS | st.just("no")}
)
SOURCES = st.one_of(
    *(st.lists(st.lists(row, min_size=1, max_size=4), min_size=2, max_size=5) for row in (FINE, FINE, FINE | ODD, ODD))
)


@settings(max_examples=100, deadline=None)
@given(
    SOURCES,
    st.sampled_from(["error", "skip", "replace"]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([None, 0.8]),
    st.sampled_from([1, 60, 300]),
)
def test_one_pass_and_chunks_agree_in_bytes_and_errors(
    sources: list[list[dict[str, Any]]], invalid: str, heldout: float, near: float | None, chunk_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(source_chunks, "CHUNK_BYTES", chunk_bytes)
        (folder / "source").mkdir()
        for number, rows in enumerate(sources):
            (folder / f"source/{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files = files_of(folder / "source")
        options = DatasetOptions.model_validate(
            {"invalid_text": invalid, "heldout_fraction": heldout, "near_duplicates": near}
        )
        source = divide(files, options)
        expected: dict[str, Any] | str
        try:
            expected = in_one_pass(files, options, folder / "one")
        except DatasetError as error:
            expected = str(error)
        if source is None:
            return
        found: dict[str, Any] | str | None
        try:
            found = in_chunks(source, options, folder / "many")
        except DatasetError as error:
            found = str(error)
        assert found == expected
        if isinstance(found, dict):
            assert contents(folder / "many") == contents(folder / "one")


@given(st.lists(st.lists(st.integers(1, 900), max_size=12), max_size=6), st.integers(1, 7))
@settings(deadline=None)
def test_ranges_are_what_a_writer_puts_into_files(chunks: list[list[int]], rows_per_file: int) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(dataset_format, "_FILE_BYTES", 1000)
        ranges = file_ranges((np.array(sizes, np.int64) for sizes in chunks), rows_per_file)
        numbered = [(chunk, i) for chunk, sizes in enumerate(chunks) for i in range(len(sizes))]
        assert [(one.chunk, i) for file in ranges for one in file for i in range(one.start, one.stop)] == numbered
        if numbered:
            writer = DatasetWriter(Path(folder), rows_per_file)
            for chunk, i in numbered:
                writer.add(Document("train", "x" * chunks[chunk][i], {}))
            held = list(writer.finish().files.values())
            assert [sum(one.stop - one.start for one in file) for file in ranges] == held


def test_a_long_text_stays_out_of_memory(tmp_path: Path) -> None:
    text = "ж" * LONG + "end"
    documents = [
        Document("train", "first", {"a": "b"}),
        Document("test", LongText([text]), {"c": None}),
        Document("train", "z", {}),
    ]
    assert write_chunk(tmp_path / "chunk", documents).tolist() == [5, 2 * LONG + 3, 1]
    first, long, last = read_documents(tmp_path / "chunk", 0, 3)
    assert (first, last) == (documents[0], documents[2])
    assert isinstance(long.text, LongText)
    assert str(long.text) == text
    assert (long.split, long.columns) == ("test", {"c": None})
    assert [document.split for document in read_documents(tmp_path / "chunk", 1, 2)] == ["test"]
