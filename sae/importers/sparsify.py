"""EleutherAI's sparsify: `HOOKPOINT/cfg.json` and `sae.safetensors`. The folder's name is the path of the hooked module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sae.architectures import Export
from sae.importers import ForeignSae, ImportOptions
from sae.importers.tensors import SaeFormatError, checked, read_json, read_safetensors, whole_number, width_of
from sae.quoting import quoted

# In the model that sparsify hooks there is no head; ours has one, and the rest of it under one of these names.
_BODIES = ("model", "transformer", "gpt_neox", "model.decoder", "model.language_model", "backbone")


def read(files: Mapping[str, Path], where: str, options: ImportOptions) -> ForeignSae:
    """See sae.importers."""
    path, weights = files["cfg.json"], files["sae.safetensors"]
    config = read_json(path)
    if config.get("activation", "topk") != "topk" or config.get("signed"):
        kind = "signed" if config.get("signed") else config["activation"]
        raise SaeFormatError(f"cfg.json has the activation {quoted(kind)}: of sparsify's, RayLens has topk alone")
    if config.get("transcode") or config.get("skip_connection"):
        raise SaeFormatError(
            "cfg.json is of a TopK transcoder, from a module's input to its output, which are no two hooks of RayLens: it "
            "imports autoencoders of sparsify alone"
        )
    tensors = read_safetensors(weights)
    n, d = width_of(tensors, "encoder.weight", weights)
    shapes = {"encoder.weight": (n, d), "encoder.bias": (n,), "W_dec": (n, d), "b_dec": (d,)}
    found = checked(tensors, shapes, weights)
    _check_widths(config, n, d)
    exported = {
        "W_enc": found["encoder.weight"].T.contiguous(),
        "b_enc": found["encoder.bias"],
        "W_dec": found["W_dec"],
        "b_dec": found["b_dec"],
    }
    k = whole_number(config.get("k"), "k", path)
    kept = {"architecture": "topk", "k": k, "rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": True}
    hookpoint = where.rstrip("/").rpartition("/")[2]
    hooks = (hookpoint, *(f"{body}.{hookpoint}" for body in _BODIES))
    return ForeignSae("topk", Export(exported, kept), hooks, {"raylens": {"target_l0": k}})


def _check_widths(config: dict[str, object], n: int, d: int) -> None:
    expansion = config.get("expansion_factor")
    wanted = config.get("num_latents") or (d * expansion if isinstance(expansion, int) else n)
    for key, said, has in (("d_in", config.get("d_in"), d), ("num_latents", wanted, n)):
        if said != has:
            raise SaeFormatError(f"cfg.json says {key} = {said!r}, but the weights have {has}")
