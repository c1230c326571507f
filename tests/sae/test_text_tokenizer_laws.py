"""Laws of tokenizing with real tokenizers of four kinds, and of BOS: added by the tokenizer, known to it, or absent."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from configs.tokenize import TokenizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import Role, TokensInfo, load_info
from sae.text.flat_tokens import open_flat
from sae.text.packing import ShardCounts, pack_shard
from sae.text.shard_layout import row_length, split_layouts, split_shards
from sae.text.statistics import tokens_info
from sae.text.tokenization_preview import StoredTokenizer, preview
from sae.text.tokenizer_spec import TokenizeError, read_tokenizer_spec
from tests.sae.test_text_packing import settings_of
from tests.sae.test_text_row_options import OF_TEXT, StoredRow, option_sets, stored_rows
from tests.sae.tokenized_chunk import tokenize_chunk

SPECIAL = ["<s>", "</s>", "<pad>", "<unk>"]
CORPUS = [
    "The captain steers the grey boat past the northern light, and the harbour sleeps.",
    "unhappiness, unhappily; 3.14159 and 2,718 of them: naïve café, Größe, 東京タワー",
    "\tindented\n\nlines  and   spaces \n",
] * 4
KINDS = ("bpe", "byte_level", "word_piece", "unigram")
BOS = ("added", "known", "absent")


@cache
def tokenizer(kind: str, bos: str) -> PreTrainedTokenizerFast:
    """A small trained tokenizer."""
    special = SPECIAL if bos != "absent" else SPECIAL[1:]
    backend, trainer = _untrained(kind, special)
    backend.train_from_iterator(CORPUS, trainer)
    if bos == "added":
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **({} if bos == "absent" else {"bos_token": "<s>"}), **names
    )


def _untrained(kind: str, special: list[str]) -> tuple[Any, Any]:
    if kind == "byte_level":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return backend, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    if kind == "bpe":
        backend = Tokenizer(models.BPE(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        return backend, trainers.BpeTrainer(vocab_size=200, special_tokens=special)
    if kind == "word_piece":
        backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        return backend, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return backend, trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")


texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.sampled_from(CORPUS + ["", " ", "<s>", "a</s>b <pad>"]),
    ),
    min_size=1,
    max_size=5,
)


def tokenize(folder: Path, whole: PreTrainedTokenizerFast, config: TokenizeConfig, given: list[str]) -> TokensInfo:
    """Both passes of the stage, in this process. Raises TokenizeError as it does."""
    spec = read_tokenizer_spec(whole, config)
    documents = pa.table({"doc": range(len(given)), "split": ["train"] * len(given), "text": given})
    counts = [tokenize_chunk(documents, spec, folder / "chunk")]
    layouts = split_layouts(counts, spec, config)
    length = row_length(layouts, config)
    positions = ShardCounts([0] * len(Role), [])
    for shard in split_shards(layouts[0], config.rows_per_shard):
        path = folder / f"train-{shard.number:05d}.parquet"
        found = pack_shard(shard, layouts[0], lambda _: open_flat(folder / "chunk"), spec, length, config, path)
        positions = positions.add(found)
    tokens_info(config, spec, counts, layouts, {"train": positions}).save(folder / "tokens.json")
    return load_info(LocalFiles(folder))


@settings(max_examples=250, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    bos=st.sampled_from(BOS),
    given=texts,
    options=option_sets(),
    length=st.integers(8, 20),
    row_bos=st.sampled_from(["tokenizer", "always", "never"]),
    special_strings=st.sampled_from(["text", "special"]),
)
def test_every_document_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    bos: str,
    given: list[str],
    options: dict[str, Any],
    length: int,
    row_bos: str,
    special_strings: str,
) -> None:
    whole, folder = tokenizer(kind, bos), tmp_path_factory.mktemp("rows")
    config = settings_of(length, **options, bos=row_bos, special_strings=special_strings)
    split_special = special_strings == "text"
    expected = {
        doc: whole(text, add_special_tokens=False, split_special_tokens=split_special).input_ids
        for doc, text in enumerate(given)
    }
    assume(any(expected.values()))
    adds = bos == "added" if row_bos == "tokenizer" else row_bos == "always"
    payload = length - adds
    refused = config.truncation == "refuse" and max(map(len, expected.values())) > payload
    if refused or (row_bos == "always" and bos == "absent"):
        with pytest.raises(TokenizeError):
            tokenize(folder, whole, config, given)
        return
    info = tokenize(folder, whole, config, given)
    rows = stored_rows(folder, "train", config.return_attention_mask)
    assert info.bos is adds
    assert all(row.bos is adds for row in rows), "each row begins with BOS, or none does"
    assert all(token.role != Role.BOS for row in rows for token in row.tokens), "and there is none elsewhere"
    found = documents_of(rows)
    for doc, ids in expected.items():
        if config.truncation == "cut":
            cut = max(0, len(ids) - payload)
            ids = ids[cut:] if config.truncation_side == "left" else ids[: len(ids) - cut]
        assert found.get(doc, []) == ids
        if kind == "byte_level" and split_special and config.truncation != "cut":
            assert whole.backend_tokenizer.decode(found.get(doc, []), skip_special_tokens=False) == given[doc]


def documents_of(rows: list[StoredRow]) -> dict[int, list[int]]:
    """The tokens of each document's own text, in order of their offsets; each offset must occur once."""
    found: dict[int, dict[int, int]] = {}
    for row in rows:
        for token in row.tokens:
            if token.role in OF_TEXT:
                own = found.setdefault(token.doc, {})
                assert token.offset not in own
                own[token.offset] = token.id
    return {doc: [id for _, id in sorted(own.items())] for doc, own in found.items()}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    bos=st.sampled_from(BOS),
    text=st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from(CORPUS)),
    options=option_sets(),
    length=st.integers(8, 20),
    special=st.booleans(),
)
def test_a_preview_shows_the_rows_of_the_stage(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    bos: str,
    text: str,
    options: dict[str, Any],
    length: int,
    special: bool,
) -> None:
    whole, folder = tokenizer(kind, bos), tmp_path_factory.mktemp("rows")
    config = settings_of(length, **{**options, "packing": "off", "rows_per_shard": 100}, add_special_tokens=special)
    stored = StoredTokenizer(
        {
            "encoder": whole.backend_tokenizer.to_str(), "length": len(whole), "all_special_ids": whole.all_special_ids,
            "bos_token_id": whole.bos_token_id, "eos_token_id": whole.eos_token_id, "pad_token_id": whole.pad_token_id,
        }
    )  # fmt: skip
    if not whole(text, add_special_tokens=False, split_special_tokens=True).input_ids:
        assert preview(stored, config, text, None) == []
        return
    try:
        tokenize(folder, whole, config, [text])
    except TokenizeError as error:
        with pytest.raises(TokenizeError, match=str(error)[:30]):
            preview(stored, config, text, None)
        return
    shown = preview(stored, config, text, None)
    rows = stored_rows(folder, "train", config.return_attention_mask)
    names = {role: role.name.lower() for role in Role}
    expected = [
        ["pad"] * row.left + ["bos"] * row.bos + [names[Role(t.role)] for t in row.tokens] + ["pad"] * row.right
        for row in rows
    ]
    ids = [[t.id for t in row.tokens] for row in rows]
    kept = [[t.id for t in row if t.role not in ("pad", "bos")] for row in shown]
    assert sorted(ids) == sorted(kept)
    assert sorted(expected) == sorted([token.role for token in row] for row in shown)
    assert special or not any(token.role in ("bos", "separator") for row in shown for token in row)
    spans = {(t.start, t.stop) for row in shown for t in row if t.role == "data"}
    assert all(0 <= start <= stop <= len(text) for start, stop in spans)
