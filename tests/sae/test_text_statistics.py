"""Figures of tokens: those of a plain NumPy count over the whole, however the documents are cut into chunks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import load_info
from sae.text.distributions import coverage, length_figures, missing_splits, split_percent
from sae.text.token_counts import add_counts, pack_counts, unpack_counts
from tests.sae.length_reference import length_reference
from tests.sae.test_text_packing import BOS, EOS, SPECIAL, SPLITS, VOCAB, Document, documents, pack, settings_of, spec


def reference(whole: list[Document]) -> dict[str, Any]:
    """What can be said of the documents' own tokens, from all of them at once."""
    lengths = np.array([len(document.ids) for document in whole if document.ids])
    ids = np.concatenate([np.array(document.ids, int) for document in whole])
    found, counts = np.unique(ids, return_counts=True)
    order = np.lexsort((found, -counts))
    upto = np.cumsum(np.sort(counts)[::-1])
    return {
        "data_tokens": int((~np.isin(ids, (BOS, EOS, SPECIAL))).sum()),
        "documents": len(lengths),
        "documents_without_tokens": len(whole) - len(lengths),
        "document_tokens": length_reference(lengths),
        "unique_tokens": len(found),
        "unique_percent": 100 * len(found) / VOCAB,
        "coverage": [
            [n, int(upto[n - 1])] for n in sorted({1, 2, 5, 10, 20, 50} & set(range(len(found))) | {len(found)})
        ],
        "top_tokens": [{"id": int(found[i]), "text": f"w{found[i]}", "count": int(counts[i])} for i in order],
    }


@settings(max_examples=80, deadline=None)
@given(
    chunks=st.lists(st.lists(documents, max_size=12), min_size=1, max_size=5).filter(
        lambda chunks: any(document.ids for chunk in chunks for document in chunk)
    ),
    row_bos=st.sampled_from([None, BOS]),
    separator=st.sampled_from([None, EOS]),
)
def test_figures_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    chunks: list[list[Document]],
    row_bos: int | None,
    separator: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("tokens")
    packed = pack(folder, chunks, spec(row_bos, separator), settings_of(9))
    found = load_info(LocalFiles(folder)).statistics
    expected = reference([document for chunk in chunks for document in chunk])
    assert {name: found[name] for name in expected} == expected
    assert found["missing_splits"] == [split for split in SPLITS if split not in packed.rows]
    rows = {split: len(packed.rows[split].roles) for split in packed.rows}
    assert found["split_percent"] == split_percent(rows)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200))
def test_lengths_are_those_of_numpy(lengths: list[int]) -> None:
    found = length_figures(Counter(lengths))
    assert (found["min"], found["max"]) == (min(lengths), max(lengths))
    assert (found["mean"], found["median"]) == (np.mean(lengths), np.median(lengths))
    assert found["p95"] == np.quantile(lengths, 0.95, method="inverted_cdf")
    assert sum(documents for _, _, documents in found["histogram"]) == len(lengths)


def test_the_histogram_has_powers_of_two() -> None:
    found = length_figures(Counter([1, 1, 2, 3, 9, 100]))
    assert found["histogram"] == [[1, 2, 2], [2, 4, 2], [4, 8, 0], [8, 16, 1], [16, 32, 0], [32, 64, 0], [64, 128, 1]]
    assert found["p95"] == 100


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(SPLITS), st.integers(1, 10**9), min_size=1))
def test_split_shares_sum_to_100(rows: dict[str, int]) -> None:
    shares = split_percent(rows)
    assert round(sum(shares.values()), 6) == 100
    assert all(abs(shares[name] - 100 * n / sum(rows.values())) < 0.0101 for name, n in rows.items())
    assert set(missing_splits(rows, SPLITS)) == set(SPLITS) - set(rows)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 199), max_size=60), max_size=6))
def test_counts_of_chunks_add_up(chunks: list[list[int]]) -> None:
    packed = [pack_counts(np.bincount(np.array(chunk, np.int64))) for chunk in chunks]
    for chunk, one in zip(chunks, packed):
        ids, counts = unpack_counts(one)
        assert dict(zip(ids.tolist(), counts.tolist())) == Counter(chunk)
    everything = Counter(i for chunk in chunks for i in chunk)
    total = add_counts(packed, 200)
    assert {i: int(n) for i, n in enumerate(total) if n} == everything
    curve = coverage(total)
    ordered = sorted(everything.values(), reverse=True)
    assert curve == [[n, sum(ordered[:n])] for n, _ in curve]
    assert [n for n, _ in curve][-1:] == [len(everything)][: len(curve)]


def test_a_packed_chunk_is_small() -> None:
    ids = np.random.default_rng(0).zipf(1.2, 250_000) % 50_000
    packed = pack_counts(np.bincount(ids))
    assert len(packed) < 60_000  # 50 KB beside 1 MiB of text, only until the tokens are packed


def test_separators_and_bos_that_were_put_in_are_not_counted(tmp_path: Path) -> None:
    pack(tmp_path, [[Document("train", [5, 5, 7])], [Document("test", [7, 49])]], spec(BOS, EOS), settings_of(8))
    found = load_info(LocalFiles(tmp_path)).statistics
    assert [(token["id"], token["count"]) for token in found["top_tokens"]] == [(5, 2), (7, 2), (49, 1)]
    assert found["coverage"] == [[1, 2], [2, 4], [3, 5]]
    assert found["missing_splits"] == ["validation"]
