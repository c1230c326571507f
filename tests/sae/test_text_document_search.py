"""Pages of documents: what a plain loop over all documents would find, in the same order, with an exact account."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.formats import dataset as dataset_format
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, DatasetReader, Document, write_documents
from sae.text.document_search import DocumentQuery, Found, find_documents, parse_where
from sae.text.text_search import SearchError, TextSearch, text_search

SPLITS = ("train", "validation", "test")
WORDS = ("Harbour", "harbour", "boat", "лодка", "ЛОДКА", "漢字", "a.c", "abc", "\n", "ſ", "K")
DOCS = [
    Document(
        SPLITS[i % 7 % 3],
        f"{WORDS[i % 11]} {i} {WORDS[i * 5 % 11]}",
        {"topic": "odd" if i % 2 else "even", "k=v": str(i % 5)},
    )
    for i in range(200)
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> DatasetReader:
    """Files of 60 documents in row groups of about ten."""
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_format, "_GROUP_BYTES", 200)
        write_documents(folder, DOCS, rows_per_file=60)
    return DatasetReader(LocalFiles(folder))


def all_pages(reader: DatasetReader, query: DocumentQuery, limit: int) -> list[Found]:
    pages = [find_documents(reader, query, 0, limit)]
    while pages[-1].next is not None:
        pages.append(find_documents(reader, query, pages[-1].next, limit))
    return pages


def numbers(found: Found) -> list[int]:
    return [row["doc"] for row in found.items]


@settings(max_examples=150, deadline=None)
@given(
    split=st.sampled_from([None, *SPLITS]),
    topic=st.sampled_from([None, "odd", "even", "none"]),
    value=st.sampled_from([None, "0", "4"]),
    pattern=st.sampled_from([None, "harbour", "лод", "漢", "a.c", "^boat", "[0-9]7 ", "s", "k", "\n"]),
    is_regex=st.booleans(),
    ignore_case=st.booleans(),
    limit=st.integers(1, 70),
)
def test_pages_hold_what_a_plain_loop_finds(
    reader: DatasetReader,
    split: str | None,
    topic: str | None,
    value: str | None,
    pattern: str | None,
    is_regex: bool,
    ignore_case: bool,
    limit: int,
) -> None:
    given_where = (("topic", topic), ("k=v", value))
    where = tuple((name, wanted) for name, wanted in given_where if wanted is not None)
    search = None
    if pattern is not None:
        search = TextSearch(
            None if is_regex else pattern, pattern if is_regex else None, ignore_case
        )  # fmt: skip
    plain = re.compile((pattern or "") if is_regex else re.escape(pattern or ""), re.IGNORECASE if ignore_case else 0)
    expected = [
        doc
        for doc, document in enumerate(DOCS)
        if split in (None, document.split)
        and all(document.columns[name] == wanted for name, wanted in where)
        and plain.search(document.text)
    ]
    pages = all_pages(reader, DocumentQuery(split, where, search), limit)
    assert [doc for page in pages for doc in numbers(page)] == expected
    assert all(len(page.items) <= limit for page in pages)
    assert sum(page.looked_at for page in pages) == len(DOCS) == pages[0].total
    if search is not None:
        for page in pages:
            for row in page.items:
                match = plain.search(row["text"])
                assert match is not None and search.first(row["text"]) == match.start()


def test_whole_rows_are_given(reader: DatasetReader) -> None:
    (row,) = find_documents(reader, DocumentQuery(search=TextSearch("boat 68 "))).items
    expected: dict[str, Any] = {"doc": 68, "split": DOCS[68].split, "text": DOCS[68].text, **DOCS[68].columns}
    assert {name: row[name] for name in expected} == expected


def test_a_page_begins_and_ends_anywhere(reader: DatasetReader) -> None:
    for start in (0, 1, 59, 60, 119, 199):
        found = find_documents(reader, DocumentQuery(), start, 3)
        assert numbers(found) == list(range(start, min(start + 3, 200)))
        assert found.next == (start + 3 if start + 3 < 200 else None)
        assert found.looked_at == len(found.items)
    assert find_documents(reader, DocumentQuery(), 200) == Found([], None, 0, 200)
    assert find_documents(reader, DocumentQuery(), 10**12) == Found([], None, 0, 200)


def test_a_page_that_runs_out_of_time_says_how_far_it_came(reader: DatasetReader) -> None:
    query, at, looked_at = DocumentQuery(search=TextSearch("nowhere")), 0, 0
    for _ in range(200):
        found = find_documents(reader, query, at, 5, seconds=1e-9)
        assert found.items == []
        looked_at += found.looked_at
        if found.next is None:
            break
        assert found.next == looked_at > at  # each page comes further
        at = found.next
    assert (found.next, looked_at) == (None, 200)


def test_a_regular_expression_takes_time_linear_in_the_text(tmp_path: Path) -> None:
    write_documents(tmp_path, [Document("train", "a" * 200_000 + "b", {})])
    reader = DatasetReader(LocalFiles(tmp_path))
    for pattern in ("(a+)+$", "(a|aa)+$", "(.*a){20}$"):  # exponential in Python's own engine
        assert find_documents(reader, DocumentQuery(search=TextSearch(regex=pattern))).items == []


def test_files_need_not_have_the_same_columns(tmp_path: Path) -> None:
    write_documents(tmp_path, [Document("train", "one", {}), Document("train", "two", {"topic": "x"})], rows_per_file=1)
    reader = DatasetReader(LocalFiles(tmp_path))
    assert numbers(find_documents(reader, DocumentQuery(where=(("topic", "x"),)))) == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "b", False), "search for `contains` or for `regex`, one of the two"),
        (("", None, False), "give one character or more"),
        (("\ud800", None, False), "in UTF-8"),
        ((None, "(a", False), r"'\(a' is no regular expression of RE2: .*missing \)"),
        ((None, r"(a)\1", False), "is no regular expression of RE2: .*invalid escape"),
        ((None, "(?=a)", False), "is no regular expression of RE2"),
        ((None, "(" * 5000, False), "is no regular expression of RE2"),
        ((None, None, True), "`ignore_case` needs `contains` or `regex`"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(arguments: tuple[Any, Any, bool], message: str) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        text_search(*arguments)
    assert len(str(caught.value)) < 500
    assert text_search(None, None, False) is None


def test_conditions_name_columns(reader: DatasetReader) -> None:
    columns = reader.info.columns
    assert columns == ["k=v", "topic"]
    assert parse_where(["topic=a=b", "k=v=1"], columns) == (("topic", "a=b"), ("k=v", "1"))
    assert parse_where(["topic="], columns) == (("topic", ""),)
    with pytest.raises(SearchError, match=r"'other=1' is no condition COLUMN=VALUE .* it has k=v, topic"):
        parse_where(["other=1"], columns)
    with pytest.raises(SearchError, match="no columns beside the text"):
        parse_where(["other"], [])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_documents(tmp_path, DOCS, rows_per_file=100)
    path = tmp_path / "documents-00001.parquet"
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)  # the footer is whole: the fault is in the pages
    path.write_bytes(data)
    reader = DatasetReader(LocalFiles(tmp_path))
    assert len(find_documents(reader, DocumentQuery(), 0, 100).items) == 100
    with pytest.raises(DatasetError, match=r"cannot read documents from .*documents-00001\.parquet"):
        find_documents(reader, DocumentQuery(), 100, 100)
