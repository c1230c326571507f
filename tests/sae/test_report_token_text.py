"""Token text: bytes joined over tokens, for both families of tokenizers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae.report.token_text import CONTINUES, TokenText
from tests.sae.report_artifacts import END, TEXTS, tokenizer


@pytest.fixture(scope="module")
def token_text() -> TokenText:
    return TokenText(tokenizer().to_str())


TOKENIZER = tokenizer()


@given(st.text(max_size=40).filter(lambda text: CONTINUES not in text))
def test_strings_of_tokens_join_to_the_text(token_text: TokenText, text: str) -> None:
    tokens = TOKENIZER.encode(text).ids
    strings = token_text.strings(tokens)
    assert len(strings) == len(tokens)
    assert "".join(strings).replace(CONTINUES, "") == text


def test_a_character_split_over_tokens_is_shown_at_the_first(token_text: TokenText) -> None:
    tokens = TOKENIZER.encode("😀").ids
    assert len(tokens) > 1
    assert token_text.strings(tokens) == ["😀", *[CONTINUES] * (len(tokens) - 1)]


def test_bytes_that_are_no_character_are_shown_as_hexadecimal(token_text: TokenText) -> None:
    first, *_ = TOKENIZER.encode("😀").ids
    assert token_text.string(first) == "⟨F0⟩"
    assert token_text.strings([first, *TOKENIZER.encode("a").ids]) == ["⟨F0⟩", "a"]


def test_special_and_unknown_tokens_are_named(token_text: TokenText) -> None:
    assert token_text.string(TOKENIZER.token_to_id(END)) == END
    assert token_text.string(49_999) == "<id 49999>"


def test_line_ends_and_markup_stay_as_they_are(token_text: TokenText) -> None:
    for text in TEXTS:
        assert "".join(token_text.strings(TOKENIZER.encode(text).ids)).replace(CONTINUES, "") == text


def test_sentencepiece_bytes_are_joined() -> None:
    vocabulary = {"<unk>": 0, "▁the": 1, "<0xC3>": 2, "<0xA9>": 3, "▁": 4, "x": 5}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": True, "unk_token": "<unk>"}
    decoder = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    text = TokenText(json.dumps({"version": "1.0", "added_tokens": [], "model": model, "decoder": decoder}))
    assert b"".join(text.piece(token) for token in (1, 2, 3, 4, 5)) == " the\u00e9 x".encode()
    assert text.strings([1, 2, 3, 4, 5]) == [" the", "é", CONTINUES, " ", "x"]
