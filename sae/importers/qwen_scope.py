"""Qwen-Scope and its like: `layerN.sae.pt`, four tensors of a TopK SAE. k is in the name of the repository, or is given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sae.architectures import Export
from sae.importers import ForeignSae, ImportOptions
from sae.importers.tensors import SaeFormatError, checked, read_torch, width_of
from sae.quoting import listed

_K = re.compile(r"L0_(\d+)(?:[/@]|$)")
_LAYER = re.compile(r"layer_?(\d+)")


def read(files: Mapping[str, Path], where: str, options: ImportOptions) -> ForeignSae:
    """See sae.importers."""
    if len(files) != 1:
        raise SaeFormatError(f"the source has {len(files)} files: name one of {listed(sorted(files))} in `part`")
    name, path = next(iter(files.items()))
    tensors = read_torch(path)
    d_sae, d = width_of(tensors, "W_enc", path)
    shapes = {"W_enc": (d_sae, d), "b_enc": (d_sae,), "W_dec": (d, d_sae), "b_dec": (d,)}
    found = checked(tensors, shapes, path)
    exported = {**found, **{key: found[key].T.contiguous() for key in ("W_enc", "W_dec")}}
    named = _K.search(where)
    k = options.k or (int(named[1]) if named else None)
    if k is None:
        raise SaeFormatError(f"neither {name} nor its folder says how many latents are active (L0_50): give `k`")
    if k > d_sae:
        raise SaeFormatError(f"k = {k} is larger than the {d_sae} latents of {name}")
    layer = _LAYER.match(name)
    hooks = (f"blocks.{layer[1]}.hook_resid_post",) if layer else ()
    # Its encoder reads activations as they are: no bias is subtracted first.
    config = {"architecture": "topk", "k": k, "rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": False}
    return ForeignSae("topk", Export(exported, config), hooks, {"raylens": {"target_l0": k}})
