"""Tiny random language models of the families that RayLens must find hook points on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

VOCAB, D, LAYERS, CONTEXT = 61, 32, 3, 48
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": D,
    "intermediate_size": 56,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2, "head_dim": 8}
_GEMMA: dict[str, Any] = {**_GROUPED, "sliding_window": 6, "query_pre_attn_scalar": 8}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_GROUPED)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCAB, n_positions=CONTEXT, n_embd=D, n_layer=LAYERS, n_head=4)
    ),
    "neox-parallel": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, use_parallel_residual=True)),
    "neox-sequential": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, use_parallel_residual=False)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_GROUPED)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_GEMMA)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**_GEMMA, layer_types=["sliding_attention"] * 2 + ["full_attention"])
    ),
}


def build(family: str) -> Any:
    """A random model with weights large enough, and norms uneven enough, that a mistake shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = FAMILIES[family]().eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
                elif "embed" not in name and "wte" not in name and "wpe" not in name:
                    parameter.mul_(6)
    return model


def tokens(rows: int = 2, length: int = 24, seed: int = 0) -> torch.Tensor:
    """Random token ids, int64 [rows, length]."""
    return torch.randint(1, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))
