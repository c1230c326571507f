"""Texts that occur more than once in a dataset, found by the hash of each text: within splits and across them."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sae.formats.dataset import SPLITS
from sae.formats.long_text import Text, utf8_pieces

HASH_BYTES = 16  # two of 10 million texts have one hash by chance once in 10**24 datasets
_SHOWN = 10
_PARTS = 16  # of the hashes, one in memory at a time


def text_hash(text: Text) -> bytes:
    """16 bytes that equal texts share."""
    found = hashlib.blake2b(digest_size=HASH_BYTES)
    for piece in utf8_pieces(text):  # a large text is not copied as a whole
        found.update(piece)
    return found.digest()


class _Texts(NamedTuple):
    """The different texts of some documents: number of copies, first document, and number of copies in each split."""

    copies: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    by_split: dict[int, npt.NDArray[np.int64]]


def duplicate_figures(hashes: bytes | bytearray, splits: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Figures of equal texts: `hashes` are those of all documents in order, `splits` their numbers in SPLITS.

    `documents`: beyond the first of each text. `texts`: those that occur more than once. `within`: the same count as
    `documents`, each split by itself. `across`: for each pair of splits, the texts that are in both, and the documents of
    each split that hold one. `largest`: the texts that occur most often, by their first document.
    """
    words = np.frombuffer(hashes, "<u8").reshape(-1, 2)
    present = np.unique(splits).tolist()
    within = dict.fromkeys(present, 0)
    across = {pair: [0, 0, 0] for pair in combinations(present, 2)}
    documents = texts = 0
    largest: list[tuple[int, int]] = []
    for part in range(_PARTS):  # equal texts are in one part, so the figures of parts add up
        chosen = np.flatnonzero(words[:, 0] % _PARTS == part)
        found = _texts(words[chosen], chosen, splits[chosen], present)
        documents += int(found.copies.sum()) - len(found.copies)
        texts += int((found.copies > 1).sum())
        for split, own in found.by_split.items():
            within[split] += int((own - (own > 0)).sum())
        for (one, other), counts in across.items():
            both = (found.by_split[one] > 0) & (found.by_split[other] > 0)
            counts[0] += int(both.sum())
            counts[1] += int(found.by_split[one][both].sum())
            counts[2] += int(found.by_split[other][both].sum())
        most = np.lexsort((found.first, -found.copies))[:_SHOWN]
        largest += [(-int(found.copies[i]), int(found.first[i])) for i in most if found.copies[i] > 1]
    return {
        "documents": documents,
        "texts": texts,
        "within": {SPLITS[split]: n for split, n in within.items()},
        "across": [_shared(pair, counts) for pair, counts in across.items()],
        "largest": [{"doc": first, "documents": -copies} for copies, first in sorted(largest)[:_SHOWN]],
    }


def _texts(
    words: npt.NDArray[np.uint64], docs: npt.NDArray[np.int64], splits: npt.NDArray[np.uint8], present: list[int]
) -> _Texts:
    order = np.lexsort((words[:, 1], words[:, 0]))  # stable: equal texts stay in the order of documents
    words, docs, splits = words[order], docs[order], splits[order]
    begins = np.ones(len(words), bool)
    begins[1:] = (words[1:] != words[:-1]).any(axis=1)
    text = np.cumsum(begins) - 1  # the number of each document's text
    by_split = {split: np.bincount(text[splits == split], minlength=int(begins.sum())) for split in present}
    return _Texts(np.bincount(text), docs[begins], by_split)


def _shared(pair: tuple[int, int], counts: list[int]) -> dict[str, Any]:
    one, other = (SPLITS[split] for split in pair)
    return {"splits": [one, other], "texts": counts[0], "documents": {one: counts[1], other: counts[2]}}
