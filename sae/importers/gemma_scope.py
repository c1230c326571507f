"""Gemma Scope: `layer_N/width_W/average_l0_K/params.npz`, JumpReLU. The folder names the layer, the repository the hook."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sae.architectures import Export
from sae.importers import ForeignSae, ImportOptions
from sae.importers.tensors import SaeFormatError, checked, read_npz, width_of

_LAYER = re.compile(r"(?:^|/)layer_(\d+)(?:/|$)")
_REPOSITORY = re.compile(r"gemma-scope-[^/]*-(res|mlp|att|transcoders)(?:[-/@]|$)")
_HOOKS = {"res": "hook_resid_post", "mlp": "hook_mlp_out"}


def read(files: Mapping[str, Path], where: str, options: ImportOptions) -> ForeignSae:
    """See sae.importers."""
    path = files["params.npz"]
    tensors = read_npz(path)
    scaling = tensors.pop("scaling_factor", None)
    if scaling is not None and not bool((scaling == 1).all()):
        raise SaeFormatError(
            "params.npz has a scaling_factor other than 1, of a fine-tuned SAE, which RayLens does not have"
        )
    d, d_sae = width_of(tensors, "W_enc" if "W_enc" in tensors else "w_enc", path)
    tensors = {f"W_{name[2:]}" if name.startswith("w_") else name: one for name, one in tensors.items()}
    shapes = {"W_enc": (d, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d), "b_dec": (d,), "threshold": (d_sae,)}
    config = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    return ForeignSae("jumprelu", Export(checked(tensors, shapes, path), config), _hooks(where), {})


def _hooks(where: str) -> tuple[str, ...]:
    if "/embedding/" in f"/{where}/":
        raise SaeFormatError("this SAE of Gemma Scope reads token embeddings, which are no hook of RayLens")
    layer, repository = _LAYER.search(where), _REPOSITORY.search(where)
    kind = repository[1] if repository else ""
    if kind == "att":
        raise SaeFormatError("SAEs of gemma-scope-*-att read single attention heads, which are no hook of RayLens")
    if kind == "transcoders":
        raise SaeFormatError("SAEs of gemma-scope-*-transcoders are transcoders: RayLens imports autoencoders alone")
    return (f"blocks.{layer[1]}.{_HOOKS[kind]}",) if layer and kind in _HOOKS else ()
