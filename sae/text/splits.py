"""Which split a document belongs to: what its source says, or a seeded hash."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from sae.formats.long_text import Text, utf8_pieces

_SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


def canonical_split(word: str) -> str | None:
    """train, validation or test, if `word` is one of their usual names."""
    word = word.strip().lower()
    return _SPLITS.get(word) or _SPLITS.get(word.removesuffix("set").rstrip("_- "))


def split_in_name(name: str) -> str | None:
    """The split that a name such as `train_sft` or `data.test` begins or ends with; None if it names none."""
    for segment in name.split("."):
        words = [word for word in _WORD.findall(segment) if word.lower() not in ("of", "set")]
        for word in (*words[:1], *words[-1:]):
            if split := canonical_split(word):
                return split
    return None


def splits_by_file(names: Iterable[str]) -> dict[str, str] | None:
    """Split of each file, if file and folder names (`data/train-00000.parquet`) give the source splits of its own.

    They do if some say train and some say validation or test; a file that says nothing is then train. Otherwise None: a
    source that has only a train split still needs held-out documents. A word inside a title (`how-to-train-a-dragon`)
    says nothing, unless another file differs by that word alone (`squad_train_v2`, `squad_dev_v2`).
    """
    names = list(names)
    pairs = _paired(names)
    return complete_splits({name: _split_of(name, pairs) for name in names})


def complete_splits(found: Mapping[str, str | None]) -> dict[str, str] | None:
    """The split of each file, train where nothing was found; None if not both train and another split were found."""
    splits = set(found.values())
    if "train" not in splits or not splits & {"validation", "test"}:
        return None
    return {name: split or "train" for name, split in found.items()}


def _split_of(name: str, pairs: Mapping[str, str]) -> str | None:
    if name in pairs:
        return pairs[name]
    return next((split for part in reversed(name.split("/")) if (split := split_in_name(part))), None)


def _paired(names: list[str]) -> dict[str, str]:
    """Files whose names differ from another's by the name of the split alone (and digits), with that split."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        for word in _WORD.finditer(name, name.rfind("/") + 1):
            if split := canonical_split(word[0]):
                others = re.sub(r"\d+", "0", f"{name[: word.start()]}*{name[word.end() :]}")
                groups[others][name] = split
    return {name: split for group in groups.values() if len(set(group.values())) > 1 for name, split in group.items()}


def heldout_split(text: Text, fraction: float, seed: int) -> str:
    """`test` for a share `fraction` of all texts, else `train`. Equal texts fall into the same split, so none leaks."""
    return hashed_split(text, fraction, 0, seed)


def hashed_split(key: Text, test: float, validation: float, seed: int) -> str:
    """`test` for a share of all keys, `validation` for another, else `train`, by a hash of (seed, key)."""
    found = hashlib.sha256(f"{seed}\n".encode())
    for piece in utf8_pieces(key):
        found.update(piece)
    place = int.from_bytes(found.digest()[:8], "big")
    if place < test * 2**64:
        return "test"
    return "validation" if place < (test + validation) * 2**64 else "train"
