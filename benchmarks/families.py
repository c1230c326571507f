"""Which families of causal language models work: every one that the installed transformers maps to a causal class.

python -m benchmarks.families [FAMILY ...]     writes benchmarks/results/families.md (all families) or prints some

For each family a tiny model with random weights is made from the default config, and tried:
hooks        which named hook points it has, in how many of its blocks
hidden       the residual stream is what the model itself reports as its hidden states (or splicing alone proves it)
causal       values do not depend on later tokens; padding behind a row changes nothing in the row
replacement  a value put at a hook by itself changes nothing in the logits; another value is what the next block reads
evaluation   passes resumed at the middle block end in the logits of whole passes
A family is right if it has residual hooks and all of these hold; or it is refused with a reason.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sae.language_model import HookPoint, LanguageModel, ModelError
from sae.language_model.decoder_blocks import matches_hidden_states, probe
from sae.language_model.hooks import SUFFIXES, parse
from sae.language_model.loading import quiet, reason
from sae.language_model.norms import close
from sae.language_model.resumed_forward import ResumedForward, logits_of
from sae.language_model.tiny_config import HEAD_DIM, HEADS, HIDDEN, VOCAB, tiny_config, tiny_model

RESULT = Path(__file__).parent / "results" / "families.md"
LAYERS = 4
_MIXED = ["linear_attention", "full_attention"] * 2
# What a family's default config leaves out, or sets so that four layers are not enough to show it.
_SETTINGS: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2, "topk_group": 1, "n_group": 1},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "gemma3n_text": {"num_kv_shared_layers": 1, "layer_types": ["full_attention"] * 4},
    "gemma4_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2,
                    "per_layer_config": {}},
    "hunyuan_v1_dense": {"head_dim": HEAD_DIM},
    "hunyuan_v1_moe": {"head_dim": HEAD_DIM},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "ministral": {"head_dim": HEAD_DIM},
    "nemotron": {"head_dim": HEAD_DIM, "num_key_value_heads": 2},
    "qwen3_next": {"layer_types": _MIXED},
    "qwen3_5_text": {"layer_types": _MIXED},
    "qwen3_5_moe_text": {"layer_types": _MIXED},
    "qwen4_exp_text": {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": HEAD_DIM,
                       "linear_value_head_dim": HEAD_DIM, "indexer_n_heads": 4, "indexer_kv_heads": 1,
                       "indexer_head_dim": HEAD_DIM, "indexer_budget": 64, "indexer_compress_ratio": 4},
    "recurrent_gemma": {"num_hidden_layers": 4, "block_types": ["recurrent", "recurrent", "attention"]},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "lsh"] * 2, "axial_pos_shape": [4, 2],
                 "axial_pos_embds_dim": [16, 16], "axial_norm_std": 1.0, "max_position_embeddings": 8},
    "bamba": {"attn_layer_indices": [1, 3]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "hybrid_layer_ids": [1, 3]},
}  # fmt: skip


class Row(NamedTuple):
    """A family's line of the table; every cell is text."""

    family: str
    state: str  # proved, refused, no named hooks, WRONG, not tried
    hooks: str = ""
    hidden: str = ""
    causal: str = ""
    replacement: str = ""
    evaluation: str = ""
    note: str = ""


def main(families: list[str]) -> int:
    """Tries all families, or those given. Returns 1 if one is wrong."""
    torch.set_num_threads(1)
    start = time.monotonic()
    configs = _configs()
    rows = [try_family(name, configs[name]) for name in families or sorted(configs)]
    if families:
        print(_table(rows))
    else:
        RESULT.write_text(_page(rows, time.monotonic() - start), encoding="utf-8")
        print(_counts(rows))
    return int(any(row.state == "WRONG" for row in rows))


def _configs() -> dict[str, Any]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return {config_class.model_type: config_class for config_class in MODEL_FOR_CAUSAL_LM_MAPPING}


def make(config_class: Any) -> Any:
    """A tiny model of a family. Raises whatever transformers raises."""
    settings = _SETTINGS.get(config_class.model_type, {})
    with quiet():
        try:
            config = tiny_config(config_class(), LAYERS)
        except (AttributeError, ValueError):  # the defaults alone are no model
            config = tiny_config(config_class(**settings), LAYERS)
        values = {**config.to_dict(), **settings}
        return tiny_model(config_class(**values) if settings else config)


def try_family(name: str, config_class: Any) -> Row:
    """Makes and tries one family."""
    try:
        model = make(config_class)
    except Exception as error:  # noqa: BLE001 (no fault of RayLens: the default config cannot be made small)
        return Row(name, "not tried", note=f"no tiny model: {reason(error)}")
    try:
        lm = LanguageModel(model)
        if not lm.hook_names():
            return Row(name, "no named hooks", causal="yes", note=lm.why_no_hooks())
        return _tried(name, lm)
    except ModelError as error:
        return Row(name, "refused", note=str(error))
    except Exception as error:  # noqa: BLE001 (what must not happen is what this table is for)
        return Row(name, "WRONG", note=f"{type(error).__name__}: {reason(error)}")


def _tried(name: str, lm: LanguageModel) -> Row:
    hidden = matches_hidden_states(probe(lm._base, lm.vocab_size, lm.device))
    causal, replaced, resumed = _is_causal(lm), _replaces(lm), _resumes(lm)
    right = hidden is not False and causal and not replaced and resumed
    missing = sorted({lm.why_no_hook(layer, kind) for layer in range(lm.n_layers) for kind in SUFFIXES.values()} - {""})
    return Row(
        name,
        "proved" if right else "WRONG",
        _hooks(lm),
        {True: "equal", None: "none reported", False: "DIFFERENT"}[hidden],
        "yes" if causal else "NO",
        replaced or "exact",
        "equal" if resumed else "DIFFERENT",
        "; ".join(missing),
    )


def _hooks(lm: LanguageModel) -> str:
    kinds = [parsed[1] for name in lm.hook_names() if (parsed := parse(name))]
    counts = {kind: kinds.count(kind) for kind in ("resid_post", "attn_out", "resid_mid", "ln2_normalized", "mlp_out")}
    return ", ".join(kind if n == lm.n_layers else f"{kind} ({n} of {lm.n_layers})" for kind, n in counts.items() if n)


def _ids(rows: int, length: int) -> Tensor:
    return torch.randint(1, VOCAB - 2, (rows, length), generator=torch.Generator().manual_seed(1))


def _is_causal(lm: LanguageModel) -> bool:
    """Row values with another last token, and with padding behind, are the row's own."""
    hooks = [lm.hook(name) for name in lm.hook_names() if name.endswith("hook_resid_post")]
    ids, pad = _ids(2, 12), torch.zeros(2, 4, dtype=torch.int64)
    other = ids.clone()
    other[:, -1] = 5
    plain = lm.run_to(ids, hooks)
    changed, padded = lm.run_to(other, hooks), lm.run_to(torch.cat([ids, pad], 1), hooks)
    return all(
        close(changed[h.name][:, :-1], plain[h.name][:, :-1]) and close(padded[h.name][:, :12], plain[h.name])
        for h in hooks
    )


def _replaces(lm: LanguageModel) -> str:
    """Hooks at which a value put by itself changes the logits, or another value changes nothing; empty if none."""
    ids = _ids(2, 12)
    plain = lm.logits(ids)
    bad: list[str] = []
    for name in lm.hook_names():
        hook = lm.hook(name)
        shape = lm.run_to(ids, [hook])[hook.name].shape
        same = lm.logits(ids, replace=(hook, torch.clone))
        other = lm.logits(ids, replace=(hook, lambda x: x * torch.linspace(0.2, 2, x.shape[-1])))
        if shape != (*ids.shape, hook.d) or not close(same, plain) or close(other, plain):
            bad.append(name)
    return ", ".join(bad)


def _resumes(lm: LanguageModel) -> bool:
    """Passes resumed at each hook of the middle block end as whole passes with the same value there."""
    ids = _ids(3, 12)
    keep = torch.ones(2, 12, dtype=torch.bool)
    for name in (n for n in lm.hook_names() if n.startswith(f"blocks.{lm.n_layers // 2}.")):
        hook: HookPoint = lm.hook(name)
        resumed = ResumedForward(lm, ids, hook)
        value = resumed.activations[:2] * 0.5 + 0.1
        whole = lm.logits(ids[:2], replace=(hook, lambda _, value=value: value))[keep]  # type: ignore[misc]
        if not close(logits_of(lm, resumed.final_states(value, keep)), whole):
            return False
    return True


def _counts(rows: list[Row]) -> str:
    states = [row.state for row in rows]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(("proved", *sorted(states)))]
    return f"{len(rows)} families: {', '.join(parts)}"


def _page(rows: list[Row], seconds: float) -> str:
    order = {"WRONG": 0, "proved": 1, "no named hooks": 2, "refused": 3, "not tried": 4}
    rows = sorted(rows, key=lambda row: (order[row.state], row.family))
    return "\n".join(
        [
            "# Families of causal language models",
            "",
            f"Made by `python -m benchmarks.families` with transformers {importlib.metadata.version('transformers')} and "
            f"torch {torch.__version__}, in {seconds:.0f} s on one thread: tiny models of each family's default config "
            f"({LAYERS} layers, width {HIDDEN}, {HEADS} heads, {VOCAB} tokens, random weights).",
            "",
            f"{_counts(rows)}.",
            "",
            (__doc__ or "").partition("tried:\n")[2].replace("\n", "  \n"),
            _table(rows),
            "",
        ]
    )


def _table(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(Row._fields) + " |", "|" + "---|" * len(Row._fields)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
