"""Sketches: any grouping of chunks gives equal bytes, and equals a plain computation feature by feature."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.features.examples import KINDS, sample_examples, windows
from sae.features.histogram import BINS, LOWEST, bin_of, cumulate, lower_edge, middle, part_of, quantiles
from sae.features.moments import as_floats
from sae.features.sampling import Quota, hash64, keep_first
from sae.features.sketch import (
    WINDOW_AFTER,
    WINDOW_BEFORE,
    Entries,
    Histograms,
    Sketch,
    Space,
    merge,
    sketch,
    stable_order,
)
from sae.features.sketch_file import ChunkRange, SketchFile, covered, save_sketch
from sae.features.sketch_size import ACTIVATION_DEVIATION, DENSITY_DEVIATION, chunks_per_sketch, expected_bytes
from sae.features.write_features import merged_blocks
from sae.formats.features import feature_blocks

SPACE = Space(features=7, rows=12, context_length=60)
QUOTA = Quota(top=3, quantile=2, uniform=4, seed=5)
PARTS = 3


def codes(seed: int, space: Space = SPACE, share: float = 0.3) -> tuple[np.ndarray, ...]:
    """Random codes (row, position, feature, value), many values equal, feature 3 always silent."""
    rng = np.random.default_rng(seed)
    active = rng.random((space.rows, space.context_length, space.features)) < share
    active[:, :, 3] = False
    row, position, feature = (i.astype(np.int64) for i in np.nonzero(active))
    value = np.where(rng.random(len(row)) < 0.5, rng.integers(1, 5, len(row)), rng.lognormal(0, 1, len(row)))
    return row, position, feature, value.astype(np.float32)


def sketch_rows(data: tuple[np.ndarray, ...], start: int, stop: int, space: Space = SPACE) -> Sketch:
    row, position, feature, value = (c[(data[0] >= start) & (data[0] < stop)] for c in data)
    n = (stop - start) * space.context_length
    return sketch(feature, row, position, value, n - (stop - start), {"bos": stop - start}, space)


def assert_equal(a: Sketch, b: Sketch) -> None:
    """All bytes are equal."""
    assert a.totals[:2] == b.totals[:2]
    arrays = zip((*a.totals[2:], *a.histograms, *a.entries), (*b.totals[2:], *b.histograms, *b.entries), strict=True)
    assert all((x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()) for x, y in arrays)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.sets(st.integers(1, SPACE.rows - 1)), order=st.randoms())
def test_any_partition_and_any_order_of_merging_gives_equal_bytes(seed: int, cuts: set[int], order) -> None:
    data = codes(seed)
    whole = merge([sketch_rows(data, 0, SPACE.rows)], SPACE, QUOTA)
    parts = [sketch_rows(data, a, b) for a, b in pairwise([0, *sorted(cuts), SPACE.rows])]
    assert_equal(merge(parts, SPACE, QUOTA), whole)
    while len(parts) > 1:  # a random tree
        a, b = parts.pop(order.randrange(len(parts))), parts.pop(order.randrange(len(parts)))
        parts.append(merge([a, b], SPACE, QUOTA))
    assert_equal(merge(parts, SPACE, QUOTA), whole)


def test_folding_on_the_way_and_pruning_by_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = codes(1)
    parts = [sketch_rows(data, r, r + 1) for r in range(SPACE.rows)]
    at_once = merge(parts, SPACE, QUOTA)
    monkeypatch.setattr("sae.features.sketch._FOLD", 50)
    monkeypatch.setattr("sae.features.sketch._BLOCK", 30)
    assert_equal(merge(parts, SPACE, QUOTA), at_once)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(2.0**-60, 2.0**60, width=32), min_size=1, max_size=40),
    cut=st.integers(0, 40),
    order=st.randoms(),
)
def test_moments_are_exact_in_any_order_over_any_range(values: list[float], cut: int, order) -> None:
    shuffled = order.sample(values, len(values))

    def of(some: list[float]) -> Sketch:
        zeros = np.zeros(len(some), np.int64)
        return sketch(zeros, zeros, np.arange(len(some)), np.array(some, np.float32), len(some), {}, Space(1, 1, 40))

    whole = of(values).totals
    assert_equal(merge([of(shuffled[:cut]), of(shuffled[cut:])], Space(1, 1, 40), QUOTA)._replace(entries=of([]).entries),
                 of(values)._replace(entries=of([]).entries))  # fmt: skip
    wanted = [math.fsum(v**p for v in values) for p in (1, 2, 3, 4)]
    np.testing.assert_allclose(as_floats(whole.moments, whole.maximum)[:, 0], wanted, rtol=1e-14)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.01, 0.1, 0.5]))
def test_equals_a_plain_computation_feature_by_feature(seed: int, share: float) -> None:
    data = codes(seed, share=share)
    merged = merge([sketch_rows(data, r, r + 3) for r in range(0, SPACE.rows, 3)], SPACE, QUOTA)
    drawn = sample_examples(merged.histograms, merged.entries, SPACE, QUOTA, PARTS)
    around = windows(merged.entries, drawn, SPACE)
    shown = []
    for i in range(len(drawn.feature)):
        acts = around.acts[around.offsets[i] : around.offsets[i + 1]].tolist()
        shown.append((*(int(c[i]) for c in drawn[:6]), float(drawn.activation[i]), int(around.start[i]), acts))
    assert shown == [e for f in range(SPACE.features) for e in naive_examples(data, f)]
    for f in range(SPACE.features):
        value = data[3][data[2] == f].astype(np.float64)
        assert merged.totals.counts[f] == len(value)
        assert merged.totals.maximum[f] == (value.max() if len(value) else 0)
        moments = as_floats(merged.totals.moments, merged.totals.maximum)[:, f]
        np.testing.assert_allclose(moments, [(value**p).sum() for p in (1, 2, 3, 4)], rtol=1e-12)


def naive_examples(data: tuple[np.ndarray, ...], feature: int) -> list[tuple]:
    """Examples of one feature in plain Python."""
    which = data[2] == feature
    entries = [(int(r), int(p), float(v)) for r, p, v in zip(*(data[i][which] for i in (0, 1, 3)), strict=True)]
    at = {(r, p): v for r, p, v in entries}
    one = np.array([feature], dtype=np.int64)
    hashes = {
        (r, p): int(hash64(QUOTA.seed, one, np.array([r], np.int64), np.array([p], np.int64))[0]) for r, p, _ in entries
    }
    ranked = sorted(entries, key=lambda e: e[2])
    bins = [int(bin_of(np.array([v], np.float32))[0]) for _, _, v in ranked]
    parts: dict[int, list] = {p: [] for p in range(PARTS)}
    for b in sorted(set(bins)):
        middle_rank = bins.index(b) + bins.count(b) / 2
        part = min(int(PARTS * middle_rank / len(bins)), PARTS - 1)
        parts[part] += [e for e, c in zip(ranked, bins, strict=True) if c == b]
    chosen = [("top", -1, sorted(entries, key=lambda e: (-e[2], e[0], e[1]))[: QUOTA.top])]
    for p in range(PARTS):
        chosen.append(("quantile", p, sorted(parts[p], key=lambda e: (hashes[e[:2]] >> 32, e[:2]))[: QUOTA.quantile]))
    chosen.append(("uniform", -1, sorted(entries, key=lambda e: (hashes[e[:2]] % 2**32, e[:2]))[: QUOTA.uniform]))
    out = []
    for kind, part, examples in chosen:
        for rank, (r, p, v) in enumerate(examples):
            start, stop = max(0, p - WINDOW_BEFORE), min(SPACE.context_length, p + WINDOW_AFTER + 1)
            acts = [at.get((r, q), 0.0) for q in range(start, stop)]
            out.append((feature, KINDS.index(kind), part, rank, r, p, v, start, acts))
    return out


def test_sketch_files_are_merged_by_blocks_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sae.formats.features._ROW_GROUP", 3)
    data, files = codes(2), []
    for name, rows in (("a", (0, 4)), ("b", (4, 12)), ("c", (0, 4))):
        save_sketch(merge([sketch_rows(data, *rows)], SPACE, QUOTA), SPACE, tmp_path / name)
        files.append(SketchFile(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()
    whole = merge([sketch_rows(data, 0, 12)], SPACE, QUOTA)
    blocks = list(merged_blocks(files[:2], SPACE, QUOTA))
    assert [block[:2] for block in blocks] == [(0, 3), (3, 6), (6, 7)]
    found = [np.concatenate([block[i][j] for block in blocks]) for i in (2, 3) for j in (0, 1)]
    assert all(x.tobytes() == y.tobytes() for x, y in zip(found, (*whole.histograms, *whole.entries), strict=True))
    totals = merge((Sketch(file.totals, *file.block(0)) for file in files[:2]), SPACE, QUOTA).totals
    assert totals.moments.tobytes() == whole.totals.moments.tobytes()


def test_sketches_that_overlap_are_never_counted_twice() -> None:
    def ranges(*pairs: tuple[int, int]) -> list[tuple[int, int]]:
        return [tuple(r) for r in covered([ChunkRange(*pair).file_name for pair in pairs] + ["features.parquet"])]

    assert ranges() == []
    assert ranges((4, 8), (0, 4)) == [(0, 4), (4, 8)]
    # A worker that had been given up stored (2, 5) after others had begun anew at 2.
    assert ranges((0, 2), (2, 5), (2, 4), (4, 6)) == [(0, 2), (2, 4), (4, 6)]
    assert ranges((3, 5), (4, 6)) == [(3, 5)]


@pytest.mark.parametrize("rows", [40, 400])
def test_the_size_of_a_sketch_is_known_before(rows: int, tmp_path: Path) -> None:
    """For densities and activations that are distributed as the prediction takes them to be."""
    space, quota, rng = Space(96, rows, 128), Quota(20, 4, 10, 0), np.random.default_rng(0)
    density = rng.lognormal(0, DENSITY_DEVIATION, space.features)
    density = np.minimum(density / density.mean() * 4 / space.features, 1)
    active = rng.random((space.rows, space.context_length, space.features)) < density
    row, position, feature = np.nonzero(active)
    value = (rng.lognormal(0, 1, space.features)[feature] * rng.lognormal(0, ACTIVATION_DEVIATION, len(row))).astype(
        np.float32
    )
    positions = space.rows * space.context_length
    part = merge([sketch(feature, row, position, value, positions, {}, space)], space, quota)
    save_sketch(part, space, tmp_path / "sketch")
    expected = expected_bytes(space.features, positions, space.context_length, len(row) / positions, quota)
    assert expected == pytest.approx((tmp_path / "sketch").stat().st_size, rel=0.2)


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (600, 2), (70_000, 4), (2**33, 8)])
def test_a_sketch_file_holds_a_sketch_whatever_its_size(rows: int, width: int, tmp_path: Path) -> None:
    """Entries far apart and counts of up to `rows` positions, in two blocks of features; numbers take `width` bytes."""
    space = Space(feature_blocks(3000)[0][1] + 2, rows, 60)
    feature = np.array([0, 0, space.features - 2, space.features - 1], np.int64)
    row, position = np.array([0, rows - 1, rows // 2, rows - 1]), np.array([3, 59, 0, 59])
    value = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    made = sketch(feature, row, position, value, 4, {"bos": 1}, space)
    made.histograms.height[:] = rows
    save_sketch(made, space, tmp_path / "sketch")
    file = SketchFile(tmp_path / "sketch")
    blocks = [file.block(number) for number in range(len(feature_blocks(space.features)))]
    histograms, entries = (tuple(np.concatenate(c) for c in zip(*(b[i] for b in blocks), strict=True)) for i in (0, 1))
    assert len(blocks) > 1
    assert_equal(Sketch(file.totals, Histograms(*histograms), Entries(*entries)), made)
    assert file._file.get_tensor("token").dtype.itemsize == width


def test_a_sketch_covers_a_million_positions_and_every_worker_gets_two() -> None:
    assert chunks_per_sketch(156_250, 128, 128, workers=1) == 64  # 20M tokens
    assert chunks_per_sketch(1_562_500, 128, 128, workers=1) == 382  # 200M: 32 sketches
    assert chunks_per_sketch(1600, 128, 128, workers=1) == 5
    assert chunks_per_sketch(1600, 128, 128, workers=4) == 2
    assert chunks_per_sketch(3, 128, 128, workers=8) == 1


def test_nothing_active() -> None:
    empty = sketch_rows(tuple(c[:0] for c in codes(3)), 0, SPACE.rows)
    merged = merge([empty, empty], SPACE, QUOTA)
    assert merged.totals.counts.sum() == 0
    assert merged.totals.positions == 2 * empty.totals.positions
    drawn = sample_examples(merged.histograms, merged.entries, SPACE, QUOTA, PARTS)
    assert len(drawn.feature) == 0
    assert len(windows(merged.entries, drawn, SPACE).acts) == 0


def test_the_first_of_each_group_with_ties_by_index() -> None:
    group = np.array([1, 0, 1, 1, 0, 1], dtype=np.uint64)
    order = np.array([5, 2, 5, 1, 2, 5], dtype=np.uint64)
    assert keep_first(group, order, 1).tolist() == [1, 3]
    assert keep_first(group, order, 3).tolist() == [1, 4, 3, 0, 2]
    assert keep_first(group, order, 9).tolist() == [1, 4, 3, 0, 2, 5]


def test_memory_is_bounded_by_features() -> None:
    space = Space(features=4, rows=4000, context_length=60)
    data = codes(4, space, share=0.4)
    sizes = []
    for rows in (1000, 4000):
        pieces = [sketch_rows(data, r, r + 500, space) for r in range(0, rows, 500)]
        sizes.append(len(merge(pieces, space, QUOTA).entries.ident))
    assert len(data[0]) > 150_000
    assert sizes[1] < 1.3 * sizes[0] < 20_000


def test_wide_features_sort_as_narrow_ones() -> None:
    feature = np.random.default_rng(0).integers(0, 1 << 20, 5000)
    assert (stable_order(feature, 1 << 20) == np.argsort(feature, kind="stable")).all()


def test_sizes_that_the_keys_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        Space(10**8, 1, 1).check()
    with pytest.raises(ValueError, match="fewer rows"):
        Space(2**20, 2**40, 128).check()


def test_hash_is_splitmix64_and_spreads_evenly() -> None:
    from sae.features.sampling import splitmix64

    assert int(splitmix64(np.array([0], dtype=np.uint64))[0]) == 0xE220A8397B1DCDAF  # its published first output
    n = np.arange(20_000, dtype=np.int64)
    bits = hash64(0, n % 7, n // 100, n % 100)
    assert len(np.unique(bits)) == len(n)
    for half in (bits >> np.uint64(32), bits & np.uint64(2**32 - 1)):
        counts = np.bincount((half >> np.uint64(28)).astype(np.int64), minlength=16)
        assert abs(counts - len(n) / 16).max() < 150


def test_bins_are_within_two_percent_and_fixed() -> None:
    value = np.geomspace(1e-6, 1e6, 5001).astype(np.float32)
    bins = bin_of(value)
    assert (lower_edge(bins) <= value).all()
    assert (value < lower_edge(bins + 1)).all()
    assert (np.abs(middle(bins) / value - 1) < 0.02).all()
    assert bin_of(np.array([1.0], np.float32))[0] + LOWEST == 0
    extremes = bin_of(np.array([1e-30, 1e30, np.nextafter(np.float32(1), np.float32(0))], np.float32))
    assert extremes.tolist() == [0, BINS - 1, -LOWEST - 1]


def test_quantiles_and_parts_of_a_histogram() -> None:
    value = np.random.default_rng(1).lognormal(0, 2, 4000).astype(np.float32)
    bins, counts = np.unique(bin_of(value), return_counts=True)
    starts = np.array([0, len(bins), len(bins)])
    wanted = np.quantile(value, [0, 0.3, 0.5, 0.99, 1], method="lower")
    found = quantiles(bins, counts, starts, (0, 0.3, 0.5, 0.99, 1))
    assert (np.abs(found[0] / wanted - 1) < 0.02).all()
    assert np.isnan(found[1]).all()
    part = part_of(counts, *cumulate(counts, starts), 4)
    shares = np.bincount(part, weights=counts) / len(value)
    assert np.abs(shares - 0.25).max() < 0.02
