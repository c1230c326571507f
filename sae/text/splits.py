"""Which split a document belongs to: what its source says, or a seeded hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def canonical_split(word: str) -> str | None:
    """train, validation or test, if `word` is one of their usual names."""
    return _NAMES.get(word.strip().lower())


def splits_by_file(names: Iterable[str]) -> dict[str, str] | None:
    """Split of each file, if file and folder names (`data/train-00000.parquet`) give the source splits of its own.

    They do if some say train and some say validation or test; a file that says nothing is then train. Otherwise None: a
    source that has only a train split still needs held-out documents.
    """
    found = {name: _split_of(name) for name in names}
    said = set(found.values())
    if "train" not in said or not said & {"validation", "test"}:
        return None
    return {name: split or "train" for name, split in found.items()}


def _split_of(name: str) -> str | None:
    for part in reversed(name.split("/")):
        words = [canonical_split(word) for word in re.split(r"[^A-Za-z]+", part)]
        known = [word for word in words if word]
        if known:
            return known[0]
    return None


def heldout_split(text: str, fraction: float, seed: int) -> str:
    """`test` for a share `fraction` of all texts, else `train`. Equal texts fall into the same split, so none leaks."""
    digest = hashlib.sha256(f"{seed}\n".encode() + text.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < fraction * 2**64 else "train"
