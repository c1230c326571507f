"""Pages of rows of tokens: what a plain loop over all rows would find, with roles and the borders of documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from sae.formats import tokens as tokens_format
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import Role, TokensError, TokensReader
from sae.report.token_text import TokenText
from sae.text.document_search import Found
from sae.text.row_search import RowQuery, RowTexts, find_rows
from sae.text.text_search import SearchError, TextSearch
from tests.sae.test_text_packing import BOS, EOS, SPLITS, VOCAB, Document, pack, settings_of, spec

LENGTH = 9
TOKENS = TokenText(Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0")).to_str())


class Rows:
    """An artifact, and all its rows as a plain list."""

    def __init__(self, folder: Path) -> None:
        self.files, self.texts = LocalFiles(folder), RowTexts(TOKENS)
        self.all: list[dict[str, Any]] = []
        for split in ("train", "validation", "test"):
            reader = TokensReader(self.files, split)
            rows = reader.read(0, reader.n_rows)
            for row in range(reader.n_rows):
                own = rows.roles[row] != Role.PAD
                self.all.append(
                    {
                        "split": split,
                        "row": row,
                        "ids": rows.input_ids[row].tolist(),
                        "roles": [Role(role).name.lower() for role in rows.roles[row]],
                        "speakers": ["none"] * rows.roles.shape[1],
                        "own": rows.input_ids[row][own].tolist(),
                        "docs": rows.document[row].tolist(),
                    }
                )

    def find(self, query: RowQuery, *arguments: Any, **more: Any) -> Found:
        return find_rows(self.files, query, self.texts, *arguments, **more)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Three splits, shards of ten rows in row groups of four."""
    folder = tmp_path_factory.mktemp("tokens")
    chunks = [
        [Document(SPLITS[(i + c) % 3], [(i * 7 + c * 3 + k * k) % VOCAB for k in range(i % 13)]) for i in range(40)]
        for c in range(3)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_format, "ROW_GROUP", 4)
        pack(folder, chunks, spec(BOS, EOS), settings_of(LENGTH, per_shard=10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_format, "ROW_GROUP", 4)
        return Rows(folder)


@settings(max_examples=150, deadline=None)
@given(
    split=st.sampled_from([None, *SPLITS]),
    token=st.one_of(st.none(), st.integers(0, VOCAB)),
    doc=st.one_of(st.none(), st.integers(0, 120)),
    pattern=st.sampled_from([None, "w1w", "w10", "W7", "w[12]w", "w49$"]),
    is_regex=st.booleans(),
    ignore_case=st.booleans(),
    limit=st.integers(1, 30),
)
def test_pages_hold_what_a_plain_loop_finds(
    rows: Rows,
    split: str | None,
    token: int | None,
    doc: int | None,
    pattern: str | None,
    is_regex: bool,
    ignore_case: bool,
    limit: int,
) -> None:
    search = None
    if pattern is not None:
        search = TextSearch(None if is_regex else pattern, pattern if is_regex else None, ignore_case)
    plain = re.compile((pattern or "") if is_regex else re.escape(pattern or ""), re.IGNORECASE if ignore_case else 0)
    expected = [
        (row["split"], row["row"])
        for row in rows.all
        if split in (None, row["split"])
        and (token is None or token in row["own"])
        and (doc is None or doc in row["docs"])
        and plain.search("".join(f"w{i}" for i in row["own"]))
    ]
    query = RowQuery(split, token, doc, search)
    pages = [rows.find(query, 0, limit)]
    while pages[-1].next is not None:
        pages.append(rows.find(query, pages[-1].next, limit))
    assert [(row["split"], row["row"]) for page in pages for row in page.items] == expected
    wanted = [row for row in rows.all if split in (None, row["split"])]
    assert sum(page.looked_at for page in pages) == len(wanted)
    assert pages[0].total == len(rows.all)


def test_a_row_shows_roles_and_the_borders_of_documents(rows: Rows) -> None:
    shown = rows.find(RowQuery(), 0, 1000).items
    assert len(shown) == len(rows.all)
    for item, row in zip(shown, rows.all):
        assert (item["ids"], item["roles"]) == (row["ids"], row["roles"])
        documents = [-1] * LENGTH
        for part in item["documents"]:
            documents[part["start"] : part["stop"]] = [part["doc"]] * (part["stop"] - part["start"])
        assert documents == row["docs"]
    # A document that goes on in another row says where.
    assert any(part["offset"] for item in shown for part in item["documents"])


def test_padding_is_never_found(rows: Rows) -> None:
    last = next(row for row in reversed(rows.all) if "pad" in row["roles"])
    assert last["ids"][-1] == EOS, "padding has the id of EOS here"
    found = rows.find(RowQuery(split=last["split"], token=EOS), 0, 1000).items
    assert (last["row"] in [row["row"] for row in found]) == (EOS in last["own"])


def test_a_page_that_runs_out_of_time_goes_on(rows: Rows) -> None:
    query, at, looked_at = RowQuery(search=TextSearch("nowhere")), 0, 0
    while True:
        found = rows.find(query, at, 5, seconds=1e-9)
        looked_at += found.looked_at
        if found.next is None:
            break
        assert found.next > at
        at = found.next
    assert looked_at == len(rows.all)


def test_what_is_wrong_is_said(rows: Rows, tmp_path: Path) -> None:
    pack(tmp_path, [[Document("train", [3, 4])]], spec(None, None), settings_of(LENGTH))
    files = LocalFiles(tmp_path)
    with pytest.raises(SearchError, match="there are no rows of split 'test'; there are train"):
        find_rows(files, RowQuery(split="test"), rows.texts)
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(TokensError, match=r"cannot read rows of train-00000\.parquet: .*; tokenize again"):
        find_rows(files, RowQuery(), rows.texts)
