"""A resumed forward pass gives, bit for bit, what the whole pass gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from sae.language_model import LanguageModel
from sae.language_model.resumed_forward import ResumedForward, logits_of

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 90}


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2", "neox"])
def lm(request: pytest.FixtureRequest, tiny_gpt2: Path) -> LanguageModel:
    torch.manual_seed(0)
    if request.param == "gpt2":
        return LanguageModel.load(tiny_gpt2)
    if request.param == "llama":
        return LanguageModel(LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)))
    if request.param == "gemma2":
        # Soft caps on the logits, and layers with sliding windows.
        config = Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=8, final_logit_softcapping=5.0)
        return LanguageModel(Gemma2ForCausalLM(config))
    return LanguageModel(GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)))


HOOKS = [
    "blocks.0.hook_resid_pre",
    "blocks.0.hook_resid_post",
    "blocks.1.hook_resid_post",
    "blocks.2.hook_resid_post",
    "blocks.1.hook_resid_mid",
    "blocks.1.hook_attn_out",
    "blocks.0.hook_mlp_out",
    "blocks.2.ln2.hook_normalized",
]


@pytest.mark.parametrize("name", HOOKS)
def test_equals_whole_passes(lm: LanguageModel, name: str) -> None:
    if name not in lm.hook_names():
        pytest.skip("this model has no such hook")
    hook = lm.hook(name)
    ids = torch.randint(0, 90, (3, 12), generator=torch.Generator().manual_seed(1))
    keep = torch.rand(3, 12, generator=torch.Generator().manual_seed(2)) < 0.6
    resumed = ResumedForward(lm, ids, hook)
    assert torch.equal(resumed.activations, lm.run_to(ids, [hook])[hook.name])
    before = resumed.activations.clone()
    changed = torch.randn_like(before)
    for value in (before, changed, torch.zeros_like(before), changed):
        states = resumed.final_states(value, keep)
        whole = lm.logits(ids, replace=(hook, lambda _, v=value: v))[keep]  # type: ignore[misc]
        torch.testing.assert_close(logits_of(lm, states), whole, rtol=1e-5, atol=1e-5)
    clean = lm.logits(ids)[keep]
    torch.testing.assert_close(logits_of(lm, resumed.final_states(before, keep)), clean, rtol=1e-5, atol=1e-5)
    assert torch.equal(resumed.activations, before)


def test_first_rows_only(lm: LanguageModel) -> None:
    hook = lm.hook("blocks.1.hook_resid_post")
    ids = torch.randint(0, 90, (4, 10), generator=torch.Generator().manual_seed(1))
    keep = torch.ones(2, 10, dtype=torch.bool)
    resumed = ResumedForward(lm, ids, hook)
    found = logits_of(lm, resumed.final_states(resumed.activations[:2], keep)).view(2, 10, -1)
    torch.testing.assert_close(found, lm.logits(ids[:2]), rtol=1e-5, atol=1e-5)


def test_documents(lm: LanguageModel) -> None:
    hook = lm.hook("blocks.0.hook_resid_post")
    ids = torch.randint(0, 90, (2, 12), generator=torch.Generator().manual_seed(1))
    document = torch.tensor([[0] * 5 + [1] * 7, [2] * 12])
    keep = torch.ones(2, 12, dtype=torch.bool)
    resumed = ResumedForward(lm, ids, hook, document)
    found = logits_of(lm, resumed.final_states(resumed.activations, keep)).view(2, 12, -1)
    torch.testing.assert_close(found, lm.logits(ids, document), rtol=1e-5, atol=1e-5)


def test_the_model_is_left_as_it_was(lm: LanguageModel) -> None:
    ids = torch.randint(0, 90, (2, 8), generator=torch.Generator().manual_seed(1))
    before = lm.logits(ids)
    resumed = ResumedForward(lm, ids, lm.hook("blocks.1.hook_attn_out"))
    with pytest.raises(ValueError, match="shape"):
        resumed.final_states(torch.zeros(2, 8, 3), torch.ones(2, 8, dtype=torch.bool))
    resumed.final_states(torch.zeros_like(resumed.activations), torch.ones(2, 8, dtype=torch.bool))
    assert torch.equal(lm.logits(ids), before)
