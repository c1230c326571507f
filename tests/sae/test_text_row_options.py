"""Packing, truncation, stride and padding: whatever the options, each token is data once and stands where it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.tokenize import TokenizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import Role, TokensReader, load_info
from sae.text.best_fit import best_fit
from sae.text.row_pieces import ConcatenatedRows, list_rows, open_rows, own_tokens
from sae.text.tokenizer_spec import TokenizeError
from tests.sae.test_text_packing import BOS, EOS, SPLITS, VOCAB, Document, pack, settings_of, spec

PAD = 7  # also an id of texts: what is padding is known by its role alone
OF_TEXT = (Role.DATA, Role.SPECIAL, Role.BOUNDARY)


class Token(NamedTuple):
    doc: int
    offset: int
    id: int
    role: int


class StoredRow(NamedTuple):
    """A row of a file: its padding on both sides, whether it begins with BOS, and its other tokens."""

    left: int
    right: int
    bos: bool
    tokens: list[Token]


@st.composite
def option_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Any options that go together."""
    packing = draw(st.sampled_from(["concatenate", "best_fit", "off"]))
    truncation = "overflow" if packing == "concatenate" else draw(st.sampled_from(["overflow", "cut", "refuse"]))
    sided = packing != "concatenate" and truncation != "refuse"
    return {
        "packing": packing,
        "truncation": truncation,
        "truncation_side": draw(st.sampled_from(["left", "right"])) if sided else "right",
        "stride": draw(st.integers(0, 6)) if truncation == "overflow" else 0,
        "padding": draw(st.sampled_from(["none", "longest", "max_length"])),
        "padding_side": draw(st.sampled_from(["left", "right"])),
        "return_attention_mask": draw(st.booleans()),
    }


documents = st.builds(Document, st.sampled_from(SPLITS), st.lists(st.integers(0, VOCAB - 1), max_size=40))
chunk_lists = st.lists(st.lists(documents, max_size=6), min_size=1, max_size=4)


def stored_rows(folder: Path, split: str, mask: bool) -> list[StoredRow]:
    """The rows of a split as another program reads them, in the order of the files."""
    found = []
    for path in sorted(folder.glob(f"{split}-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            ids, roles = row["input_ids"], row["roles"]
            assert row.get("attention_mask") == ([int(role != Role.PAD) for role in roles] if mask else None)
            inside = [i for i, role in enumerate(roles) if role != Role.PAD]
            left, stop = inside[0], inside[-1] + 1
            assert inside == list(range(left, stop))
            bos = roles[left] == Role.BOS
            starts = [segment["start"] for segment in row["segments"]]
            assert starts[0] == left + bos
            tokens = [
                Token(segment["doc"], segment["offset"] + at - segment["start"], ids[at], roles[at])
                for segment, end in zip(row["segments"], [*starts[1:], stop], strict=True)
                for at in range(segment["start"], end)
            ]
            found.append(StoredRow(left, len(roles) - stop, bos, tokens))
    return found


@settings(max_examples=250, deadline=None)
@given(
    chunks=chunk_lists,
    options=option_sets(),
    row_bos=st.sampled_from([None, BOS]),
    separator=st.sampled_from([None, EOS]),
    length=st.integers(8, 16),
)
def test_each_token_is_data_once_whatever_the_options(
    tmp_path_factory: pytest.TempPathFactory,
    chunks: list[list[Document]],
    options: dict[str, Any],
    row_bos: int | None,
    separator: int | None,
    length: int,
) -> None:
    numbered = list(enumerate(document for chunk in chunks for document in chunk))
    assume(any(document.ids for _, document in numbered))
    known, config = spec(row_bos, separator, pad=PAD), settings_of(length, **options)
    folder, payload = tmp_path_factory.mktemp("rows"), length - (row_bos is not None)
    if config.truncation == "refuse" and any(len(document.ids) > payload for _, document in numbered):
        with pytest.raises(TokenizeError, match=rf"do not fit into a row: .* a row takes {payload}"):
            pack(folder, chunks, known, config)
        return
    pack(folder, chunks, known, config)
    info = load_info(LocalFiles(folder))
    assert (info.padding, info.padding_side, info.packing) == (config.padding, config.padding_side, config.packing)
    widths = []
    for split in info.splits:
        own = {number: document.ids for number, document in numbered if document.split == split and document.ids}
        rows = stored_rows(folder, split, config.return_attention_mask)
        _check_data(rows, own, config, payload, separator)
        _check_figures(rows, own, info.splits[split], payload, config)
        _check_documents(rows, [document.ids for _, document in numbered], info.splits[split])
        _check_padding(rows, config, info.context_length)
        _check_reader(rows, TokensReader(LocalFiles(folder), split))
        assert all(row.bos == (row_bos is not None) for row in rows)
        widths += [row.bos + len(row.tokens) for row in rows]
        if config.packing == "off":
            assert all(len({token.doc for token in row.tokens}) == 1 for row in rows)
    assert max(widths) <= length
    assert info.context_length == (length if config.padding == "max_length" else max(widths))


@settings(max_examples=150, deadline=None)
@given(
    chunks=chunk_lists,
    options=option_sets(),
    max_rows=st.one_of(st.none(), st.integers(1, 5)),
    max_tokens=st.one_of(st.none(), st.integers(1, 60)),
    row_bos=st.sampled_from([None, BOS]),
    separator=st.sampled_from([None, EOS]),
)
def test_the_rows_wanted_are_the_first_of_all_rows(
    tmp_path_factory: pytest.TempPathFactory,
    chunks: list[list[Document]],
    options: dict[str, Any],
    max_rows: int | None,
    max_tokens: int | None,
    row_bos: int | None,
    separator: int | None,
) -> None:
    options = {**options, "truncation": "cut" if options["truncation"] == "refuse" else options["truncation"]}
    assume(any(document.ids for chunk in chunks for document in chunk))
    known, (everything, some) = spec(row_bos, separator, pad=PAD), (tmp_path_factory.mktemp("rows") for _ in range(2))
    pack(everything, chunks, known, settings_of(9, **options))
    texts = [document.ids for chunk in chunks for document in chunk]
    expected = {}
    for split in load_info(LocalFiles(everything)).splits:
        rows = stored_rows(everything, split, options["return_attention_mask"])
        widths = np.cumsum([row.bos + len(row.tokens) for row in rows])
        count = min(max_rows or len(rows), int((widths <= (max_tokens or widths[-1])).sum()))
        expected[split] = [(row.bos, row.tokens) for row in rows[:count]]
    config = settings_of(9, **options, max_rows=max_rows, max_tokens=max_tokens)
    if not all(expected.values()):
        with pytest.raises(TokenizeError, match=r"max_tokens .* is less than the .* of the first row of split"):
            pack(some, chunks, known, config)
        return
    pack(some, chunks, known, config)
    for split, wanted in expected.items():
        rows = stored_rows(some, split, options["return_attention_mask"])
        assert [(row.bos, row.tokens) for row in rows] == wanted
        _check_documents(rows, texts, load_info(LocalFiles(some)).splits[split])


def _check_documents(rows: list[StoredRow], texts: list[list[int]], figures: dict[str, Any]) -> None:
    """The documents that the rows hold, and what those lack, counted from the rows themselves."""
    rows_of: dict[int, set[int]] = {}
    tokens: dict[int, int] = {}
    for number, row in enumerate(rows):
        for token in row.tokens:
            if token.role in OF_TEXT:
                rows_of.setdefault(token.doc, set()).add(number)
                tokens[token.doc] = tokens.get(token.doc, 0) + 1
    lost = [len(texts[doc]) - count for doc, count in tokens.items()]
    assert figures["rows"] == len(rows)
    assert figures["documents"] == len(rows_of)
    assert figures["divided_documents"] == sum(len(found) > 1 for found in rows_of.values())
    assert (figures["cut_documents"], figures["cut_tokens"]) == (sum(more > 0 for more in lost), sum(lost))


def _check_data(
    rows: list[StoredRow], own: dict[int, list[int]], config: TokenizeConfig, payload: int, separator: int | None
) -> None:
    """Each document's tokens once, but those that were cut; what is repeated is so in truth; separators at ends."""
    found: dict[int, list[tuple[int, int]]] = {doc: [] for doc in own}
    rows_of: dict[int, int] = dict.fromkeys(own, 0)
    for row in rows:
        for doc in {token.doc for token in row.tokens if token.role in OF_TEXT}:
            rows_of[doc] += 1
        for at, token in enumerate(row.tokens):
            whole = [*own[token.doc], separator]
            if token.role in OF_TEXT:
                found[token.doc].append((token.offset, token.id))
            elif token.role == Role.REPEATED:
                assert token.id == whole[token.offset]
                assert at < config.stride or config.packing == "best_fit"
            else:
                assert (token.role, token.id) == (Role.SEPARATOR, separator)
                last = at + 1 == len(row.tokens) or row.tokens[at + 1].doc != token.doc
                assert last or config.packing == "concatenate"
    for doc, ids in own.items():
        cut = max(0, len(ids) - payload) if config.truncation == "cut" else 0
        first = cut if config.truncation_side == "left" else 0
        kept = range(first, first + len(ids) - cut)
        assert sorted(found[doc]) == [(offset, ids[offset]) for offset in kept]
        if config.packing != "concatenate" and len(ids) <= payload:
            assert rows_of[doc] == 1
    if config.packing == "concatenate" and separator is not None:
        assert sum(token.role == Role.SEPARATOR for row in rows for token in row.tokens) == len(own)


def _check_figures(
    rows: list[StoredRow], own: dict[int, list[int]], figures: dict[str, Any], payload: int, config: TokenizeConfig
) -> None:
    roles = [token.role for row in rows for token in row.tokens]
    expected = {role.name.lower(): roles.count(role) for role in Role}
    expected |= {"bos": sum(row.bos for row in rows), "pad": sum(row.left + row.right for row in rows)}
    assert figures["roles"] == expected
    assert figures["rows"] == len(rows)
    assert figures["documents"] == len(own)
    assert figures["tokens"] == sum(expected.values()) - expected["pad"]
    longer = [len(ids) - payload for ids in own.values() if len(ids) > payload]
    cut = config.truncation == "cut"
    assert (figures["cut_documents"], figures["cut_tokens"]) == ((len(longer), sum(longer)) if cut else (0, 0))
    if config.packing == "off":
        step = payload - config.stride
        further = 0 if cut else sum(-(-more // step) for more in longer)
        assert len(rows) == len(own) + further
        assert expected["repeated"] == further * config.stride


def _check_padding(rows: list[StoredRow], config: TokenizeConfig, width: int) -> None:
    for row in rows:
        assert (row.right if config.padding_side == "left" else row.left) == 0
        if config.padding == "none":
            assert row.left + row.right == 0
        else:
            assert row.left + row.right + row.bos + len(row.tokens) == width


def _check_reader(rows: list[StoredRow], reader: TokensReader) -> None:
    """TokensReader gives the same rows as rectangles, padded on the side that the config says."""
    read = reader.read(0, reader.n_rows)
    assert reader.n_rows == len(rows)
    for i, row in enumerate(rows):
        inside = np.flatnonzero(read.roles[i] != Role.PAD)
        size = row.bos + len(row.tokens)
        first = reader.context_length - size if reader.padding_side == "left" else 0
        assert inside.tolist() == list(range(first, first + size))
        assert read.input_ids[i, inside].tolist() == [BOS] * row.bos + [token.id for token in row.tokens]
        assert read.document[i, inside].tolist() == [-1] * row.bos + [token.doc for token in row.tokens]
        outside = read.roles[i] == Role.PAD
        assert (read.input_ids[i, outside] == PAD).all()
        assert (read.document[i, outside] == -1).all()


@settings(max_examples=200, deadline=None)
@given(room=st.integers(1, 25), sizes=st.lists(st.integers(1, 25), min_size=1, max_size=60))
def test_best_fit_is_the_textbook_one(room: int, sizes: list[int]) -> None:
    items = np.minimum(np.asarray(sizes), room)
    left: dict[int, int] = {}  # by row, in the order in which rows came to the room that they have
    expected = np.zeros(len(items), np.int64)
    for item in np.argsort(-items, kind="stable").tolist():
        fitting = [row for row, space in left.items() if space >= items[item]]
        row = min(fitting, key=lambda row: left[row]) if fitting else len(left)
        space = left.pop(row, room) - int(items[item])
        left[row] = space  # now the last one
        expected[item] = row
    assert best_fit(items, room).tolist() == expected.tolist()


def test_best_fit_wastes_little() -> None:
    sizes = np.random.default_rng(0).integers(1, 129, 20_000)
    rows = int(best_fit(sizes, 128).max()) + 1
    assert rows <= 1.01 * -(-int(sizes.sum()) // 128)


def test_listed_rows_are_read_back(tmp_path: Path) -> None:
    begin, length = np.array([0, 10, 14, 30]), np.array([8, 3, 9, 1])
    rows = list_rows(np.array([1, 0, 1, 2]), begin, length, np.array([0, 1, 0, 0]), np.array([True, False, True, True]))
    rows.save(tmp_path / "rows")
    read = open_rows(tmp_path / "rows")
    assert (read.rows, read.sizes().tolist()) == (3, [3, 19, 2])
    chosen = np.array([2, 1])
    assert np.transpose(own_tokens(read.of_rows(chosen))).tolist() == [[30, 31], [0, 8], [14, 23]]
    assert np.transpose(read.of_rows(np.arange(3))).tolist() == [
        [0, 10, 3, 1, 0], [1, 0, 8, 0, 1], [1, 14, 9, 0, 1], [2, 30, 1, 0, 1],
    ]  # fmt: skip
    assert np.array_equal(rows.of_rows(chosen), read.of_rows(chosen))


def test_concatenated_rows_repeat_the_stride() -> None:
    rows = ConcatenatedRows(total=20, payload=8, stride=3)
    assert np.transpose(rows.of_rows(np.arange(rows.rows))).tolist() == [
        [0, 0, 8, 0, 0],
        [1, 5, 8, 3, 0],
        [2, 10, 8, 3, 0],
        [3, 15, 5, 3, 0],
    ]
    assert rows.sizes().tolist() == [8, 8, 8, 5]
    assert np.transpose(own_tokens(rows.of_rows(np.array([3, 0, 1])))).tolist() == [[18, 20], [0, 8], [8, 13]]
    assert (ConcatenatedRows(8, 8, 3).rows, ConcatenatedRows(9, 8, 3).rows, ConcatenatedRows(5, 8).rows) == (1, 2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": "cut"}, "`truncation: cut` needs `packing: best_fit` or `off`"),
        ({"truncation_side": "left"}, "`truncation_side: left` needs"),
        ({"packing": "off", "truncation": "refuse", "truncation_side": "left"}, "`truncation_side: left` needs"),
        ({"packing": "off", "truncation": "cut", "stride": 2}, "with `truncation: cut` set it to 0"),
        ({"stride": 7}, "set it to 6 or less"),
        ({"add_special_tokens": False, "bos": "always"}, "leave out `bos: always`"),
        ({"add_special_tokens": False, "separator": "eos"}, "leave out `separator: eos`"),
        ({"add_special_tokens": True, "bos": "never", "separator": "none"}, "`add_special_tokens: true` adds nothing"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings_of(8, **options)


def test_no_special_tokens_is_recorded_in_one_way() -> None:
    off = settings_of(8, add_special_tokens=False)
    assert (off.add_special_tokens, off.bos, off.separator) == (False, "never", "none")
    assert settings_of(8, bos="never", separator="none").science() == off.science()
    assert TokenizeConfig.model_validate(off.model_dump(mode="json")) == off
    assert settings_of(8).add_special_tokens is True
