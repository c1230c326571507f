"""The sparse step against the same step written densely with autograd, and batch top-k against a sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sae import sparse


@pytest.mark.parametrize("select", [sparse.topk, sparse.batch_topk])
def test_gradients_are_those_of_the_dense_step(select) -> None:
    torch.manual_seed(0)
    n, d, width, k = 37, 12, 50, 4
    x = torch.randn(n, d)
    W_enc_t, b_enc, W_dec = (torch.randn(s, requires_grad=True) for s in ((width, d), (width,), (width, d)))
    pre = x @ W_enc_t.T + b_enc
    codes = select(pre.detach(), k)
    mask = torch.zeros(n, width).index_put((codes.position, codes.latent), (codes.value > 0).float())
    ((pre * mask) @ W_dec - x).square().sum().backward()

    decoded = sparse.decode(codes, W_dec.detach())
    got = sparse.backward(codes, x, 2 * (decoded - x), W_dec.detach())

    torch.testing.assert_close(got.W_enc_t, W_enc_t.grad, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(got.b_enc, b_enc.grad, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(got.W_dec, W_dec.grad, atol=1e-3, rtol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 300), st.integers(1, 6), st.booleans())
def test_largest_is_topk(seed: int, n: int, width: int, k: int, ties: bool) -> None:
    k = min(k, width)
    values = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    if ties:
        values = values.round()
    value, column = sparse.largest(values, k)
    assert torch.equal(value.sort(dim=1, descending=True).values, values.topk(k, dim=1).values)
    assert torch.equal(values.gather(1, column), value)
    assert all(len(row.unique()) == k for row in column)


def test_codes_of_positions_without_active_latents() -> None:
    pre, W = torch.full((3, 8), -1.0), torch.ones(8, 2)
    for codes in (sparse.batch_topk(pre, 2), sparse.positive_topk(pre, 2), sparse.above(pre, torch.zeros(8))):
        assert len(codes.latent) == 0
        assert torch.equal(sparse.decode(codes, W), torch.zeros(3, 2))
        assert not any(gradient.any() for gradient in sparse.backward(codes, torch.ones(3, 2), torch.ones(3, 2), W))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_batch_topk_is_one_topk_over_the_batch(seed: int, n: int, width: int, k: int, ties: bool) -> None:
    k = min(k, width)
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randn(n, width, generator=generator)
    if ties:
        pre = (pre * 2).round()
    codes = sparse.batch_topk(pre, k)
    expected = pre.flatten().sort(descending=True).values[: n * k].relu()
    torch.testing.assert_close(codes.value.sort(descending=True).values, expected[expected > 0])
    assert torch.equal(pre[codes.position, codes.latent], codes.value)
    flat = codes.position * width + codes.latent
    assert torch.equal(flat, flat.unique())
    assert torch.equal(codes.offsets, torch.searchsorted(codes.position, torch.arange(n)))


def test_batch_topk_when_one_position_takes_the_whole_budget() -> None:
    pre = torch.full((8, 64), -1.0)
    pre[3] = torch.arange(1.0, 65.0)
    codes = sparse.batch_topk(pre, 6)
    assert codes.position.tolist() == [3] * 48
    assert sorted(codes.value.tolist()) == [float(v) for v in range(17, 65)]


def test_equal_bytes_for_any_number_of_threads() -> None:
    torch.manual_seed(0)
    pre, x, W = torch.randn(128, 300), torch.randn(128, 64), torch.randn(300, 64)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        codes = sparse.topk(pre, 8)
        results.append((sparse.decode(codes, W), *sparse.backward(codes, x, x, W)))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
