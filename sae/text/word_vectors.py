"""Vectors of short texts by meaning: the mean of word vectors that the package wordllama carries. No model runs, no network.

WordLlama's vectors (256 dimensions, 32,000 tokens, MIT licence) were trained so that this mean says what a sentence is about.
Only its two data files are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Float32 = npt.NDArray[np.float32]
DIMENSIONS = 256
_PACKAGE, _VERSION = "wordllama", "0.2.2.post0"
_WEIGHTS, _TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
_SHA256 = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"  # of the weights
_BATCH = 1024  # texts that are tokenized together


class NoWordVectors(ValueError):
    """The package with the word vectors is not installed, or is another version."""


class WordVectors:
    """Vectors [tokens, 256] and the tokenizer that belongs to them."""

    def __init__(self, vectors: Float32, tokenizer: Tokenizer) -> None:
        self.vectors, self._tokenizer = vectors, tokenizer

    def of(self, texts: Sequence[str]) -> Float32:
        """One vector [256] of length 1 a text; 0 for a text without a token."""
        found = np.zeros((len(texts), DIMENSIONS), np.float32)
        for first in range(0, len(texts), _BATCH):
            batch = self._tokenizer.encode_batch(list(texts[first : first + _BATCH]), add_special_tokens=False)
            for number, encoding in enumerate(batch, first):
                found[number] = self.vectors[encoding.ids].sum(0)
        return unit(found)

    def cut(self, texts: Sequence[str]) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """The tokens of each text: their numbers, and the characters that they begin at, ascending."""
        found = []
        for first in range(0, len(texts), _BATCH):
            batch = self._tokenizer.encode_batch(list(texts[first : first + _BATCH]), add_special_tokens=False)
            for encoding in batch:
                begins = np.array([begin for begin, _ in encoding.offsets], np.int64)
                found.append((np.array(encoding.ids, np.int64), begins))
        return found

    def tokens(self, text: str) -> int:
        """Into how many tokens a text is cut."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


def unit(vectors: Float32) -> Float32:
    """Rows scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Float32 = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


@cache
def word_vectors() -> WordVectors:
    """The vectors, read once in a process. Raises NoWordVectors."""
    spec = find_spec(_PACKAGE)
    advice = f"install it with: pip install --no-deps {_PACKAGE}=={_VERSION}"
    if spec is None or spec.origin is None:
        raise NoWordVectors(f"search by meaning needs the package {_PACKAGE}, which is not installed: {advice}")
    folder = Path(spec.origin).parent
    weights = folder / _WEIGHTS
    if not weights.exists() or hashlib.sha256(weights.read_bytes()).hexdigest() != _SHA256:
        raise NoWordVectors(f"{weights} is not what version {_VERSION} of {_PACKAGE} has: {advice}")
    return WordVectors(
        load_file(weights)["embedding.weight"].astype(np.float32), Tokenizer.from_file(str(folder / _TOKENIZER))
    )
