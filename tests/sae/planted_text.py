"""Random text with planted features: what each is active on is known."""

from __future__ import annotations

import numpy as np

from sae.labels.activations import Activations, by_feature
from sae.labels.label_features import LabelSettings
from sae.labels.predicate import Predicate, holds
from sae.labels.text import LabelText

ROWS, LENGTH, WORDS, TOKEN_FEATURES, CONTEXT_FEATURES, NOISE_FEATURES = 400, 64, 120, 12, 12, 12
SETTINGS = LabelSettings(examples=64, strength=0.0, min_cosine=0.5, seed=0)


def word(token: int) -> str:
    return f" Word{token}"


def random_text(rows: int, length: int, words: int, seed: int) -> LabelText:
    random = np.random.default_rng(seed)
    tokens = random.integers(0, words, (rows, length)).astype(np.int32)
    # Two documents in a row, the second beginning at a random position.
    document = 2 * np.arange(rows)[:, None] + (np.arange(length) >= random.integers(1, length, (rows, 1)))
    return LabelText(tokens, random.random((rows, length)) < 0.97, document, word)


def planted_predicates() -> list[Predicate]:
    """Of the features that read one of two tokens, and of those that read a token after another word."""
    tokens = [Predicate(((f"word{2 * i}",), (f"word{2 * i + 1}",))) for i in range(TOKEN_FEATURES)]
    return tokens + [
        Predicate(tuple((f"word{k}",) for k in range(30 + i, 36 + i)), (f"word{60 + 2 * i}",))
        for i in range(CONTEXT_FEATURES)
    ]


def planted() -> tuple[LabelText, Activations]:
    """Features that read one or two tokens, features that read a token after another word, and features of noise."""
    text = random_text(ROWS, LENGTH, WORDS, 1)
    random = np.random.default_rng(2)
    data = text.test | text.explain
    every = np.arange(len(data))
    masks = [holds(predicate, text, every) for predicate in planted_predicates()]
    masks += [random.random(len(data)) < 0.01 for _ in range(NOISE_FEATURES)]
    active = np.stack(masks) & data
    position, feature = np.nonzero(active.T)
    return text, by_feature(feature, position, random.random(len(position)).astype(np.float32) + 0.1, len(masks))
