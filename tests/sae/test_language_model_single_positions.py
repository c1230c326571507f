"""A change at one position gives what a pass over the whole row with that change gives, in models of many kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from sae.language_model import LanguageModel
from sae.language_model.resumed_forward import logits_of
from sae.language_model.single_positions import SinglePositions

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 90}
LENGTH = 12


def _model(name: str, gpt2: Path) -> LanguageModel:
    torch.manual_seed(0)
    if name == "gpt2":
        return LanguageModel.load(gpt2)
    if name == "llama":
        return LanguageModel(LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)))
    if name == "gemma2":  # windows shorter than the rows, which a mask of one's own replaces
        return LanguageModel(
            Gemma2ForCausalLM(Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=4))
        )
    if name == "bloom":  # attention that counts positions by index
        return LanguageModel(BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=3, n_head=4, vocab_size=90)))
    config = MambaConfig(hidden_size=32, num_hidden_layers=3, vocab_size=90, state_size=4)
    return LanguageModel(MambaForCausalLM(config))


@pytest.mark.parametrize(
    ("name", "appends"), [("gpt2", True), ("llama", True), ("gemma2", False), ("bloom", False), ("mamba", False)]
)
def test_equals_whole_passes(name: str, appends: bool, tiny_gpt2: Path) -> None:
    lm = _model(name, tiny_gpt2)
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 90, (3, LENGTH), generator=random)
    row, position = torch.randint(0, 3, (40,), generator=random), torch.randint(0, LENGTH, (40,), generator=random)
    hook = lm.hook("blocks.1.hook_resid_post")
    passed = SinglePositions(lm, ids, hook)
    assert passed._appends() == appends
    value = passed.activations[row, position] + torch.randn((40, lm.d_model), generator=random)
    made = passed.final_states(row, position, value)
    torch.testing.assert_close(made, passed._by_rows(row, position, value), rtol=1e-4, atol=1e-5)
    whole = lm.logits(ids[:1], replace=(hook, lambda x: torch.where(_at(3), value[0], x)))[0, 3]
    one = passed.final_states(torch.tensor([0]), torch.tensor([3]), value[:1])
    torch.testing.assert_close(logits_of(lm, one)[0], whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.2.hook_resid_post"])
def test_at_other_hooks_and_inside_documents(hook: str, tiny_gpt2: Path) -> None:
    lm = _model("llama", tiny_gpt2)
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 90, (2, LENGTH), generator=random)
    document = (torch.arange(LENGTH) // 5).repeat(2, 1)
    passed = SinglePositions(lm, ids, lm.hook(hook), document)
    row, position = torch.tensor([1, 0, 1, 1]), torch.tensor([5, 11, 5, 0])
    value = passed.activations[row, position] * torch.tensor([1.0, 0.5, 2.0, -1.0])[:, None]
    assert passed._appends()
    made = passed.final_states(row, position, value)
    torch.testing.assert_close(made, passed._by_rows(row, position, value), rtol=1e-4, atol=1e-5)


def _at(position: int) -> torch.Tensor:
    return (torch.arange(LENGTH) == position)[None, :, None]
