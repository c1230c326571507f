"""Attention of half-precision models by products: what torch's fused attention gives, and left to it where it may differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sae.language_model import attention as module_under_test
from sae.language_model.attention import attention, attention_by_products


def _inputs(seed: int, batch: int, keys: int, shared: int, length: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, length, keys * shared, d, generator=generator).transpose(1, 2)
    key, value = (torch.randn(batch, length, keys, d, generator=generator).transpose(1, 2) for _ in range(2))
    return query.bfloat16(), key.bfloat16(), value.bfloat16()


def _wanted(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """In fp32, head by head, with 0 where a position may see no key."""
    shared = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(shared, 1).float() for x in (key, value))
    made = scaled_dot_product_attention(query.float(), key, value, mask, is_causal=causal, scale=scale)
    return torch.nan_to_num(made if mask is None else made * mask.any(-1, keepdim=True)).transpose(1, 2)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(2, 40),
    st.sampled_from([4, 8, 24]), st.sampled_from(["causal", "free", "masked"]),
)  # fmt: skip
def test_it_is_attention(seed: int, batch: int, keys: int, shared: int, length: int, d: int, kind: str) -> None:
    query, key, value = _inputs(seed, batch, keys, shared, length, d)
    mask = None
    if kind == "masked":
        mask = torch.rand(batch, 1, length, length, generator=torch.Generator().manual_seed(seed)) < 0.3
        mask[0, :, 0] = False  # a position that sees nothing, as padding on the left does
    got = attention_by_products(query, key, value, mask, kind == "causal", 0.3)
    wanted = _wanted(query, key, value, mask, kind == "causal", 0.3)
    assert got.shape == wanted.shape
    torch.testing.assert_close(got.float(), wanted, atol=0.05, rtol=0.02)


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    query, key, value = _inputs(0, 5, 2, 3, 33, 16)
    mask = torch.rand(5, 1, 33, 33) < 0.5
    for which in (None, mask):
        whole = attention_by_products(query, key, value, which, which is None, 0.25)
        for i in range(5):
            one = None if which is None else which[i : i + 1]
            alone = attention_by_products(query[i : i + 1], key[i : i + 1], value[i : i + 1], one, which is None, 0.25)
            assert torch.equal(alone[0], whole[i])


class _Module(nn.Module):
    """As a transformers attention module, as far as attention() looks at it."""

    is_causal = True
    num_key_value_groups = 2


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of transformers' own attention."""
    calls: list[Any] = []
    own = module_under_test._fused

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return own(*args, **kwargs)

    monkeypatch.setattr(module_under_test, "_fused", counted)
    return calls


@torch.no_grad()
def test_each_module_is_proved_once_and_then_computed_by_products(fused: list[Any]) -> None:
    module, inputs = _Module(), _inputs(1, 2, 2, 2, 9, 8)
    first, second = (attention(module, *inputs, None, scaling=0.4)[0] for _ in range(2))
    assert len(fused) == 1
    assert torch.equal(first, second)
    torch.testing.assert_close(
        first, module_under_test._fused(module, *inputs, None, scaling=0.4)[0], atol=0.05, rtol=0.02
    )


@torch.no_grad()
def test_a_module_whose_own_attention_differs_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs = _Module(), _inputs(2, 2, 2, 2, 9, 8)
    other = torch.ones(2, 9, 4, 8, dtype=torch.bfloat16)
    monkeypatch.setattr(module_under_test, "_fused", lambda *args, **kwargs: (other, None))
    assert all(attention(module, *inputs, None)[0] is other for _ in range(2))


@torch.no_grad()
@pytest.mark.parametrize("what", ["fp32", "long", "decoding", "bias", "float mask", "mask of heads", "gradients"])
def test_what_products_do_not_compute_is_left_to_transformers(
    what: str, fused: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, (query, key, value) = _Module(), _inputs(3, 2, 2, 2, 6, 8)
    mask: Tensor | None = None
    others: dict[str, Any] = {}
    if what == "fp32":
        query, key, value = query.float(), key.float(), value.float()
    elif what == "long":
        monkeypatch.setattr(module_under_test, "_MAX_ROW_BYTES", 4 * 36 * 2 - 1)
    elif what == "decoding":
        query = query[:, :, :1]
    elif what == "bias":
        others["position_bias"] = torch.zeros(1, 4, 6, 6, dtype=torch.bfloat16)
    elif what == "float mask":
        mask = torch.zeros(2, 1, 6, 6, dtype=torch.bfloat16)
    elif what == "mask of heads":
        mask = torch.ones(2, 4, 6, 6, dtype=torch.bool)
    with torch.set_grad_enabled(what == "gradients"):
        for _ in range(2):
            attention(module, query, key, value, mask, **others)
    assert len(fused) == 2


def test_it_knows_transformers_names_of_arguments() -> None:
    """A keyword that transformers may pass and that is not known here reaches transformers' function."""
    with pytest.raises(ValueError, match="softcap"), torch.no_grad():
        attention(_Module(), *_inputs(4, 1, 2, 2, 4, 8), None, softcap=30.0)
