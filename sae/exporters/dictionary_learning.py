"""dictionary_learning: `trainer_0/ae.pt`, a state_dict of tensors alone, and `config.json`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae.exporters import ExportSource, NotExportable
from sae.exporters.conventions import (
    Tensors,
    active_latents,
    autoencoder_tensors,
    one_threshold,
    with_b_dec_at_input,
    with_unit_rows,
)
from sae.formats.sae_folder import Sae
from sae.importers.dictionary_learning import CLASSES

_TITLE = "dictionary_learning"
# Ours -> the class that computes the same.
_CLASS = {
    "standard": "AutoEncoder",
    "gated": "GatedAutoEncoder",
    "jumprelu": "JumpReluAutoEncoder",
    "topk": "AutoEncoderTopK",
    "hierarchicaltopk": "AutoEncoderTopK",
    "batchtopk": "BatchTopKSAE",
    "matryoshka": "MatryoshkaBatchTopKSAE",
}
_POINTS = {"hook_resid_post": "resid_post", "hook_attn_out": "attention_out", "hook_mlp_out": "mlp_out"}
_LAYER = re.compile(r"^blocks\.(\d+)\.(\w+)$")


def write(source: ExportSource, folder: Path) -> None:
    """See sae.exporters."""
    sae = source.sae
    if sae.architecture not in _CLASS:
        raise NotExportable(f"dictionary_learning has no class for {sae.architecture} SAEs: export it to saelens")
    name = _CLASS[sae.architecture]
    tensors = autoencoder_tensors(sae, _TITLE)
    if name == "AutoEncoder" and not sae.config.get("apply_b_dec_to_input", True):
        name = "AutoEncoderNew"
    tensors = with_b_dec_at_input(tensors, sae, CLASSES[name].applies_b_dec)
    if name == "AutoEncoder":
        tensors = with_unit_rows(tensors)  # its loader does the same
    state = {theirs: _written(theirs, tensors[ours]) for ours, theirs in CLASSES[name].names.items()}
    if name.endswith(("TopK", "TopKSAE")):
        state["k"] = torch.tensor(active_latents(sae), dtype=torch.int)
        threshold = -1.0 if name == "AutoEncoderTopK" else one_threshold(tensors, _TITLE)
        state["threshold"] = torch.tensor(threshold, dtype=torch.float32)
    if name == "MatryoshkaBatchTopKSAE":
        state["group_sizes"] = torch.tensor(_groups(sae), dtype=torch.int64)
    own = folder / "trainer_0"
    own.mkdir(parents=True)
    torch.save(state, own / "ae.pt")
    (own / "config.json").write_text(json.dumps(_config(source, name, state), indent=2, sort_keys=True) + "\n")


def _written(name: str, tensor: Tensor) -> Tensor:
    return (tensor.T if name in ("encoder.weight", "decoder.weight") else tensor).contiguous().clone()


def _groups(sae: Sae) -> list[int]:
    """Widths of the groups of latents: what was added to each nested prefix."""
    trained = (sae.training.get("config", {}).get("saes") or [{}])[0]
    widths = sae.metadata.get("raylens", {}).get("widths") or _widths(trained) or [sae.d_sae]
    return [int(b - a) for a, b in zip([0, *widths[:-1]], widths, strict=True)]


def _widths(trained: dict[str, Any]) -> list[int]:
    if trained.get("architecture") != "matryoshka":
        return []
    from configs.architectures import MatryoshkaConfig

    return list(MatryoshkaConfig.model_validate(trained).all_widths())


def _config(source: ExportSource, name: str, state: Tensors) -> dict[str, Any]:
    sae = source.sae
    d_sae, d = sae.W_dec.shape
    place = _LAYER.match(str(sae.metadata["hook_name"]))
    trainer: dict[str, Any] = {
        "activation_dim": d,
        "dict_class": name,
        "dict_size": d_sae,
        "layer": int(place[1]) if place else None,
        "lm_name": sae.metadata.get("model_name"),
        "submodule_name": f"{_POINTS[place[2]]}_layer_{place[1]}" if place and place[2] in _POINTS else source.module,
    }
    if "k" in state:
        trainer["k"] = int(state["k"])
    return {"trainer": trainer, "buffer": {"ctx_len": sae.metadata.get("context_size"), "d_submodule": d}}
