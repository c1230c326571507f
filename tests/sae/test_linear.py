"""The dense product by oneDNN is torch's own, row by row, and hooks on layers that use it see what they saw."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sae.linear import linear, use_onednn, with_bias_columns


@pytest.mark.parametrize("shape", [(7, 24), (3, 5, 24), (1, 24), (0, 24)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_it_is_the_product(shape: tuple[int, ...], with_bias: bool, transposed: bool) -> None:
    torch.manual_seed(0)
    x, bias = torch.randn(shape), torch.randn(40) if with_bias else None
    weight = torch.randn(24, 40).T if transposed else torch.randn(40, 24)
    wanted = nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    got = linear(x, weight, bias)
    assert got.shape == wanted.shape
    torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=1e-5)


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(300, 96), torch.randn(500, 96), torch.randn(500)
    whole = linear(x, weight, bias)
    for rows in (1, 2, 37):
        assert torch.equal(linear(x[:rows], weight, bias), whole[:rows])
    assert torch.equal(linear(x[0], weight, bias), whole[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_slice_of_positions_has_the_bits_of_its_copy(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 9, 48).to(dtype), torch.randn(64, 48).to(dtype)
    last = linear(x[:, -1:], weight)
    assert last.shape == (rows, 1, 64)
    assert torch.equal(last, linear(x[:, -1:].clone(memory_format=torch.contiguous_format), weight))


def test_other_dtypes_and_gradients_are_torchs_own() -> None:
    x, weight = torch.randn(3, 8), torch.randn(4, 8, requires_grad=True)
    linear(x, weight).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, x.sum(0).expand(4, 8))
    half = linear(x.bfloat16(), weight.detach().bfloat16())
    assert half.dtype == torch.bfloat16


def test_a_model_computes_with_it_and_its_hooks_see_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4, bias=False)).requires_grad_(False)
    x, seen = torch.randn(5, 8), []
    model[0].register_forward_hook(lambda module, given, out: seen.append(out))
    before = model(x)
    use_onednn(model)
    after = model(x)
    torch.testing.assert_close(after, before)
    first: Tensor
    first, second = seen
    torch.testing.assert_close(second, first)


@pytest.mark.parametrize("d", [6, 8, 13, 24])
def test_columns_that_add_the_bias_give_the_product_with_it(d: int) -> None:
    generator = torch.Generator().manual_seed(d)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((5, d), (7, d), (7,)))
    padded, wide = with_bias_columns(x, weight, 100 * bias)
    assert padded.shape[1] == wide.shape[1]
    assert padded.shape[1] % 8 == 0
    expected = x.bfloat16().double() @ weight.bfloat16().double().T + 100 * bias
    torch.testing.assert_close(padded.double() @ wide.double().T, expected, atol=100 * 2**-16, rtol=0)
