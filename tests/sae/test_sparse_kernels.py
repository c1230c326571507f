"""The kernels of sae.sparse on CUDA against torch's own operations: on a GPU, or in Triton's interpreter on a CPU."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sae import sparse

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if os.environ.get("RAYLENS_REQUIRE_TRITON"):
    import triton  # noqa: F401
else:
    pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA on Linux")

from sae import sparse_kernels  # noqa: E402


def _inputs(
    seed: int, n: int, d: int, d_in: int, width: int, k: int, shift: float
) -> tuple[sparse.Codes, Tensor, Tensor, Tensor]:
    """Codes of n positions, with latents that are active often, never, or with value 0; x, a loss gradient and W_dec."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d_in, generator=generator)
    pre = x @ torch.randn(d_in, width, generator=generator) + 3 * torch.randn(width, generator=generator) - shift
    W_dec = torch.nn.functional.normalize(torch.randn(width, d, generator=generator), dim=1)
    choose = sparse.topk if seed % 2 else sparse.batch_topk
    codes = choose(pre.to(DEVICE), k)
    return codes, x.to(DEVICE), torch.randn(n, d, generator=generator).to(DEVICE), W_dec.to(DEVICE)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 9), d=st.integers(1, 40), d_in=st.integers(1, 40),
    width=st.integers(4, 30), k=st.integers(1, 4), shift=st.sampled_from((0.0, 5.0)),
)  # fmt: skip
def test_kernels_give_the_sums_and_gradients_of_torchs_own_operations(
    seed: int, n: int, d: int, d_in: int, width: int, k: int, shift: float
) -> None:
    codes, x, grad, W_dec = _inputs(seed, n, d, d_in, width, k, shift)
    if not len(codes.latent):
        return
    on_cpu = sparse.Codes(*(one.cpu() for one in codes))
    entries, expected_entries = sparse.LatentOrder(codes, width), sparse.LatentOrder(on_cpu, width)
    close = lambda a, b: torch.testing.assert_close(a.cpu(), b, atol=1e-4, rtol=1e-5)  # noqa: E731

    close(sparse_kernels.sum_rows(W_dec, codes.latent, codes.value, codes.offsets), sparse.decode(on_cpu, W_dec.cpu()))
    found = sparse_kernels.decoder_gradients(entries.value, entries.position, entries.offsets, grad, W_dec)
    for ours, theirs in zip(found, expected_entries.decoder(grad.cpu(), W_dec.cpu()), strict=True):
        close(ours, theirs)
    found_all = sparse_kernels.latent_gradients(
        entries.value, entries.position, entries.position, entries.offsets, grad, x, W_dec
    )
    expected = sparse.backward(on_cpu, x.cpu(), grad.cpu(), W_dec.cpu())
    for ours, theirs in zip(found_all, expected, strict=True):
        close(ours, theirs)
    again = sparse_kernels.latent_gradients(
        entries.value, entries.position, entries.position, entries.offsets, grad, x, W_dec
    )
    assert all(torch.equal(a, b) for a, b in zip(found_all, again, strict=True))
