"""A model's config with small widths: the same code and the same wiring of blocks, in a model of a few kilobytes.

It shows what a model of this config does (hook points, causality) without its weights.
"""

from __future__ import annotations

from typing import Any

import torch

from sae.language_model.loading import quiet

HIDDEN, HEADS, HEAD_DIM, VOCAB, EXPERTS, CHOSEN = 32, 4, 8, 64, 4, 2

_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embedding_dim", "emb_dim", "embedding_size", "word_embed_proj_dim",
         "lru_width", "attention_hidden_size", "linear_hidden_size", "input_embedding_size", "output_embedding_size"),
        HIDDEN,
    ),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "d_inner", "dff", "dim_ff", "ffn_hidden_size", "n_inner", "encoder_ffn_dim",
         "decoder_ffn_dim", "feed_forward_size", "intermediate_size_mlp", "shared_intermediate_size", "ffn_size",
         "dense_intermediate_size", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"),
        48,
    ),
    **dict.fromkeys(
        ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size", "mamba_intermediate_size",
         "shared_experts_intermediate_size"),
        24,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "encoder_attention_heads",
         "decoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads", "index_n_heads",
         "swa_num_attention_heads", "linear_num_heads", "num_mem_heads"),
        HEADS,
    ),
    **dict.fromkeys(
        ("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "num_global_key_value_heads",
         "linear_num_key_heads", "num_query_groups"),
        2,
    ),
    "linear_num_value_heads": 4,
    **dict.fromkeys(
        ("head_dim", "global_head_dim", "swa_head_dim", "attention_head_dim", "d_head", "dim_head", "kv_channels",
         "attention_head_size", "index_head_dim", "linear_key_head_dim", "linear_value_head_dim", "linear_head_dim",
         "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim", "hidden_size_per_layer_input", "d_rel",
         "q_lora_rank", "kv_lora_rank", "o_lora_rank", "gated_norm_rank", "laurel_rank", "adapter_rank",
         "hc_lowrank", "router_hidden_size", "swa_v_head_dim"),
        HEAD_DIM,
    ),
    "qk_head_dim": 2 * HEAD_DIM,
    **dict.fromkeys(
        ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", "zero_expert_num"), EXPERTS
    ),
    **dict.fromkeys(
        ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "moe_top_k"), CHOSEN
    ),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "o_groups", "n_groups", "mamba_n_groups",
                     "mamba_ngroups"), 1),
    # State-space blocks: heads x head width = expand x hidden.
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads_"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 8),
    "mamba_d_ssm": 64,
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size"), 8),
    **dict.fromkeys(("mamba_dt_rank", "time_step_rank"), 4),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 4),
    **dict.fromkeys(("index_topk", "index_topk_blocks"), 64),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size", "unpadded_vocab_size"), VOCAB),
    "max_position_embeddings": 64,
}  # fmt: skip

DEPTHS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks", "encoder_layers", "decoder_layers",
    "num_encoder_layers", "num_decoder_layers", "num_layers_per_stack",
)  # fmt: skip


def tiny_config(config: Any, layers: int | None = None) -> Any:
    """A transformers config like `config` with small widths and few experts; with `layers`, of at most that depth.

    Lists with an entry for each layer are cut to the depth. The result may still be one that its class refuses (then
    the class's own error is raised) or that no model can be built from.
    """
    values = config.to_dict()
    values.pop("quantization_config", None)
    _shrink(values, layers)
    return type(config)(**values)


def tiny_model(config: Any) -> Any:
    """The causal language model of a config with random weights, the same each time, fp32 on the CPU.

    Matrices are large enough and norms uneven enough that each part of a block shows in its output. Raises whatever
    transformers raises.
    """
    from transformers import AutoModelForCausalLM

    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).float().eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif parameter.std() < 0.1:
                parameter.mul_(6)
    return model


def _shrink(values: dict[str, Any], layers: int | None) -> None:
    depth = next((values[name] for name in DEPTHS if isinstance(values.get(name), int)), None)
    for name, value in list(values.items()):
        if name == "per_layer_config" and isinstance(value, dict):
            values[name] = _first_layers(value, layers)
        elif isinstance(value, dict) and name.endswith("config"):
            _shrink(value, layers)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
            if name in _SIZES:
                values[name] = min(value, _SIZES[name]) if name != "vocab_size" else VOCAB
            elif name in DEPTHS and layers is not None:
                values[name] = min(value, layers)
            elif name.endswith("token_id") and value >= VOCAB:
                values[name] = VOCAB - 1
        elif isinstance(value, list) and layers is not None and depth is not None and len(value) == depth:
            values[name] = value[:layers]
    if values.get("kv_lora_rank"):  # low-rank attention has keys and values for every head
        values["num_key_value_heads"] = values.get("num_attention_heads")
    if values.get("attention_hidden_size") and "attention_head_dim" in values:  # attention over stream and embeddings
        values["attention_hidden_size"], values["attention_head_dim"] = 2 * HIDDEN, 2 * HIDDEN // HEADS
    if "expand" in values and "num_heads" in values:
        values["num_heads"] = values["expand"] * HIDDEN // HEAD_DIM


def _first_layers(per_layer: dict[Any, Any], layers: int | None) -> dict[Any, Any]:
    kept = {layer: dict(value) for layer, value in per_layer.items() if layers is None or int(layer) < layers}
    for value in kept.values():
        _shrink(value, None)
    return kept
