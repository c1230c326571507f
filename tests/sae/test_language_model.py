"""Hook points of every family against the model's own modules, stopping early, documents, replacement, unembedding."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from sae.language_model import HookNotFound, HookPoint, LanguageModel, ModelError, Unembedding
from sae.language_model.document_positions import document_positions
from tests.sae.families import CONTEXT, FAMILIES, LAYERS, VOCAB, D, build, tokens

SEQUENTIAL = [f for f in FAMILIES if f != "neox-parallel"]
every_family = pytest.mark.parametrize("family", list(FAMILIES))


@cache
def loaded(family: str) -> tuple[Any, LanguageModel]:
    model = build(family)
    return model, LanguageModel(model)


def at(lm: LanguageModel, *names: str, ids: Tensor | None = None, document: Tensor | None = None) -> list[Tensor]:
    hooks = [lm.hook(name) for name in names]
    values = lm.run_to(tokens() if ids is None else ids, hooks, document)
    return [values[hook.name] for hook in hooks]


def blocks_path(lm: LanguageModel) -> str:
    return lm._points.blocks


def unembedding(lm: LanguageModel, hook: str = "blocks.1.hook_resid_post") -> Unembedding:
    found = lm.unembedding(lm.hook(hook))
    assert isinstance(found, Unembedding)
    return found


def hooks_on(lm: LanguageModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm._model.modules())


def parts(block: Any) -> tuple[Any, Any, Any]:
    """(post-attention norm or None, pre-MLP norm, post-MLP norm or None), by the names that these families use."""
    if hasattr(block, "pre_feedforward_layernorm"):
        return block.post_attention_layernorm, block.pre_feedforward_layernorm, block.post_feedforward_layernorm
    return None, getattr(block, "ln_2", None) or block.post_attention_layernorm, None


@every_family
def test_residual_stream_is_what_transformers_calls_hidden_states(family: str) -> None:
    model, lm = loaded(family)
    states = model(tokens(), output_hidden_states=True, use_cache=False).hidden_states
    values = at(lm, *[f"blocks.{layer}.hook_resid_pre" for layer in range(LAYERS)])
    for value, state in zip(values, states, strict=False):
        assert torch.equal(value, state)
    # transformers' last hidden state has the final norm in it; the hook has not.
    last = at(lm, f"blocks.{LAYERS - 1}.hook_resid_post")[0]
    norm = next(m for n, m in lm._base.named_children() if n in ("norm", "ln_f", "final_layer_norm"))
    torch.testing.assert_close(norm(last), states[-1])


@every_family
@pytest.mark.parametrize("layer", range(LAYERS))
def test_hooks_inside_a_block(family: str, layer: int) -> None:
    _, lm = loaded(family)
    block = lm._blocks[layer]
    post_attention, ln2, post_mlp = parts(block)
    pre, attn, mlp, post, normalized = at(
        lm,
        *[
            f"blocks.{layer}.{suffix}"
            for suffix in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post", "ln2.hook_normalized")
        ],
    )
    torch.testing.assert_close(pre + attn + mlp, post)
    middle = pre if family == "neox-parallel" else pre + attn
    mlp_by_hand = block.mlp(ln2(middle))
    torch.testing.assert_close(mlp_by_hand if post_mlp is None else post_mlp(mlp_by_hand), mlp)
    if post_attention is not None:
        inner = at(lm, f"{blocks_path(lm)}.{layer}.self_attn")[0]
        torch.testing.assert_close(post_attention(inner), attn)
    # TransformerLens' hook_normalized: unit variance, before the weight and the bias.
    centred = middle - middle.mean(-1, keepdim=True) if isinstance(ln2, torch.nn.LayerNorm) else middle
    eps = getattr(ln2, "eps", None) or ln2.variance_epsilon
    torch.testing.assert_close(normalized, centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt())


@pytest.mark.parametrize("family", SEQUENTIAL)
def test_resid_mid(family: str) -> None:
    _, lm = loaded(family)
    names = [f"blocks.1.{suffix}" for suffix in ("hook_resid_pre", "hook_attn_out", "hook_resid_mid")]
    pre, attn, mid = at(lm, *names)
    torch.testing.assert_close(pre + attn, mid)


def test_parallel_residual_has_no_middle() -> None:
    _, lm = loaded("neox-parallel")
    with pytest.raises(HookNotFound, match="parallel residual"):
        lm.hook("blocks.1.hook_resid_mid")
    assert "blocks.1.hook_resid_mid" not in lm.hook_names()


@every_family
def test_stored_names(family: str) -> None:
    _, lm = loaded(family)
    block = f"{blocks_path(lm)}.1"
    assert lm.hook("blocks.2.hook_resid_pre") == lm.hook("blocks.1.hook_resid_post") == lm.hook(block)
    assert lm.hook(block) == HookPoint("blocks.1.hook_resid_post", block, "resid_post", 1, D)
    assert lm.hook("blocks.0.hook_resid_pre").name == "blocks.0.hook_resid_pre"
    for name in lm.hook_names():
        assert lm.hook(name).name == name
    # The MLP module is hook_mlp_out only where nothing is done to its output before it is added.
    mlp = lm.hook(f"{block}.mlp")
    assert mlp.name == (f"{block}.mlp" if family in ("gemma2", "gemma3") else "blocks.1.hook_mlp_out")
    assert mlp.module_path == f"{block}.mlp"


def test_module_path_has_its_own_width() -> None:
    _, lm = loaded("llama")
    hook = lm.hook("model.layers.1.mlp.up_proj")
    assert (hook.kind, hook.layer, hook.d) == ("module", 1, 56)
    assert at(lm, hook.name)[0].shape == (2, 24, 56)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("blocks.3.hook_resid_post", "blocks 0 to 2"),
        ("blocks.1.hook_z", "hook_resid_post"),
        ("model.layers.7", "model.layers.0"),
        ("lm_head", "hook_resid_post"),
        ("model.rotary_emb", "one tensor"),
        ("", "hook_resid_post"),
    ],
)
def test_unknown_hook_says_what_exists(name: str, says: str) -> None:
    _, lm = loaded("llama")
    with pytest.raises(HookNotFound, match=says) as error:
        lm.hook(name)
    assert repr(name) in str(error.value)
    assert "\n" not in str(error.value)


@every_family
@pytest.mark.parametrize("suffix", ["hook_resid_pre", "hook_attn_out", "ln2.hook_normalized", "hook_resid_post"])
def test_the_pass_stops_at_the_last_hook(family: str, suffix: str) -> None:
    model, lm = loaded(family)
    calls: list[int] = []
    handles = [b.register_forward_pre_hook(lambda *_, n=n: calls.append(n)) for n, b in enumerate(lm._blocks)]
    handles.append(model.get_output_embeddings().register_forward_hook(lambda *_: calls.append(99)))
    try:
        at(lm, "blocks.0.hook_resid_post", f"blocks.1.{suffix}")
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ([0] if suffix == "hook_resid_pre" else [0, 1])


def test_nothing_stays_on_the_model() -> None:
    lm = LanguageModel(build("llama"))
    before = hooks_on(lm)  # transformers leaves some of its own behind when it reports hidden states
    lm.run_to(tokens(), [lm.hook(n) for n in lm.hook_names()])
    lm.logits(tokens(), replace=(lm.hook("blocks.1.hook_resid_mid"), lambda x: x * 2))
    unembedding(lm)
    assert hooks_on(lm) == before


@every_family
def test_documents_are_read_alone(family: str) -> None:
    _, lm = loaded(family)
    lengths = (9, 1, 14)
    ids = tokens(2, sum(lengths))
    document = torch.repeat_interleave(torch.tensor([4, 5, 9]), torch.tensor(lengths)).expand(2, -1)
    name = f"blocks.{LAYERS - 1}.hook_resid_post"
    packed = at(lm, name, ids=ids, document=document)[0].split(lengths, dim=1)
    for value, alone in zip(packed, ids.split(lengths, dim=1), strict=True):
        torch.testing.assert_close(value, at(lm, name, ids=alone)[0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(packed[2], at(lm, name, ids=ids)[0][:, 10:], atol=1e-2)
    logits = lm.logits(ids, document)[:, 10:]
    torch.testing.assert_close(logits, lm.logits(ids[:, 10:]), rtol=1e-3, atol=1e-4)


def test_document_positions() -> None:
    document = torch.tensor(
        [[-1, 3, 3, 3, 4, 4, 5, -1, -1], [7, 7, 8, 8, 8, 8, 8, 8, 8], [-1, -1, 2, 2, 2, 2, 2, 2, 2]]
    )
    expected = [[0, 1, 2, 3, 0, 1, 0, 0, 1], [0, 1, 0, 1, 2, 3, 4, 5, 6], list(range(9))]
    assert document_positions(document).tolist() == expected


def test_a_model_that_ignores_documents_is_refused() -> None:
    lm = LanguageModel(build("llama"))
    forward = lm._base.forward
    lm._base.forward = lambda **kwargs: forward(**{k: v for k, v in kwargs.items() if k != "position_ids"})
    for _ in range(2):
        with pytest.raises(ModelError, match="cross documents"):
            at(lm, "blocks.0.hook_resid_post", document=torch.zeros(2, 24, dtype=torch.int64))


@every_family
def test_replacing_a_value_by_itself_changes_nothing(family: str) -> None:
    _, lm = loaded(family)
    plain = lm.logits(tokens())
    for name in [*lm.hook_names(), f"{blocks_path(lm)}.1.mlp"]:
        assert torch.equal(lm.logits(tokens(), replace=(lm.hook(name), torch.clone)), plain), name


@every_family
def test_a_replaced_value_reaches_what_follows(family: str) -> None:
    """Downstream of a replaced value everything is as computed by hand from the model's own modules."""
    _, lm = loaded(family)
    block = lm._blocks[1]
    _, ln2, post_mlp = parts(block)
    pre, attn, mlp, normalized = at(
        lm, *[f"blocks.1.{s}" for s in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "ln2.hook_normalized")]
    )
    parallel = family == "neox-parallel"

    def rest(middle: Tensor, mlp_in: Tensor) -> Tensor:
        made = block.mlp(mlp_in)
        return middle + (made if post_mlp is None else post_mlp(made))

    def after(suffix: str) -> Tensor:
        """What the next block is given when the value at `suffix` is replaced by 1 - 0.5 x."""
        seen: list[Tensor] = []
        handle = lm._blocks[2].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            lm.logits(tokens(), replace=(lm.hook(f"blocks.1.{suffix}"), change))
        finally:
            handle.remove()
        return seen[0]

    def change(x: Tensor) -> Tensor:
        return 1 - 0.5 * x

    middle = pre + attn
    stream = pre if parallel else middle
    torch.testing.assert_close(after("hook_mlp_out"), middle + change(mlp))
    torch.testing.assert_close(after("hook_resid_post"), change(middle + mlp))
    new_attn = pre + change(attn)
    torch.testing.assert_close(after("hook_attn_out"), new_attn + mlp if parallel else rest(new_attn, ln2(new_attn)))
    if not parallel:
        torch.testing.assert_close(after("hook_resid_mid"), rest(change(middle), ln2(change(middle))))
    # The norm's output for a standardised value n is n * gain + bias: read gain and bias off the norm itself.
    bias = getattr(ln2, "bias", None)
    gain = (ln2(stream) - (0 if bias is None else bias)) / normalized
    new_input = change(normalized) * gain + (0 if bias is None else bias)
    torch.testing.assert_close(after("ln2.hook_normalized"), rest(middle, new_input), rtol=1e-3, atol=1e-4)


@every_family
def test_replacing_the_embeddings(family: str) -> None:
    model, lm = loaded(family)
    other = tokens(seed=5)
    embedded = at(lm, "blocks.0.hook_resid_pre", ids=other)[0]
    swapped = lm.logits(tokens(), replace=(lm.hook("blocks.0.hook_resid_pre"), lambda _: embedded))
    torch.testing.assert_close(swapped, model(other, use_cache=False).logits)


def test_a_replacement_of_another_shape_is_refused() -> None:
    _, lm = loaded("llama")
    with pytest.raises(ValueError, match="shape"):
        lm.logits(tokens(), replace=(lm.hook("blocks.1.hook_resid_post"), lambda x: x[..., :3]))


@every_family
def test_unembedding_is_the_direct_path_to_the_logits(family: str) -> None:
    model, lm = loaded(family)
    last = at(lm, f"blocks.{LAYERS - 1}.hook_resid_post")[0]
    W_U, centered = unembedding(lm)
    assert W_U.shape == (D, VOCAB)
    assert centered == (not family.startswith(("llama", "gemma")))
    norm = next(m for n, m in lm._base.named_children() if n in ("norm", "ln_f", "final_layer_norm"))
    x = last - last.mean(-1, keepdim=True) if centered else last
    scale = (x.pow(2).mean(-1, keepdim=True) + (getattr(norm, "eps", None) or norm.variance_epsilon)).sqrt()
    logits = (x @ W_U) / scale
    if getattr(norm, "bias", None) is not None:
        logits = logits + norm.bias @ model.get_output_embeddings().weight.T
    cap = getattr(model.config, "final_logit_softcapping", None)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    torch.testing.assert_close(logits, lm.logits(tokens()), rtol=1e-3, atol=1e-4)


@every_family
def test_matmul_flops(family: str) -> None:
    _, lm = loaded(family)
    d, ff, layers = D, 4 * D if family == "gpt2" else 56, 2
    if family in ("gpt2", "neox-parallel", "neox-sequential"):
        attention, mlp = 4 * d * d, 2 * d * ff
    else:
        attention, mlp = 2 * d * d + 2 * d * d // 2, 3 * d * ff
    expected = layers * (2 * (attention + mlp) + 2 * 2 * d * (16 + 1) / 2)
    assert lm.matmul_flops([lm.hook("blocks.1.hook_resid_post")], 16) == expected
    assert lm.matmul_flops([lm.hook("blocks.0.hook_resid_pre")], 16) == 0


def test_values_may_be_used_in_training() -> None:
    _, lm = loaded("llama")
    x = at(lm, "blocks.1.hook_resid_post")[0]
    weight = torch.zeros(D, 3, requires_grad=True)
    (x @ weight).sum().backward()
    assert weight.grad is not None
    assert not x.requires_grad


def test_input_that_the_model_cannot_take() -> None:
    _, lm = loaded("gpt2")
    hook = [lm.hook("blocks.0.hook_resid_post")]
    with pytest.raises(ModelError, match=f"context_length {CONTEXT + 1} is longer than the model's {CONTEXT}"):
        lm.run_to(tokens(1, CONTEXT + 1), hook)
    with pytest.raises(ModelError, match="vocabulary of 61"):
        lm.logits(torch.tensor([[3, VOCAB]]))
    with pytest.raises(ModelError, match="not empty"):
        lm.run_to(torch.zeros(0, 4, dtype=torch.int64), hook)
    with pytest.raises(ModelError, match="document"):
        lm.run_to(tokens(), hook, tokens(1))
    with pytest.raises(ValueError, match="at least one"):
        lm.run_to(tokens(), [])


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("family", ["llama", "neox-sequential", "neox-parallel", "gemma3"])
def test_half_precision_finds_the_same_hooks(family: str, dtype: str) -> None:
    from sae.language_model.model import DTYPES

    full = loaded(family)[1]
    half = LanguageModel(build(family).to(DTYPES[dtype]))
    assert half.hook_names() == full.hook_names()
    assert unembedding(half).centered == unembedding(full).centered
    for name in ("blocks.1.hook_mlp_out", "blocks.1.ln2.hook_normalized"):
        value, exact = at(half, name)[0], at(full, name)[0]
        assert value.dtype == DTYPES[dtype]
        assert float((value.float() - exact).norm() / exact.norm()) < 0.05
