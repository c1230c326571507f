"""Cuts of long texts: the tokens of the parts are those of the whole, or the text is not cut."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sae.text import encoded_texts, safe_cuts, text_segments
from sae.text.flat_tokens import open_flat
from sae.text.tokenizer_spec import read_tokenizer_spec
from tests.sae.test_text_packing import settings_of
from tests.sae.test_text_tokenizer_laws import CORPUS, SPECIAL, tokenizer
from tests.sae.tokenized_chunk import tokenize_chunk

_REGEXES = sorted(safe_cuts._DIVIDING)
_GPT_2 = ("gpt_2", "gpt_2_digits", "gpt_2_number")
KINDS = ("llama_2", "word_piece", "bpe", "unigram", *_GPT_2, *(f"regex_{i}" for i in range(len(_REGEXES))))
PIECES = [" ", "  ", "\n", "\n\n", "\r\n", " \n", "\t", "\u3000", "\u00a0", "e\u0301", "the", " captain", "'s", "I'LL"]
PIECES += [
    "3.14",
    "12345",
    "東京",
    "タワー",
    "。\n",
    "?",
    '"',
    "-",
    "/",
    "▁",
    "<s>",
    "</s>",
    "\u200b",
    "🙂",
    "a b",
    "x\ny",
    "it's",
    "a1b2",
    "x=1;y",
    "e=\u0338",
    " \n\t",
    "\n 7",
    "\x0b",
    "\x1c",
    "\x85",
    "('ll",
    " 1",
    " a,",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40).map("".join)


@cache
def known(kind: str) -> Any:
    """A tokenizer small enough to train here, of one of the kinds that allow cuts."""
    if kind in ("word_piece", "bpe", "unigram"):
        return tokenizer(kind, "known").backend_tokenizer
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=kind == "llama_2", fuse_unk=kind == "llama_2"))
    if kind == "llama_2":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ▁"]
        # Each word and each row of spaces by itself, so that no merge joins a letter and the space behind it.
        words = [f"{space}{word}" for text in CORPUS for word in text.split() for space in ("", " ", "   ")]
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        backend.train_from_iterator(
            words, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=letters)
        )
        parts = json.loads(backend.to_str())
        parts["pre_tokenizer"] = None
        return Tokenizer.from_str(json.dumps(parts))
    if kind in _GPT_2:
        steps = {"gpt_2": [], "gpt_2_digits": [pre_tokenizers.Digits(True)], "gpt_2_number": [pre_tokenizers.Digits()]}[
            kind
        ]
        return _byte_level(backend, [*steps, pre_tokenizers.ByteLevel(False)])
    split = pre_tokenizers.Split(Regex(_REGEXES[int(kind.removeprefix("regex_"))]), "isolated")
    numbers = pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated")
    return _byte_level(backend, [numbers, split, pre_tokenizers.ByteLevel(False, use_regex=False)])


def _byte_level(backend: Tokenizer, steps: list[Any]) -> Tokenizer:
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return backend


@pytest.mark.parametrize("strings", ["text", "special"])
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(text=TEXTS, part_bytes=st.integers(0, 20))
def test_parts_have_the_tokens_of_the_whole(kind: str, strings: str, text: str, part_bytes: int) -> None:
    backend = known(kind)
    cuts = safe_cuts.safe_cuts(backend.to_str(), strings)
    assert cuts is not None
    own = Tokenizer.from_str(backend.to_str())
    own.encode_special_tokens = strings == "text"
    parts = list(cuts.parts(text.encode(), part_bytes))
    tokens = [i for part in parts for i in own.encode(part, add_special_tokens=False).ids]
    assert tokens == own.encode(text, add_special_tokens=False).ids
    if not cuts.drops_space:
        assert "".join(parts) == text


@pytest.mark.parametrize("strings", ["text", "special"])
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(calls=st.lists(st.lists(TEXTS, max_size=5), max_size=3), known_before=st.sampled_from([0, 3, 1000]))
def test_segments_have_the_tokens_of_the_texts(
    kind: str, strings: str, calls: list[list[str]], known_before: int
) -> None:
    cuts = safe_cuts.safe_cuts(known(kind).to_str(), strings)
    assert cuts is not None
    own = Tokenizer.from_str(known(kind).to_str())
    own.encode_special_tokens = strings == "text"
    encoder = text_segments.SegmentEncoder(own, cuts, most_known=known_before)
    for texts in calls:
        sliced = pa.array(["of another call", *texts], pa.large_string())[1:]
        encoded = encoder.encode(sliced)
        found = [encoded.of_text(i).tolist() for i in range(len(texts))]
        assert found == [own.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_text_of_words_is_cut() -> None:
    for kind in KINDS:
        cuts = safe_cuts.safe_cuts(known(kind).to_str(), "text")
        assert cuts is not None
        assert len(list(cuts.parts(b"the grey boat sleeps", 1))) == 4


def _changed(**changes: Any) -> str:
    parts = json.loads(known("llama_2").to_str())
    for name, value in changes.items():
        parts[name] = {**parts[name], **value} if name == "model" else value
    return json.dumps(parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "a b"}, "content": "c"}},
        {"normalizer": {"type": "Prepend", "prepend": "▁"}},
        {"model": {"dropout": 0.1}},
        {"model": {"ignore_merges": True}},
        {"model": {"end_of_word_suffix": "</w>"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a b"}, "behavior": "Isolated", "invert": False}},
        {"pre_tokenizer": {"type": "UnicodeScripts"}},
    ],
)
def test_a_step_that_may_look_across_allows_no_cut(changes: dict[str, Any]) -> None:
    assert safe_cuts.safe_cuts(_changed(), "text") is not None
    assert safe_cuts.safe_cuts(_changed(**changes), "text") is None


def test_letters_digits_and_others_are_cut_apart_where_the_tokenizer_does() -> None:
    kinds = {}
    for kind in KINDS:
        cuts = safe_cuts.safe_cuts(known(kind).to_str(), "text")
        assert cuts is not None
        kinds[kind] = cuts.kinds
    deepseek = next(f"regex_{i}" for i, regex in enumerate(_REGEXES) if regex not in safe_cuts._BY_KIND)
    allowed = {f"regex_{i}" for i in range(len(_REGEXES))} - {deepseek}
    assert {kind for kind, cut in kinds.items() if cut} == allowed | set(_GPT_2)
    own = Tokenizer.from_str(known(min(allowed)).to_str())
    own.add_tokens([AddedToken("<tool_call>")])
    cuts = safe_cuts.safe_cuts(own.to_str(), "text")
    assert cuts is not None
    assert not cuts.kinds


def test_words_are_cut_out_where_the_tokenizer_finds_them_as_gpt_2_does() -> None:
    text = '("it\'s 12 \n\tboats,\n\n 7 more")'
    expected = {
        "gpt_2": ['("', "it", "'s", " 12", " \n", "\t", "boats", ",", "\n\n", " 7", " more", '")'],
        "gpt_2_digits": ['("', "it", "'s", " 1", "2", " \n", "\t", "boats", ",", "\n\n 7", " more", '")'],
    }
    for kind, segments in expected.items():
        own = known(kind)
        cuts = safe_cuts.safe_cuts(own.to_str(), "text")
        assert cuts is not None
        found, ends = text_segments.SegmentEncoder(own, cuts)._segments(pa.array([text], pa.large_string()))
        assert [one.decode() for one in found.to_pylist()] == segments
        assert ends.tolist() == [0, len(segments)]


def test_new_segments_of_a_byte_level_tokenizer_are_encoded_together() -> None:
    own, calls = known("gpt_2"), []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(own, name)

        def encode_batch_fast(self, texts: list[str], **arguments: Any) -> Any:
            calls.append(texts)
            return own.encode_batch_fast(texts, **arguments)

    cuts = safe_cuts.safe_cuts(own.to_str(), "text")
    assert cuts is not None
    encoder = text_segments.SegmentEncoder(Counting(), cuts)
    text = "the grey boat, the captain's 12 boats; " * 9
    for _ in range(2):  # the second time all are known
        encoded = encoder.encode(pa.array([text], pa.large_string()))
        assert encoded.of_text(0).tolist() == own.encode(text, add_special_tokens=False).ids
    assert [len(texts) for texts in calls] == [
        1,
        1,
    ]  # the second one is of the space at the end, which cannot be joined
    assert calls[1] == [" "]


@pytest.mark.parametrize("content", ["grey boat", "boat", "<x>\n<y>"])
def test_an_added_token_across_a_cut_allows_none(content: str) -> None:
    own = Tokenizer.from_str(known("regex_0").to_str())
    own.add_tokens([AddedToken(content)])
    assert safe_cuts.safe_cuts(own.to_str(), "text") is None


def test_a_vocabulary_with_letter_and_space_allows_none() -> None:
    vocabulary = {**json.loads(_changed())["model"]["vocab"], "t▁t": 9999}
    assert safe_cuts.safe_cuts(_changed(model={"vocab": vocabulary}), "text") is None


def test_long_and_short_documents_give_the_file_of_whole_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tokenizer("byte_level", "added")
    spec = read_tokenizer_spec(own, settings_of(8))
    texts = [CORPUS[0] * 40, "short", CORPUS[1] * 9, ""]
    table = pa.table(
        {"doc": range(4), "split": ["train", "test", "test", "train"], "text": pa.array(texts, pa.large_string())}
    )
    whole = tokenize_chunk(table, spec, tmp_path / "whole")
    monkeypatch.setattr(encoded_texts, "PART_BYTES", 100)
    monkeypatch.setattr(encoded_texts, "BLOCK_TOKENS", 7)
    assert tokenize_chunk(table, spec, tmp_path / "parts") == whole
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert open_flat(tmp_path / "parts").doc.tolist() == [0, 1, 2]
