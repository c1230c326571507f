"""Documents to rows and back under any options: a check that takes any tokenizer."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from hypothesis import strategies as st

from configs.tokenize import TokenizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import SPLITS, Role, load_info, shard_name
from sae.report.token_text import TokenText
from sae.text.chosen_documents import chosen_documents
from sae.text.flat_tokens import FlatTokens, open_flat
from sae.text.packing import ShardCounts, pack_shard
from sae.text.shard_layout import row_length, split_layouts, split_shards
from sae.text.statistics import tokens_info
from sae.text.tokenizer_spec import TokenizeError, TokenizerSpec, read_tokenizer_spec
from tests.sae.test_text_packing import settings_of
from tests.sae.test_text_row_options import OF_TEXT, StoredRow, option_sets, stored_rows
from tests.sae.tokenized_chunk import tokenize_chunk

PIECES = (
    "The captain steers the grey boat past the northern light.", "3.14159 and 2,718", "naïve café, Größe", "東京タワー 😀👩‍👩‍👧",
    "\tindented\n\nlines  and   spaces \n", "<s>", "</s>", "<|endoftext|>", "<|begin_of_text|>", "<｜end▁of▁sentence｜>",
    "", " ", "\n", "a</s>b <pad>", "def f(x):\n    return x", "\u200b", "i̇ﬁ", "\u2581",
)  # fmt: skip
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
)
documents = st.lists(st.tuples(st.sampled_from(SPLITS), texts), min_size=1, max_size=6)


@st.composite
def whole_options(draw: st.DrawFn) -> dict[str, Any]:
    """Every option of the stage that decides rows."""
    options = draw(option_sets())
    options |= {
        "bos": draw(st.sampled_from(["tokenizer", "always", "never"])),
        "separator": draw(st.sampled_from(["eos", "bos", "none"])),
        "special_strings": draw(st.sampled_from(["text", "special"])),
        "per_shard": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 3)),
        "splits": draw(st.sampled_from([SPLITS, ("train",), ("train", "test")])),
        "max_rows": draw(st.sampled_from([None, None, 2])),
        "max_tokens": draw(st.sampled_from([None, None, 30])),
        "attention": draw(st.sampled_from(["row", "document"])),
    }
    if draw(st.booleans()) and (options["bos"], options["separator"]) == ("never", "none"):
        options["add_special_tokens"] = False
    if draw(st.integers(0, 3)) == 0:
        options["resplit"] = {"test": 0.3, "validation": 0.2, "seed": draw(st.integers(0, 3))}
    return options


def check_rows(
    folder: Path,
    tokenizer: Any,
    given: list[tuple[str, str]],
    options: dict[str, Any],
    length: int,
    chunks: int,
    lossless: str,
) -> str:
    """Tokenizes documents as the stage does and compares the files with the tokenizer alone.

    Gives "rows", or "refused" if the options and the documents do not go together. `lossless`: "exactly", or "but ▁"
    for one that writes a space as U+2581.
    """
    config = settings_of(length, **options)
    table = pa.table({
        "doc": range(len(given)), "split": [split for split, _ in given], "text": [text for _, text in given]
    })  # fmt: skip
    chosen = chosen_documents(table, config)
    split_of = dict(zip(chosen["doc"].to_pylist(), chosen["split"].to_pylist(), strict=True))
    assert config.resplit is not None or split_of == {d: s for d, (s, _) in enumerate(given) if s in config.splits}
    expected = {
        doc: tokenizer.encode(
            given[doc][1], add_special_tokens=False, split_special_tokens=config.special_strings == "text"
        )
        for doc in split_of
    }
    bos = tokenizer.bos_token_id
    ends = {"eos": tokenizer.eos_token_id, "bos": bos}
    adds = _adds_bos(tokenizer) if config.bos == "tokenizer" else config.bos == "always"
    adds = adds and config.add_special_tokens
    payload = length - adds
    too_long = config.truncation == "refuse" and any(len(ids) > payload for ids in expected.values())
    absent = (config.separator != "none" and ends[config.separator] is None) or (config.bos == "always" and bos is None)
    if not any(expected.values()):
        return "refused"
    try:
        _tokenize(folder, tokenizer, chosen, config, chunks)
    except TokenizeError:
        assert too_long or absent
        return "refused"
    assert not too_long and not absent
    info = load_info(LocalFiles(folder))
    assert info.bos is adds
    for split in SPLITS:
        rows = stored_rows(folder, split, config.return_attention_mask)
        own = {doc: ids for doc, ids in expected.items() if split_of[doc] == split}
        _check_split(rows, own, adds, payload, config)
        if config.max_rows is None and config.max_tokens is None and config.truncation != "cut":
            found = _of_documents(rows)
            for doc, ids in own.items():
                _check_text(tokenizer, found.get(doc, []), ids, given[doc][1], config, lossless)
    return "rows"


_TOKEN_TEXT = lru_cache(maxsize=4)(TokenText)  # of a large vocabulary it takes a second
_SPECS: dict[tuple[Any, ...], TokenizerSpec] = {}


def spec_of(tokenizer: Any, config: TokenizeConfig) -> TokenizerSpec:
    """As read_tokenizer_spec, once for each choice: of a large vocabulary it takes half a second."""
    key = (id(tokenizer), config.bos, config.separator, config.special_strings, config.add_special_tokens)
    if key not in _SPECS:
        spec = read_tokenizer_spec(tokenizer, config)
        same = (one for other, one in _SPECS.items() if other[0] == key[0])
        _SPECS[key] = spec._replace(tokenizer_json=next(same, spec).tokenizer_json)
    return _SPECS[key]


def _check_text(
    tokenizer: Any, found: list[int], ids: list[int], text: str, config: TokenizeConfig, lossless: str
) -> None:
    assert found == ids
    # SentencePiece writes a space as U+2581, and transformers' own form of Llama 2's tokenizer drops a space that a text
    # begins with: such texts are compared by their ids alone.
    if config.special_strings == "text" and (lossless == "exactly" or ("\u2581" not in text and text[:1] != " ")):
        assert tokenizer.backend_tokenizer.decode(found, skip_special_tokens=False) == text


def _check_split(
    rows: list[StoredRow], own: dict[int, list[int]], adds: bool, payload: int, config: TokenizeConfig
) -> None:
    assert all(row.bos is adds for row in rows), "each row begins with BOS, or none does"
    assert all(token.role not in (Role.BOS, Role.PAD) for row in rows for token in row.tokens), "and none is elsewhere"
    assert all(row.bos + len(row.tokens) <= config.context_length for row in rows)
    limited = config.max_rows is not None or config.max_tokens is not None
    if config.max_rows is not None:
        assert len(rows) <= config.max_rows
    if config.max_tokens is not None:
        assert sum(row.bos + len(row.tokens) for row in rows) <= config.max_tokens
    found: dict[int, dict[int, int]] = {}
    for row in rows:
        for token in row.tokens:
            if token.role in OF_TEXT:
                assert token.offset not in found.setdefault(token.doc, {}), "a token is data once"
                found[token.doc][token.offset] = token.id
                assert own[token.doc][token.offset] == token.id
    for doc, ids in own.items():
        cut = max(0, len(ids) - payload) if config.truncation == "cut" else 0
        places = range(cut, len(ids)) if config.truncation_side == "left" else range(len(ids) - cut)
        assert limited or set(found.get(doc, {})) == set(places), "no token is lost"


def _of_documents(rows: list[StoredRow]) -> dict[int, list[int]]:
    found: dict[int, dict[int, int]] = {}
    for row in rows:
        for token in row.tokens:
            if token.role in OF_TEXT:
                found.setdefault(token.doc, {})[token.offset] = token.id
    return {doc: [id for _, id in sorted(own.items())] for doc, own in found.items()}


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("a").input_ids
    return bool(ids) and ids[0] == tokenizer.bos_token_id and tokenizer.bos_token_id is not None


def _tokenize(folder: Path, tokenizer: Any, chosen: pa.Table, config: TokenizeConfig, chunks: int) -> None:
    spec = spec_of(tokenizer, config)
    size = -(-len(chosen) // chunks)
    tables = [chosen.slice(start, size) for start in range(0, len(chosen), size)]
    counts = [tokenize_chunk(one, spec, folder / f"chunk-{i}") for i, one in enumerate(tables)]
    layouts = split_layouts(counts, spec, config)
    width = row_length(layouts, config)
    positions: dict[str, ShardCounts] = {}

    def flat(chunk: int) -> FlatTokens:
        return open_flat(folder / f"chunk-{chunk}")

    for layout in layouts:
        positions[layout.split] = ShardCounts([0] * len(Role), [])
        for shard in split_shards(layout, config.rows_per_shard):
            path = folder / shard_name(shard.split, shard.number)
            found = pack_shard(shard, layout, flat, spec, width, config, path)
            positions[layout.split] = positions[layout.split].add(found)
    with patch("sae.text.statistics.TokenText", _TOKEN_TEXT):
        tokens_info(config, spec, counts, layouts, positions).save(folder / "tokens.json")
