"""Figures of the documents of a dataset, counted while they are written. Counts of parts add up to those of the whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from sae.formats.dataset import SPLITS
from sae.formats.long_text import Text
from sae.text.distributions import length_figures, missing_splits, split_percent
from sae.text.duplicates import duplicate_figures, text_hash
from sae.text.near_duplicates import MinHashes, near_duplicate_figures
from sae.text.unicode_blocks import blocks, letters_by_block, main_blocks

_BATCH_CHARACTERS = 1 << 20


class DocumentStatistics:
    """Counts of documents in their order. Holds 17 bytes a document, and 1 MiB of text.

    `near_duplicates`: the similarity from which documents are near duplicates; None if they are not looked for.
    """

    def __init__(self, near_duplicates: float | None = None) -> None:
        self._similarity = near_duplicates
        self._lengths: Counter[int] = Counter()
        self._hashes, self._splits = bytearray(), bytearray()
        self._blocks = np.zeros((3, len(blocks().names)), np.int64)  # mainly in it, with a letter of it, letters
        self._min_hashes = MinHashes() if near_duplicates is not None else None
        self._texts: list[Text] = []
        self._characters = 0

    def add(self, split: str, text: Text) -> None:
        """Takes the next document; its text is valid Unicode and not empty."""
        self._splits.append(SPLITS.index(split))
        self._texts.append(text)
        self._characters += len(text)
        if self._characters >= _BATCH_CHARACTERS:
            self._count()

    def merge(self, other: DocumentStatistics) -> None:
        """Takes the documents of another, behind its own. Both look for near duplicates, or none does."""
        self._count()
        other._count()
        self._lengths.update(other._lengths)
        self._hashes += other._hashes
        self._splits += other._splits
        self._blocks += other._blocks
        if self._min_hashes is not None and other._min_hashes is not None:
            self._min_hashes.merge(other._min_hashes)

    def save(self, path: Path) -> None:
        """Writes the counts, for `load`."""
        self._count()
        found = {
            "lengths": np.array(sorted(self._lengths.items()), np.int64).reshape(-1, 2),  # characters, documents
            "hashes": np.frombuffer(self._hashes, np.uint8),
            "splits": np.frombuffer(self._splits, np.uint8),
            "blocks": self._blocks,
        }
        if self._min_hashes is not None:
            found["minima"] = np.array(self._min_hashes.all())
        save_file(found, path)

    @classmethod
    def load(cls, path: Path, near_duplicates: float | None = None) -> DocumentStatistics:
        """What `save` wrote of statistics that were made with the same `near_duplicates`."""
        found, statistics = load_file(path), cls(near_duplicates)
        statistics._lengths.update(dict(found["lengths"].tolist()))
        statistics._hashes += found["hashes"].tobytes()
        statistics._splits += found["splits"].tobytes()
        statistics._blocks += found["blocks"]
        if statistics._min_hashes is not None:
            statistics._min_hashes.add_rows(found["minima"])
        return statistics

    def figures(self) -> dict[str, Any]:
        """All figures, as plain JSON values. There is one document at least."""
        self._count()
        splits = np.frombuffer(bytes(self._splits), np.uint8)
        by_split = {SPLITS[i]: int(n) for i, n in enumerate(np.bincount(splits)) if n}
        found: dict[str, Any] = {
            "document_characters": length_figures(self._lengths),
            "split_percent": split_percent(by_split),
            "missing_splits": missing_splits(by_split, SPLITS),
            "scripts": self._scripts(),
            "documents_without_letters": int(len(splits) - self._blocks[0].sum()),
            "duplicates": duplicate_figures(self._hashes, splits),
        }
        if self._min_hashes is not None and self._similarity is not None:
            found["near_duplicates"] = near_duplicate_figures(self._min_hashes, self._similarity)
        return found

    def _count(self) -> None:
        texts, self._texts, self._characters = self._texts, [], 0
        if not texts:
            return
        self._lengths.update(len(text) for text in texts)
        for text in texts:
            self._hashes += text_hash(text)
        found = letters_by_block(texts)
        width = self._blocks.shape[1]
        self._blocks[0] += np.bincount(main_blocks(found), minlength=width)
        self._blocks[1] += np.bincount(found.block, minlength=width)
        np.add.at(self._blocks[2], found.block, found.letters)
        if self._min_hashes is not None:
            self._min_hashes.add(texts)

    def _scripts(self) -> list[dict[str, Any]]:
        """By Unicode block: documents most of whose letters are of it, documents with any, letters. The largest first."""
        mainly, having, letters = self._blocks
        return [
            {
                "block": blocks().names[i],
                "documents": int(mainly[i]),
                "documents_with_any": int(having[i]),
                "letters": int(letters[i]),
            }
            for i in np.lexsort((-letters, -mainly))
            if letters[i]
        ]
