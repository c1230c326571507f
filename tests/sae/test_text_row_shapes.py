"""What documents are made of: a nested column, columns joined by a template, and how large and how clean they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.download import DatasetOptions
from configs.text_templates import template_parts
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, Document, iter_documents, write_documents
from sae.text.column_paths import MISSING, value_at
from sae.text.document_limits import cut_text, is_longer
from sae.text.readers import SourceFile
from sae.text.row_shapes import ChatShape
from sae.text.source_documents import SourceDocuments

ROW = {
    "title": "Ships",
    "body": "They sail.",
    "year": 1801,
    "note": None,
    "meta": {"pages": [{"text": "first"}, {"text": "second"}], "by": "A. N."},
}


def source_of(folder: Path, rows: list[Any], **options: Any) -> SourceDocuments:
    name = options.pop("name", "a.jsonl")
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SourceDocuments([SourceFile(name, folder / name)], DatasetOptions(**{"heldout_fraction": 0, **options}))


def texts(folder: Path, rows: list[Any], **options: Any) -> list[str]:
    return [document.text for document in source_of(folder, rows, **options)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("body", "They sail."),
        ("meta.by", "A. N."),
        ("meta.pages[1].text", "second"),
        ("meta.pages[-2].text", "first"),
    ],
)
def test_a_text_by_path(tmp_path: Path, name: str, path: str, expected: str) -> None:
    assert texts(tmp_path, [ROW], name=name, text_column=path) == [expected]


def test_a_column_of_that_name_goes_before_the_path(tmp_path: Path) -> None:
    row = {"a.b": "the name", "a": {"b": "the path"}}
    assert value_at(row, "a.b") == "the name"
    assert value_at({"a": row["a"]}, "a.b") == "the path"
    assert value_at({"x]y": 1}, "x]y") == 1
    for path in ("a.c", "a[0]", "b", "a.b.c", "x]y", "a..b"):
        assert value_at({"a": row["a"]}, path) is MISSING


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("meta.bye", "row_or_line 1 has no column 'meta.bye'; it has 'title', 'body'"),
        ("meta.pages[2].text", r"row_or_line 1 has no column 'meta\.pages\[2\]\.text'; it has"),
        ("other.by", "no column 'other.by'; it has 'title', 'body'"),
        ("meta.pages", "column 'meta.pages' of row_or_line 1 holds a list, not text"),
    ],
)
def test_a_path_that_leads_nowhere_is_said(tmp_path: Path, name: str, path: str, message: str) -> None:
    message = message.replace("row_or_line", "line" if name.endswith("jsonl") else "row")
    with pytest.raises(DatasetError, match=message) as caught:
        texts(tmp_path, [ROW], name=name, text_column=path)
    assert len(str(caught.value)) < 500


def test_nested_values_beside_the_text_that_python_cannot_hold_cost_nothing(tmp_path: Path) -> None:
    far = pa.array([253402300800 + 10**9], pa.timestamp("s"))
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9"))
    struct = pa.StructArray.from_arrays([far, text], ["day", "text"])
    pq.write_table(pa.table({"meta": struct}), tmp_path / "a.parquet")
    files = [SourceFile("a.parquet", tmp_path / "a.parquet")]
    options = {"text_column": "meta.text", "heldout_fraction": 0}
    with pytest.raises(DatasetError, match="byte 0xe9 at character 3 is not UTF-8"):
        list(SourceDocuments(files, DatasetOptions(**options)))
    (document,) = SourceDocuments(files, DatasetOptions(**options, invalid_text="replace"))
    assert document == Document("train", "caf\ufffd", {})


def test_a_template_joins_columns(tmp_path: Path) -> None:
    template = "# {title} ({year})\n\n{meta.pages[0].text} {{and}} {meta.by}{note}"
    for name in ("a.jsonl", "a.parquet"):
        source = source_of(tmp_path, [ROW, {**ROW, "title": None}], name=name, text_template=template)
        first, second = source
        assert first.text == "# Ships (1801)\n\nfirst {and} A. N."
        assert first.columns == {"body": "They sail."}  # what is in the text is not written twice
        assert second.text == "#  (1801)\n\nfirst {and} A. N."
        assert source.counts.nulls == 3
    assert texts(tmp_path, [{"a": None, "b": " "}, {"a": "x", "b": None}], text_template="{a}: {b}") == ["x: "]
    html = [{"a": "<b>x</b>", "b": "&lt;"}]
    assert texts(tmp_path, html, text_template="<{a}>{b}", strip_html=True) == ["<x><"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{titel}", "line 1 has no column 'titel'; it has .*; it is named by dataset.text_template"),
        ("{title}{meta.nobody}", "line 1 has no column 'meta.nobody'"),
        ("{meta}", "column 'meta' of line 1 holds an object, which dataset.text_template cannot join"),
    ],
)
def test_a_template_that_does_not_fit_is_said(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        texts(tmp_path, [ROW], text_template=template)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_template": "no column"}, "the template names no column"),
        ({"text_template": "{a"}, "a column is written as {name}"),
        ({"text_template": "{}"}, "nothing else between the braces"),
        ({"text_template": "{a!r}"}, "nothing else between the braces"),
        ({"text_template": "{a:>9}"}, "nothing else between the braces"),
        ({"text_template": "{a}", "text_column": "b"}, "give one of text_column and text_template"),
        ({"chat_column": "a", "text_template": "{a}"}, "give one of text_template and chat_column"),
        ({"prompt_column": "q", "chat_column": "a"}, "give one of chat_column and prompt_column"),
        ({"documents": "chats", "text_template": "{a}"}, "give one of text_template and documents: chats"),
        ({"documents": "sections", "response_column": "a"}, "give one of prompt_column and documents: sections"),
        ({"documents": "sections", "text_column": "b"}, "give one of text_column and documents: sections"),
    ],
)
def test_options_that_say_two_things_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetOptions(**options)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.text("ab{}\n", max_size=5), st.sampled_from(["", "x", "y.z", "a[0]"])), max_size=5))
def test_a_template_is_cut_where_columns_are(parts: list[tuple[str, str]]) -> None:
    doubled = "".join(
        text.replace("{", "{{").replace("}", "}}") + (f"{{{name}}}" if name else "") for text, name in parts
    )
    named = [name for _, name in parts if name]
    if not named:
        with pytest.raises(ValueError, match="names no column"):
            template_parts(doubled)
        return
    found = template_parts(doubled)
    assert [name for _, name in found if name] == named
    written = "".join(text + ("" if name is None else f"<{name}>") for text, name in found)
    assert written == "".join(text + (f"<{name}>" if name else "") for text, name in parts)


def test_the_shape_of_the_first_row_that_says_one_holds(tmp_path: Path) -> None:
    rows = [{"content": None}, {"content": "one"}, {"content": "two", "title": "not looked at"}]
    source = source_of(tmp_path, rows)
    assert [document.text for document in source] == ["one", "two"]
    assert source.counts.empty == 1
    with pytest.raises(DatasetError, match="line 2 has no column 'content'; it has 'text'"):
        texts(tmp_path, [{"content": "one"}, {"text": "two"}])


def test_the_name_of_a_file_is_never_found_to_be_the_text(tmp_path: Path) -> None:
    assert texts(tmp_path, [{"file": "a.txt", "content": "one"}]) == ["one"]
    with pytest.raises(DatasetError, match=r"no column 'text'; it has 'n' \(a number\)"):
        texts(tmp_path, [{"file": "a.txt", "n": 1}])
    assert texts(tmp_path, [{"file": "a.txt", "n": 1}], text_column="file") == ["a.txt"]


LONG = [{"text": "short"}, {"text": "é" * 10}, {"text": "x" * 10}]


def test_a_long_document_goes_by_the_policy(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"line 2: the document has 20 bytes or more, above dataset.max_document_bytes \(11\): raise that",
    ):
        texts(tmp_path, LONG, max_document_bytes=11)
    source = source_of(tmp_path, LONG, max_document_bytes=11, long_documents="skip")
    assert [document.text for document in source] == ["short", "x" * 10]
    assert source.counts.long == 1
    source = source_of(tmp_path, LONG, max_document_bytes=7, long_documents="cut")
    assert [document.text for document in source] == ["short", "é" * 3, "x" * 7]
    assert source.counts.long == 2
    assert texts(tmp_path, LONG, max_document_bytes=20) == [row["text"] for row in LONG]


@given(st.text(), st.integers(1, 30))
def test_a_text_is_cut_between_characters(text: str, most: int) -> None:
    cut = cut_text(text, most)
    assert text.startswith(cut)
    assert len(cut.encode()) <= most
    assert is_longer(text, most) == (cut != text)
    if cut != text:
        assert len(text[: len(cut) + 1].encode()) > most


keys = st.sampled_from(
    ["text", "messages", "role", "content", "from", "value", "prompt", "response", "split", "thinking", "tool_calls", "a"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["user", "gpt", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
shapes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"documents": "chats"},
        {"chat_column": "messages"},
        {"chat_column": "a[0].messages"},
        {"response_column": "a.text"},
        {"text_column": "a.text"},
        {"text_template": "{a} {messages[0].content}"},
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(keys, values, max_size=4), min_size=1, max_size=4),
    shapes,
    st.sampled_from(["error", "skip", "replace"]),
    st.booleans(),
)
def test_any_rows_give_documents_or_one_message(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    shape: dict[str, Any],
    policy: str,
    arrow: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    name = "rows.jsonl"
    if arrow:
        try:
            pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
            name = "rows.parquet"
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            pass  # values that no table holds together
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = DatasetOptions(**shape, invalid_text=policy, max_document_bytes=50, long_documents="cut")  # type: ignore[arg-type]
    source = SourceDocuments([SourceFile(name, folder / name)], options)
    try:
        found = list(source)
    except DatasetError as error:
        assert len(str(error)) < 500  # noqa: PT017
        assert name in str(error)  # noqa: PT017
        return
    for document in found:
        assert document.text.strip()
        assert len(document.text.encode()) <= 50
        assert (document.messages is None) == (not isinstance(source.shape, ChatShape))
    counts = source.counts
    left_out = counts.empty + (counts.invalid if policy == "skip" else 0)
    assert len(found) + left_out <= len(rows) <= len(found) + left_out + counts.long
    if found:
        (folder / "out").mkdir(exist_ok=True)
        write_documents(folder / "out", found)
        assert [document for _, document in iter_documents(LocalFiles(folder / "out"))] == filled(found)


def filled(documents: list[Document]) -> list[Document]:
    """With null in each column that another document has."""
    names = sorted({name for document in documents for name in document.columns})
    return [one._replace(columns={name: one.columns.get(name) for name in names}) for one in documents]
