"""Figures of documents: those of a plain count over the whole, whatever parts were counted and merged."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from fontTools.unicodedata import block
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.formats import long_text
from sae.formats.dataset import SPLITS
from sae.text import document_statistics, unicode_blocks
from sae.text.document_statistics import DocumentStatistics
from sae.text.near_duplicates import MinHashes, minima, near_duplicate_figures
from sae.text.unicode_blocks import letters_by_block, main_blocks
from tests.sae.length_reference import length_reference

Documents = list[tuple[str, str]]
# Few different texts, so that they repeat; in several scripts, with characters outside the first plane.
texts = st.one_of(
    st.sampled_from(["a", "b c", "Да", "дa ab", "漢字かな", "1 2", "𝒜b"]), st.text("aбγ漢 1𝒜", min_size=1)
)
some_documents = st.lists(st.tuples(st.sampled_from(SPLITS), texts), min_size=1, max_size=40)


def count(documents: Documents, near: float | None = None) -> DocumentStatistics:
    found = DocumentStatistics(near)
    for split, text in documents:
        found.add(split, text)
    return found


def reference(documents: Documents) -> dict[str, Any]:
    """All figures, by definition."""
    lengths = np.array([len(text) for _, text in documents])
    letters = [Counter(block(c) for c in text if c.isalpha()) for _, text in documents]
    order = {name: i for i, name in enumerate(unicode_blocks.blocks().names)}
    mainly = Counter(min(own, key=lambda name: (-own[name], order[name])) for own in letters if own)
    every = sum(letters, Counter())
    copies = Counter(text for _, text in documents)
    by_split = {s: Counter(text for split, text in documents if split == s) for s in SPLITS}
    present = [s for s in SPLITS if by_split[s]]
    first = {text: min(i for i, (_, other) in enumerate(documents) if other == text) for text in copies}
    repeated = sorted((text for text in copies if copies[text] > 1), key=lambda text: (-copies[text], first[text]))
    return {
        "document_characters": length_reference(lengths),
        "missing_splits": [s for s in SPLITS if s not in present],
        "scripts": [
            {
                "block": name,
                "documents": mainly[name],
                "documents_with_any": sum(name in own for own in letters),
                "letters": every[name],
            }
            for name in sorted(every, key=lambda name: (-mainly[name], -every[name], order[name]))
        ],
        "documents_without_letters": sum(not own for own in letters),
        "duplicates": {
            "documents": len(documents) - len(copies),
            "texts": len(repeated),
            "within": {s: by_split[s].total() - len(by_split[s]) for s in present},
            "across": [
                {
                    "splits": [one, other],
                    "texts": len(by_split[one].keys() & by_split[other].keys()),
                    "documents": {
                        s: sum(by_split[s][text] for text in by_split[one].keys() & by_split[other].keys())
                        for s in (one, other)
                    },
                }
                for one, other in combinations(present, 2)
            ],
            "largest": [{"doc": first[text], "documents": copies[text]} for text in repeated[:10]],
        },
    }


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(some_documents, min_size=1, max_size=4))
def test_figures_of_merged_parts_are_those_of_the_whole(parts: list[Documents]) -> None:
    first, *others = [count(part) for part in parts]
    for other in others:
        first.merge(other)
    whole = [document for part in parts for document in part]
    found = first.figures()
    expected = reference(whole)
    assert {name: found[name] for name in expected} == expected
    assert round(sum(found["split_percent"].values()), 6) == 100
    assert found == count(whole).figures()


def test_batches_and_cut_texts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [(SPLITS[i % 3], f"текст {i % 50} with words " * (i % 7 + 1)) for i in range(300)]
    whole = count(documents, 0.8).figures()
    monkeypatch.setattr(document_statistics, "_BATCH_CHARACTERS", 1000)
    monkeypatch.setattr(unicode_blocks, "PIECE", 37)
    assert count(documents, 0.8).figures() == whole


def test_letters_of_a_text_that_is_cut_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "abc Дом 漢字 " * 100
    whole = letters_by_block([long, "x", "12"])
    monkeypatch.setattr(unicode_blocks, "PIECE", 11)
    monkeypatch.setattr(long_text, "PIECE", 11)
    parts = letters_by_block([long, "x", "12"])
    assert all((one == other).all() for one, other in zip(whole, parts))
    assert whole.letters.sum() == sum(c.isalpha() for c in long + "x")
    assert len(main_blocks(whole)) == 2


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the sets of 9 consecutive characters."""
    sets = [
        {plain[i : i + 9] for i in range(max(1, len(plain) - 8))}
        for plain in (" ".join(text.lower().split()) for text in (one, other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def words(seed: int, n: int = 200) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(n)]


@pytest.mark.parametrize("changed", [0, 2, 10, 30, 80])
def test_the_share_of_equal_minima_estimates_the_similarity(changed: int) -> None:
    estimates, exact = [], []
    for seed in range(20):
        one = words(seed)
        other = [*words(1000 + seed)[:changed], *one[changed:]]
        a, b = minima([" ".join(one), " ".join(other)])
        estimates.append(np.mean(a == b))
        exact.append(similarity(" ".join(one), " ".join(other)))
    # 20 estimates, each with a standard error of 0.044 or less.
    assert abs(np.mean(estimates) - np.mean(exact)) < 0.04


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    originals = [" ".join(words(seed)) for seed in range(300)]
    planted = {i: originals[i].replace(originals[i].split()[7], "changed").upper() for i in range(0, 300, 10)}
    documents = [("train", text) for text in originals]
    documents += [("test", f"  {text}\n") for text in planted.values()] + [("test", originals[0])]
    found = count(documents, 0.8).figures()["near_duplicates"]
    assert found["documents"] == len(planted) + 1
    assert found["groups"] == len(planted)
    assert found["largest"] == [{"doc": 0, "documents": 3}] + [{"doc": i, "documents": 2} for i in range(10, 100, 10)]
    assert "near_duplicates" not in count(documents).figures()


def test_the_similarity_decides_what_is_near() -> None:
    one = words(1)
    documents = [("train", " ".join(one)), ("train", " ".join([*one[:-14], *words(2)[:14]]))]
    assert 0.8 < similarity(documents[0][1], documents[1][1]) < 0.9
    counts = [count(documents, near).figures()["near_duplicates"]["documents"] for near in (0.7, 0.97)]
    assert counts == [1, 0]


def test_minima_are_the_same_whatever_texts_are_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(words(seed, 20)) for seed in range(10)] + ["a", "b", "a  A", "漢字かな交じり文の例です"]
    together = minima(texts)
    assert (together == np.concatenate([minima([text]) for text in texts])).all()
    assert (together[10] != together[11]).any()
    hashes = MinHashes()
    hashes.add(texts[:5])
    more = MinHashes()
    more.add(texts[5:])
    hashes.merge(more)
    assert (hashes.all() == together).all()
    monkeypatch.setattr(long_text, "PIECE", 50)
    assert np.mean(minima(texts) == together) > 0.7


def test_no_documents_have_no_near_duplicates() -> None:
    assert near_duplicate_figures(MinHashes(), 0.8) == {"similarity": 0.8, "documents": 0, "groups": 0, "largest": []}
