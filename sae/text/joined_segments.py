"""Tokens of many short segments, encoded as a few long texts: a call of the tokenizer costs more than a word's own tokens.

Between two segments the joined text has a place where it may be cut (sae/text/safe_cuts.py): the second one begins with a
space before a letter, or ` a` or ` a,` is put before it, whichever ends with another kind of character than it begins with.
Where a segment's tokens end is found by bytes, so the tokenizer must be a byte-level one, and segments ASCII.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sae.text.ranges import ranges
from sae.text.safe_cuts import VISIBLE, SafeCuts

_AT_ONCE = 1024  # segments in a joined text
_BEFORE_LETTER, _BEFORE_OTHER = " a,", " a"


class TextTokens(NamedTuple):
    """The tokens of texts one behind the other: ids int32 [n], and where those of each text begin and end int64 [texts + 1]."""

    ids: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]

    def of_text(self, number: int) -> npt.NDArray[np.int32]:
        """The ids of one text."""
        return self.ids[self.ends[number] : self.ends[number + 1]]


def text_tokens(parts: list[list[int]]) -> TextTokens:
    """The tokens of texts from those of each."""
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return TextTokens(np.concatenate([np.zeros(0, np.int32), *(np.asarray(part, np.int32) for part in parts)]), ends)


class JoinedSegments:
    """Encodes segments with a tokenizer: joined those that can be, each by itself the others."""

    def __init__(self, tokenizer: Any, cuts: SafeCuts) -> None:
        self._tokenizer = tokenizer
        self._token_bytes = _token_bytes(tokenizer) if _can_join(tokenizer, cuts) else None
        self._before = {chr(byte) for byte in cuts.before if byte < 128}
        self._separators = _separators(cuts)

    def encode(self, segments: list[str]) -> TextTokens:
        """The tokens of each segment, as if it were encoded by itself."""
        if self._token_bytes is None:
            return self.encode_each(segments)
        separators = [self._separator(segment) for segment in segments]
        joined = [i for i, separator in enumerate(separators) if separator is not None]
        tokens = self._joined([separators[i] or "" for i in joined], [segments[i] for i in joined], self._token_bytes)
        if tokens is None:
            return self.encode_each(segments)
        if len(joined) == len(segments):
            return tokens
        single = [i for i, separator in enumerate(separators) if separator is None]
        return _in_order(tokens, joined, self.encode_each([segments[i] for i in single]), single)

    def _separator(self, segment: str) -> str | None:
        """What to put before a segment, so that it can stand behind any other; None if it cannot be joined."""
        if not segment.isascii() or segment[-1:] not in self._before:
            return None
        return self._separators.get(segment[:2] if segment[0] == " " else segment[0])

    def _joined(
        self, separators: list[str], segments: list[str], token_bytes: npt.NDArray[np.int64]
    ) -> TextTokens | None:
        """The tokens of segments behind their separators; None if a token goes over the end of one, which none should."""
        texts = [part for pair in zip(separators, segments, strict=True) for part in pair]
        encoded = self._tokenizer.encode_batch_fast(
            ["".join(texts[i : i + 2 * _AT_ONCE]) for i in range(0, len(texts), 2 * _AT_ONCE)], add_special_tokens=False
        )
        ids = np.concatenate([np.zeros(0, np.int32), *(np.asarray(one.ids, np.int32) for one in encoded)])
        bytes_before = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        token_ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(token_bytes[ids])])
        at = np.searchsorted(token_ends, bytes_before)
        if token_ends[-1] != bytes_before[-1] or (token_ends[at] != bytes_before).any():
            return None
        begins, stops = at[1::2], at[2::2]
        return gathered(TextTokens(ids, at), begins, stops - begins)

    def encode_each(self, segments: list[str]) -> TextTokens:
        """The same with each by itself, which is faster for long ones."""
        return text_tokens([one.ids for one in self._tokenizer.encode_batch_fast(segments, add_special_tokens=False)])


def gathered(tokens: TextTokens, begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> TextTokens:
    """The tokens [begins[i], begins[i] + lengths[i]) of some texts for each i, one behind the other."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return TextTokens(tokens.ids[ranges(begins, lengths)], ends)


def _in_order(first: TextTokens, first_at: list[int], second: TextTokens, second_at: list[int]) -> TextTokens:
    """The tokens of texts of which some are in `first`, at the places `first_at`, and the others in `second`."""
    ids = np.concatenate([first.ids, second.ids])
    place = np.asarray([*first_at, *second_at])
    begins, lengths = np.empty(len(place), np.int64), np.empty(len(place), np.int64)
    begins[place] = np.concatenate([first.ends[:-1], second.ends[:-1] + len(first.ids)])
    lengths[place] = np.concatenate([np.diff(first.ends), np.diff(second.ends)])
    return gathered(TextTokens(ids, first.ends), begins, lengths)


def _separators(cuts: SafeCuts) -> dict[str, str]:
    """What to put before a segment that begins so: with a space and a character that may follow a cut, or with a visible one."""
    after = [chr(byte) for byte in cuts.after]
    visible = [chr(byte) for byte in VISIBLE]
    return {
        **{f" {one}": "" for one in after},
        **{one: _BEFORE_LETTER if one.isalpha() else _BEFORE_OTHER for one in visible},
    }


def _can_join(tokenizer: Any, cuts: SafeCuts) -> bool:
    """Whether the tokenizer's tokens are bytes of the text, and the separators are apart from what is around them."""
    parts = json.loads(tokenizer.to_str())
    steps = parts["pre_tokenizer"] or {}
    kinds = [step["type"] for step in steps.get("pretokenizers", [steps])] if steps else []
    separate = ord("a") in cuts.after and ord("a") in cuts.before and ord(",") in cuts.before
    return cuts.words and separate and "ByteLevel" in kinds and parts["model"]["type"] == "BPE"


def _token_bytes(tokenizer: Any) -> npt.NDArray[np.int64]:
    """Bytes of text that each token id stands for: a character of the vocabulary is a byte, added tokens are as they are."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    sizes = np.zeros(max(vocabulary.values(), default=-1) + 1, np.int64)
    for token, number in vocabulary.items():
        sizes[number] = len(token)
    for number, added in tokenizer.get_added_tokens_decoder().items():
        sizes[number] = len(added.content.encode())
    return sizes
