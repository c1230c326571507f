"""Texts to tokens in bounded memory: a long text part by part, where the tokenizer allows cuts, its tokens to a file."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sae.text.safe_cuts import safe_cuts
from sae.text.text_segments import SegmentEncoder
from sae.text.tokenizer_spec import TokenizerSpec

BLOCK_TOKENS = 1 << 20  # that are handled at once
PART_BYTES = 1 << 18  # of a text longer than this, a part is encoded up to the first safe cut behind so many bytes
_PARTS = 8  # that are encoded at once, by all threads


@lru_cache(maxsize=2)
def open_tokenizer(serialized: str, special_strings: str) -> Any:
    """A `tokenizers.Tokenizer` that cuts and pads nothing and reads the names of special tokens as the config says."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(serialized)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_strings == "text"
    return tokenizer


@lru_cache(maxsize=2)
def segment_encoder(serialized: str, special_strings: str) -> SegmentEncoder | None:
    """What encodes the texts of a tokenizer by segments; None where its texts cannot be cut."""
    cuts = safe_cuts(serialized, special_strings)
    return None if cuts is None else SegmentEncoder(open_tokenizer(serialized, special_strings), cuts)


class FiledTokens:
    """The tokens int32 of a long text, in a temporary file of `folder` that is removed with this object."""

    def __init__(self, blocks: Iterable[npt.NDArray[np.int32]], folder: Path) -> None:
        self._file, self._tokens = tempfile.TemporaryFile(dir=folder), 0  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        for block in blocks:
            self._file.write(block.tobytes())
            self._tokens += len(block)

    def __len__(self) -> int:
        return self._tokens

    def blocks(self) -> Iterator[npt.NDArray[np.int32]]:
        """The tokens in order, BLOCK_TOKENS at a time."""
        self._file.seek(0)
        while block := self._file.read(4 * BLOCK_TOKENS):
            yield np.frombuffer(block, np.int32)


DocumentTokens = Sequence[int] | npt.NDArray[np.int32] | FiledTokens


def token_blocks(tokens: DocumentTokens) -> Iterator[npt.NDArray[np.int32]]:
    """Tokens of a document in order, a part of them at a time."""
    return tokens.blocks() if isinstance(tokens, FiledTokens) else iter([np.asarray(tokens, np.int32)])


def encoded_texts(texts: pa.ChunkedArray, spec: TokenizerSpec, folder: Path) -> list[DocumentTokens]:
    """The tokens of each text, without special tokens of its own. Those of long texts are in files, in `folder`.

    Texts are encoded in parts if the tokenizer allows it, with the tokens that they have as a whole.
    """
    encoder = segment_encoder(spec.tokenizer_json, spec.special_strings)
    if encoder is None:
        tokenizer = open_tokenizer(spec.tokenizer_json, spec.special_strings)
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)]
    sizes = pc.binary_length(texts).to_numpy()
    found: list[DocumentTokens] = [()] * len(texts)
    short = np.flatnonzero(sizes <= PART_BYTES)
    encoded = encoder.encode(_one_array(texts if len(short) == len(texts) else texts.take(pa.array(short))))
    for number, i in enumerate(short.tolist()):
        found[i] = encoded.of_text(number)
    for i in np.flatnonzero(sizes > PART_BYTES).tolist():
        found[i] = FiledTokens(_encode_parts(texts[i].as_buffer(), encoder), folder)
    return found


def _one_array(texts: pa.ChunkedArray) -> pa.Array:
    return texts.cast(pa.large_string()).combine_chunks()


def _encode_parts(text: pa.Buffer, encoder: SegmentEncoder) -> Iterator[npt.NDArray[np.int32]]:
    every = encoder.cuts.parts(memoryview(text), PART_BYTES)
    while parts := list(islice(every, _PARTS)):
        yield encoder.encode(pa.array(parts, pa.large_string())).ids
