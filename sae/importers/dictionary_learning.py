"""dictionary_learning: `config.json` and `ae.pt`, a state_dict, which is read with weights_only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sae.architectures import Export
from sae.architectures.shallow_base import fold
from sae.importers import ForeignSae, ImportOptions
from sae.importers.tensors import SaeFormatError, Shape, checked, read_json, read_torch, whole_number, width_of
from sae.quoting import quoted

Tensors = dict[str, Tensor]
_POINT = re.compile(r"^(resid_post|attention_out|attn_out|mlp_out)_layer_(\d+)$")
_HOOKS = {"resid_post": "hook_resid_post", "attention_out": "hook_attn_out", "attn_out": "hook_attn_out",
          "mlp_out": "hook_mlp_out"}  # fmt: skip


class _Class(NamedTuple):
    """One class of the library: our architecture, its tensors by name (F latents, D dimensions), and what SAELens calls these."""

    architecture: str
    shapes: Callable[[int, int], dict[str, Shape]]
    names: dict[str, str]  # SAELens' name -> the library's
    applies_b_dec: bool = True


def _linear(*biases: str, decoder_bias: str, counters: bool = False) -> Callable[[int, int], dict[str, Shape]]:
    def shapes(F: int, D: int) -> dict[str, Shape]:
        found: dict[str, Shape] = {"encoder.weight": (F, D), "decoder.weight": (D, F), decoder_bias: (D,)}
        found |= {name: (F,) for name in biases}
        return found | ({"k": (), "threshold": ()} if counters else {})

    return shapes


def _plain(F: int, D: int) -> dict[str, Shape]:
    return {"W_enc": (D, F), "b_enc": (F,), "W_dec": (F, D), "b_dec": (D,)}


_MATRICES = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
_TOPK = _linear("encoder.bias", decoder_bias="b_dec", counters=True)
_SHALLOW = {**_MATRICES, "b_enc": "encoder.bias", "b_dec": "b_dec"}
_SAME = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
CLASSES: dict[str, _Class] = {
    "AutoEncoder": _Class(
        "standard", _linear("encoder.bias", decoder_bias="bias"), {**_MATRICES, "b_enc": "encoder.bias", "b_dec": "bias"}
    ),
    "AutoEncoderNew": _Class(
        "standard",
        _linear("encoder.bias", decoder_bias="decoder.bias"),
        {**_MATRICES, "b_enc": "encoder.bias", "b_dec": "decoder.bias"},
        applies_b_dec=False,
    ),
    "GatedAutoEncoder": _Class(
        "gated",
        _linear("r_mag", "gate_bias", "mag_bias", decoder_bias="decoder_bias"),
        {**_MATRICES, "r_mag": "r_mag", "b_gate": "gate_bias", "b_mag": "mag_bias", "b_dec": "decoder_bias"},
    ),
    "AutoEncoderTopK": _Class("topk", _TOPK, _SHALLOW),
    "BatchTopKSAE": _Class("batchtopk", _TOPK, _SHALLOW),
    "MatryoshkaBatchTopKSAE": _Class(
        "matryoshka", lambda F, D: {**_plain(F, D), "k": (), "threshold": ()}, _SAME
    ),
    "JumpReluAutoEncoder": _Class(
        "jumprelu", lambda F, D: {**_plain(F, D), "threshold": (F,)}, {**_SAME, "threshold": "threshold"}, applies_b_dec=False
    ),
}  # fmt: skip


def read(files: Mapping[str, Path], where: str, options: ImportOptions) -> ForeignSae:
    """See sae.importers."""
    path, weights = files["config.json"], files["ae.pt"]
    trainer = read_json(path).get("trainer")
    if not isinstance(trainer, dict) or trainer.get("dict_class") not in CLASSES:
        found = trainer.get("dict_class") if isinstance(trainer, dict) else None
        raise SaeFormatError(
            f"config.json has the trainer.dict_class {quoted(found)}; RayLens reads {', '.join(CLASSES)}"
        )
    kind = CLASSES[trainer["dict_class"]]
    tensors = read_torch(weights)
    raylens: dict[str, Any] = {}
    if (groups := tensors.pop("group_sizes", None)) is not None and kind.architecture == "matryoshka":
        raylens["widths"] = groups.cumsum(0).tolist()
    found, exported = _tensors(kind, tensors, weights)
    k = _k(trainer, found, path) if "k" in found else None
    config: dict[str, Any] = {"architecture": kind.architecture, "apply_b_dec_to_input": kind.applies_b_dec}
    if kind.architecture == "topk":
        config |= {"k": k, "rescale_acts_by_decoder_norm": False}
    elif "k" in found:  # a threshold at inference, as SAELens has it
        exported["threshold"] = found["threshold"].expand(len(exported["W_dec"])).contiguous()
        config["architecture"] = "jumprelu"
    if k is not None:
        raylens["target_l0"] = k
    metadata = {"model_name": str(trainer.get("lm_name") or ""), "raylens": raylens}
    return ForeignSae(kind.architecture, Export(exported, config), _hooks(trainer), metadata)


def _tensors(kind: _Class, tensors: Tensors, path: Path) -> tuple[Tensors, Tensors]:
    """The tensors as the file has them, and under SAELens' names."""
    a, b = width_of(tensors, kind.names["W_enc"], path)
    linear = kind.names["W_enc"] == "encoder.weight"
    found = checked(tensors, kind.shapes(*((a, b) if linear else (b, a))), path)
    exported = {ours: found[theirs] for ours, theirs in kind.names.items()}
    if linear:
        exported |= {name: exported[name].T.contiguous() for name in ("W_enc", "W_dec")}
    norms = exported["W_dec"].norm(dim=1)
    if kind.architecture == "standard" and kind.applies_b_dec and not torch.allclose(norms, torch.ones_like(norms)):
        exported = fold(exported, 1.0)  # as its own loader does, so that latents have the values that it gives them
    return found, exported


def _k(trainer: dict[str, Any], found: Tensors, path: Path) -> int:
    k = whole_number(int(found["k"]), "k", path)
    if trainer.get("k", k) != k:
        raise SaeFormatError(f"config.json says k = {trainer['k']!r}, but the weights have {k}")
    return k


def _hooks(trainer: dict[str, Any]) -> tuple[str, ...]:
    match = _POINT.match(str(trainer.get("submodule_name")))
    return (f"blocks.{match[2]}.{_HOOKS[match[1]]}",) if match else ()
