"""Kinds of models beside the plain decoder: what is refused, what is proved block by block, what cannot be skipped."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig

from sae.language_model import HookNotFound, LanguageModel, ModelError, Unembedding
from sae.language_model.model_summary import check_usable, hook_names
from sae.language_model.resumed_forward import ResumedForward, logits_of
from sae.language_model.tiny_config import tiny_config, tiny_model

D = 32


def config(model_type: str, layers: int = 4, **settings: Any) -> Any:
    small = tiny_config(AutoConfig.for_model(model_type), layers)
    return type(small)(**{**small.to_dict(), **settings}) if settings else small


@cache
def lfm2() -> LanguageModel:
    return LanguageModel(tiny_model(config("lfm2", layer_types=["conv", "full_attention"] * 2)))


def loaded(model_type: str, layers: int = 4, **settings: Any) -> LanguageModel:
    return LanguageModel(tiny_model(config(model_type, layers, **settings)))


def ids(rows: int = 2, length: int = 12) -> Tensor:
    return torch.randint(1, 60, (rows, length), generator=torch.Generator().manual_seed(3))


def at(lm: LanguageModel, *names: str) -> list[Tensor]:
    values = lm.run_to(ids(), [lm.hook(name) for name in names])
    return [values[lm.hook(name).name] for name in names]


def assert_resumes(lm: LanguageModel, name: str) -> None:
    hook = lm.hook(name)
    resumed = ResumedForward(lm, ids(3), hook)
    keep = torch.ones(2, 12, dtype=torch.bool)
    value = 1 - 0.5 * resumed.activations[:2]
    whole = lm.logits(ids(3)[:2], replace=(hook, lambda _: value))[keep]
    torch.testing.assert_close(logits_of(lm, resumed.final_states(value, keep)), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("bert", {}),
        ("roberta", {}),
        ("llama", {"is_causal": False}),
        ("gemma3_text", {"use_bidirectional_attention": True}),
    ],
)
def test_a_model_that_is_not_causal_is_refused(model_type: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="is not causal"):
        loaded(model_type, 2, **settings)
    with pytest.raises(ModelError, match="is not causal"):
        check_usable(config(model_type, 2, **settings))


def test_an_encoder_used_as_a_decoder_is_taken() -> None:
    lm = loaded("bert", 2, is_decoder=True)
    assert lm.hook_names() == [
        "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post",
    ]  # fmt: skip
    with pytest.raises(HookNotFound, match="does not simply add"):
        lm.hook("blocks.1.hook_mlp_out")


def test_blocks_that_run_more_than_once_are_refused() -> None:
    with pytest.raises(ModelError, match="more than once"):
        loaded("hrm_text")
    lm = loaded("llama", 2)
    model = lm._model
    model.model.layers.append(model.model.layers[0])
    model.model.config.num_hidden_layers = 3
    with pytest.raises(ModelError, match="more than once"):
        LanguageModel(model)


def test_each_block_is_proved_for_itself() -> None:
    """The last block of gpt_neox_japanese alone adds a bias after attention."""
    lm = loaded("gpt_neox_japanese")
    assert "blocks.2.hook_attn_out" in lm.hook_names()
    with pytest.raises(HookNotFound, match=r"does not simply add.*Blocks with this hook: 0 to 2$"):
        lm.hook("blocks.3.hook_attn_out")
    pre, attn, mid = at(lm, *(f"blocks.2.hook_{kind}" for kind in ("resid_pre", "attn_out", "resid_mid")))
    torch.testing.assert_close(pre + attn, mid)


def test_hybrid_blocks_have_the_hooks_that_they_have() -> None:
    lm = lfm2()
    assert "blocks.0.hook_attn_out" not in lm.hook_names()
    with pytest.raises(HookNotFound, match=r"not softmax attention.*'conv'\. Blocks with this hook: 1, 3$"):
        lm.hook("blocks.2.hook_attn_out")
    for layer in (0, 1):
        pre, mid, mlp, post = at(
            lm, *(f"blocks.{layer}.hook_{kind}" for kind in ("resid_pre", "resid_mid", "mlp_out", "resid_post"))
        )
        torch.testing.assert_close(mid + mlp, post)
        mixed = at(lm, "blocks.1.hook_attn_out" if layer else "model.layers.0.conv")[0]
        torch.testing.assert_close(pre + mixed, mid)
    # What a mixer of another kind adds to the stream has a logit lens, by its module path.
    assert isinstance(lm.unembedding(lm.hook("model.layers.0.conv")), Unembedding)


@pytest.mark.parametrize("model_type", ["opt", "llama4_text"])
def test_outputs_of_all_positions_in_one_are_read_by_row(model_type: str) -> None:
    lm = loaded(model_type, 2)
    mid, mlp, post = at(lm, *(f"blocks.1.hook_{kind}" for kind in ("resid_mid", "mlp_out", "resid_post")))
    assert mlp.shape == (2, 12, D)
    torch.testing.assert_close(mid + mlp, post)
    for kind in ("hook_mlp_out", "hook_resid_mid", "ln2.hook_normalized"):
        assert at(lm, f"blocks.1.{kind}")[0].shape == (2, 12, D)
        assert_resumes(lm, f"blocks.1.{kind}")


@pytest.mark.parametrize("model_type", ["bloom", "falcon", "granite", "mpt", "opt"])
def test_inner_hooks_of_blocks_that_are_written_otherwise(model_type: str) -> None:
    """Residual inside the modules (BLOOM, MPT), added in place (Falcon), scaled (Granite), two linear layers (OPT)."""
    settings = {"residual_multiplier": 0.22} if model_type == "granite" else {}
    lm = loaded(model_type, 2, **settings)
    pre, attn, mlp, post = at(lm, *(f"blocks.1.hook_{k}" for k in ("resid_pre", "attn_out", "mlp_out", "resid_post")))
    torch.testing.assert_close(pre + settings.get("residual_multiplier", 1.0) * (attn + mlp), post)


def test_values_that_a_model_changes_in_place_are_read_before() -> None:
    """Falcon adds attention's output to the tensor that its MLP returned."""
    lm = loaded("falcon", 2)
    alone = at(lm, "blocks.1.hook_mlp_out")[0]
    assert torch.equal(at(lm, "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post")[0], alone)


def test_streams_of_another_shape_have_no_named_hooks() -> None:
    lm = loaded("gemma3n_text", num_kv_shared_layers=1, layer_types=["full_attention"] * 4)
    assert lm.hook_names() == []
    with pytest.raises(HookNotFound, match=r"shape \[4, 3, 8, 32\]"):
        lm.hook("blocks.1.hook_resid_post")


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gemma4_text", {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2,
                         "per_layer_config": {}}),
        ("bamba", {}),
        ("rwkv", {}),
        ("mamba", {}),
        ("qwen3_next", {}),
        ("deepseek_v3", {}),
    ],
)  # fmt: skip
def test_passes_are_resumed_as_whole_passes_end(model_type: str, settings: dict[str, Any]) -> None:
    lm = loaded(model_type, **settings)
    for name in ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_post", "blocks.2.hook_resid_post"):
        assert_resumes(lm, name)


def test_a_norm_without_parameters_has_a_lens() -> None:
    lm = loaded("olmo", 2)
    found = lm.unembedding(lm.hook("blocks.1.hook_resid_post"))
    assert isinstance(found, Unembedding)
    assert found.centered
    assert "blocks.1.ln2.hook_normalized" in lm.hook_names()


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


def test_there_is_no_lens_where_it_has_no_meaning() -> None:
    lm = loaded("gpt2", 2)
    for name in ("transformer.ln_f", "blocks.1.ln2.hook_normalized", "transformer.h.1.mlp.c_fc"):
        assert "neither the residual stream nor added to it" in str(lm.unembedding(lm.hook(name)))
    for name in ("blocks.0.hook_resid_pre", "blocks.1.hook_attn_out", "blocks.0.hook_mlp_out"):
        assert isinstance(lm.unembedding(lm.hook(name)), Unembedding)
    lm._model.transformer.ln_f = Odd()
    assert "more than a norm" in str(lm.unembedding(lm.hook("blocks.1.hook_resid_post")))


def test_one_norm_for_attention_and_mlp_is_no_ln2() -> None:
    lm = loaded("phi", 2)
    with pytest.raises(HookNotFound, match="no norm is in front of the MLP alone"):
        lm.hook("blocks.0.ln2.hook_normalized")


def test_positions_that_are_kept_for_padding_are_not_offered() -> None:
    lm = loaded("roberta", 2, is_decoder=True)
    assert lm.context_length == 62
    lm.logits(ids(1, 62))


@pytest.mark.parametrize(
    ("model_type", "path"), [("gemma3", "model.language_model.layers"), ("modernbert-decoder", "model.layers")]
)
def test_hooks_are_known_without_the_weights(model_type: str, path: str) -> None:
    full = AutoConfig.for_model(model_type)
    names, why = hook_names(full)
    layers = full.get_text_config().num_hidden_layers
    assert why == ""
    assert len(names) == 5 * layers + 1
    assert names[-1] == f"blocks.{layers - 1}.hook_resid_post"


@pytest.mark.parametrize("model_type", ["bert", "vit", "hrm_text"])
def test_models_without_hooks_say_why(model_type: str) -> None:
    names, why = hook_names(AutoConfig.for_model(model_type))
    assert names == []
    assert 0 < len(why) < 500
