"""EV, L0 and density: closed forms, and laws about what they may not depend on."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.metrics.reconstruction import (
    RowSums,
    add_rows,
    explained_variance,
    l0,
    latent_counts,
    reconstruction_figures,
    row_sums,
)
from sae.sparse import Codes


def codes_at(position: torch.Tensor, latent: torch.Tensor) -> Codes:
    """Codes of value 2 each."""
    return Codes(latent, torch.full((len(latent),), 2.0), position, torch.zeros(0, dtype=torch.int64))


NONE = codes_at(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def sums(x: torch.Tensor, made: torch.Tensor, reference: torch.Tensor | None = None, codes: Codes = NONE) -> RowSums:
    """Row sums of x [n, L, d], all positions data."""
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    return row_sums(x[mask], made[mask], codes, mask, torch.zeros(x.shape[2]) if reference is None else reference)


def ev(x: torch.Tensor, made: torch.Tensor, reference: torch.Tensor | None = None) -> float:
    value = explained_variance(add_rows(sums(x, made, reference)))
    assert value is not None
    return value


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 7, 6, generator=torch.Generator().manual_seed(1)) * 3 + 100


def test_identity_explains_everything(x: torch.Tensor) -> None:
    assert ev(x, x) == 1.0


def test_mean_predictor_explains_nothing(x: torch.Tensor) -> None:
    mean = x.double().mean(dim=(0, 1)).float()
    # Only the rounding of the mean to float32 (8e-6 at 100) is left: it costs its square over the variance.
    assert abs(ev(x, mean.expand_as(x))) < 1e-11


def test_half_of_every_deviation_explains_three_quarters(x: torch.Tensor) -> None:
    mean = x.double().mean(dim=(0, 1)).float()
    assert ev(x, mean + (x - mean) / 2) == pytest.approx(0.75, abs=1e-6)


def test_two_point_example() -> None:
    x = torch.tensor([[[0.0, 0.0], [2.0, 4.0]]])  # means 1 and 2, variances 1 and 4
    made = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])  # mean squared error 0.5
    assert ev(x, made) == pytest.approx(1 - 0.5 / 5)


def test_a_reference_near_the_mean_keeps_large_offsets_exact() -> None:
    """Whole numbers at a huge offset: float64 sums of x**2 would lose them, sums about a reference are exact."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randint(-64, 65, (4, 8, 3), generator=generator).float()
    offset = torch.tensor([2.0**22, -(2.0**22), 2.0**21])
    error = torch.randint(-1, 2, small.shape, generator=generator).float() * 2
    plain = ev(small, small + error)
    assert ev(small + offset, small + offset + error, offset) == plain


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(-50, 50))
def test_any_reference_gives_the_same(seed: int, reference: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, 3, 5, 4, generator=generator)
    assert ev(x, x + noise, torch.full((4,), reference)) == pytest.approx(ev(x, x + noise), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_the_way_rows_are_batched_changes_no_bit(seed: int, batches: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = sum(batches)
    x, made = torch.randn(2, n, 6, 5, generator=generator)
    mask = torch.rand(n, 6, generator=generator) < 0.7
    reference = torch.randn(5, generator=generator)

    def part(rows: slice) -> RowSums:
        m = mask[rows]
        position = torch.arange(int(m.sum()))
        return row_sums(x[rows][m], made[rows][m], codes_at(position, position % 3), m, reference)

    ends = np.cumsum(batches)
    parts = [part(slice(int(end) - size, int(end))) for end, size in zip(ends, batches, strict=True)]
    split = reduce(lambda total, rows: add_rows(rows, total), parts, None)
    whole = add_rows(part(slice(0, n)))
    assert split.shifted.tobytes() == whole.shifted.tobytes()
    assert split._replace(shifted=0) == whole._replace(shifted=0)  # type: ignore[arg-type]


def test_threads_change_no_bit() -> None:
    x, made = torch.randn(2, 3, 512, 300, generator=torch.Generator().manual_seed(3))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(b"".join(a.tobytes() for a in sums(x, made)))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_rows_without_data_add_nothing() -> None:
    x = torch.randn(3, 4, 2)
    mask = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    found = row_sums(x[mask], x[mask], NONE, mask, torch.zeros(2))
    assert found.positions.tolist() == [4, 0, 4]
    assert found.square[1] == 0
    assert not found.shifted[1].any()


def test_what_does_not_vary_has_no_explained_variance() -> None:
    same = torch.ones(2, 3, 4)
    assert explained_variance(add_rows(sums(same, same, torch.ones(4)))) is None


def test_l0_and_density_of_known_codes() -> None:
    x = torch.randn(2, 2, 3)
    codes = codes_at(torch.tensor([0, 0, 0, 1, 3, 3]), torch.tensor([0, 2, 4, 2, 2, 4]))
    found = sums(x, x, codes=codes)
    assert found.active.tolist() == [4, 2]  # positions 0 and 1 are row 0, 2 and 3 are row 1
    assert l0(add_rows(found)) == 1.5
    assert latent_counts(codes, 6).tolist() == [1, 0, 3, 0, 2, 0]


def test_figures_of_saebench_in_closed_form() -> None:
    """x is (3, 4) twice; y is half of it once, and (4, -3), at a right angle, once. Values of codes are 2."""
    x = torch.tensor([[[3.0, 4.0], [3.0, 4.0]]])
    made = torch.tensor([[[1.5, 2.0], [4.0, -3.0]]])
    codes = codes_at(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))
    found = reconstruction_figures(add_rows(sums(x, made, codes=codes)))
    assert found == pytest.approx(
        {
            "l1": 3.0,  # 4 and 2
            "mse": (6.25 + 50) / 2,
            "cosine": 0.5,
            "shrinkage": 0.75,
            "relative_reconstruction_bias": (6.25 + 25) / (12.5 + 0),
        }
    )
    nothing = reconstruction_figures(add_rows(sums(x[:, :0], made[:, :0])))
    assert set(nothing.values()) == {None}
