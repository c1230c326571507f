"""SAELens: `cfg.json` and `sae_weights.safetensors`, of version 6; the config of older ones is read as version 6 reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from configs.architectures import NAMES
from sae.architectures import Export
from sae.architectures.shallow_base import fold
from sae.formats.input_normalisation import NORMALISATIONS
from sae.importers import ForeignSae, ImportOptions
from sae.importers.tensors import SaeFormatError, Shape, checked, read_json, read_safetensors, whole_number, width_of
from sae.quoting import listed, quoted

# SAELens' architecture -> ours that are written as it, the default first.
ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "standard": ("standard",),
    "topk": ("topk", "hierarchicaltopk"),
    "jumprelu": ("jumprelu", "batchtopk", "matryoshka"),
    "gated": ("gated",),
    "matching_pursuit": ("matchingpursuit",),
    "transcoder": ("standard",),
    "skip_transcoder": ("standard",),
    "jumprelu_transcoder": ("jumprelu", "batchtopk", "matryoshka"),
    "jumprelu_skip_transcoder": ("jumprelu", "batchtopk", "matryoshka"),
}
_OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_OLD_METADATA = ("model_name", "hook_name", "hook_head_index", "context_size", "prepend_bos", "dataset_path",
                 "model_from_pretrained_kwargs")  # fmt: skip


def read(files: Mapping[str, Path], where: str, options: ImportOptions) -> ForeignSae:
    """See sae.importers."""
    path, weights = files["cfg.json"], files["sae_weights.safetensors"]
    config = _version_6(read_json(path))
    metadata = config["metadata"]
    name = str(config.get("architecture"))
    if name not in ARCHITECTURES:
        raise SaeFormatError(
            f"cfg.json is of architecture {quoted(name)}, which RayLens does not have; it reads {', '.join(ARCHITECTURES)}"
        )
    _check_head(config, metadata)
    tensors = read_safetensors(weights)
    d_sae, d_out = width_of(tensors, "W_dec", weights)
    d_in = width_of(tensors, "W_enc", weights)[0] if name.endswith("transcoder") else d_out
    tensors = checked(tensors, _shapes(name, d_in, d_sae, d_out), weights)
    for key, value in (("d_in", d_in), ("d_sae", d_sae), ("d_out", d_out)):
        if config.get(key, value if key == "d_out" else None) != value:
            raise SaeFormatError(f"cfg.json says {key} = {config.get(key)!r}, but the weights have {value}")
    kept: dict[str, Any] = {
        "architecture": name,
        "apply_b_dec_to_input": bool(config.get("apply_b_dec_to_input", True)),
    }
    if name.endswith("transcoder"):
        _check_transcoder(config, metadata)
        kept |= {"apply_b_dec_to_input": False, "d_out": d_out}
    kept |= _own_settings(name, config, path)
    tensors, kept = _without_scaling(
        tensors, {**kept, "normalize_activations": config.get("normalize_activations")}, options
    )
    ours = metadata.get("raylens", {}).get("architecture") if isinstance(metadata.get("raylens"), dict) else None
    architecture = ours if ours in ARCHITECTURES[name] and ours in NAMES else ARCHITECTURES[name][0]
    hooks = tuple(str(metadata[key]) for key in ("hook_name", "hf_hook_name") if metadata.get(key))
    return ForeignSae(architecture, Export(tensors, kept), hooks, metadata)


def _version_6(config: dict[str, Any]) -> dict[str, Any]:
    """The config with its metadata, as SAELens 6 itself understands it."""
    metadata = config.get("metadata")
    version = (
        (metadata or {}).get("sae_lens_version") or config.get("sae_lens_version")
        if isinstance(metadata, dict | None)
        else None
    )
    if (
        isinstance(metadata, dict)
        and str(version or "").partition(".")[0].isdigit()
        and int(str(version).partition(".")[0]) >= 6
    ):
        return config
    old = {_OLD_NAMES.get(key, key): value for key, value in config.items()}
    found = {"architecture": "standard", "apply_b_dec_to_input": True, **old}
    if old.get("activation_fn") == "topk":
        found |= {"architecture": "topk", "k": (old.get("activation_fn_kwargs") or {}).get("k")}
    elif old.get("activation_fn", "relu") != "relu":
        raise SaeFormatError(
            f"cfg.json has the activation function {quoted(old['activation_fn'])}: RayLens has relu and topk"
        )
    if isinstance(old.get("normalize_activations"), bool):
        found["normalize_activations"] = "expected_average_only_in" if old["normalize_activations"] else "none"
    if old.get("finetuning_scaling_factor"):
        raise SaeFormatError(
            "cfg.json has finetuning_scaling_factor, which SAELens 6 does not apply either: fold it in first"
        )
    if "hook_z" in str(old.get("hook_name")):
        found["reshape_activations"] = "hook_z"
    found["metadata"] = {key: old[key] for key in _OLD_METADATA if old.get(key) is not None}
    return found


def _check_head(config: dict[str, Any], metadata: dict[str, Any]) -> None:
    if config.get("reshape_activations", "none") != "none" or metadata.get("hook_head_index") is not None:
        raise SaeFormatError(
            f"the SAE reads single attention heads ({quoted(metadata.get('hook_name'))}), which are no hook of RayLens: hooks "
            "are the residual stream, outputs of attention and MLP, and modules that give [rows, tokens, width]"
        )


def _check_transcoder(config: dict[str, Any], metadata: dict[str, Any]) -> None:
    if not metadata.get("hook_name_out"):
        raise SaeFormatError(
            "cfg.json is of a transcoder, but its metadata has no hook_name_out: the hook that it makes"
        )
    if config.get("normalize_activations") not in (None, "none"):
        raise SaeFormatError(
            f"cfg.json is of a transcoder with normalize_activations {quoted(config['normalize_activations'])}, which "
            "RayLens does not have"
        )


def _shapes(name: str, d_in: int, d_sae: int, d_out: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {"W_dec": (d_sae, d_out), "b_dec": (d_out,)}
    if name == "matching_pursuit":
        return shapes
    shapes["W_enc"] = (d_in, d_sae)
    if "skip_transcoder" in name:
        shapes["W_skip"] = (d_out, d_in)
    extra = (
        ("b_gate", "b_mag", "r_mag")
        if name == "gated"
        else ("b_enc", "threshold")
        if "jumprelu" in name
        else ("b_enc",)
    )
    return shapes | {one: (d_sae,) for one in extra}


def _own_settings(name: str, config: dict[str, Any], path: Path) -> dict[str, Any]:
    if name == "topk":
        return {
            "k": whole_number(config.get("k"), "k", path),
            "rescale_acts_by_decoder_norm": bool(config.get("rescale_acts_by_decoder_norm", False)),
        }
    if name == "matching_pursuit":
        if not config.get("apply_b_dec_to_input", True):
            raise SaeFormatError(
                "cfg.json is of matching pursuit without apply_b_dec_to_input, which RayLens does not have"
            )
        if config.get("stop_on_duplicate_support", True):
            raise SaeFormatError(
                "cfg.json has stop_on_duplicate_support: in SAELens a position then stops where others of its batch do. Set "
                "it to false to import the SAE without that"
            )
        return {
            "max_iterations": whole_number(config.get("max_iterations"), "max_iterations", path),
            "residual_threshold": float(config.get("residual_threshold", 1e-2)),
            "stop_on_duplicate_support": False,
        }
    return {}


def _without_scaling(
    tensors: dict[str, Tensor], config: dict[str, Any], options: ImportOptions
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Scales that hold for all activations are folded into the weights: what is left is an SAE on raw ones."""
    kind = config.pop("normalize_activations") or "none"
    if config.get("rescale_acts_by_decoder_norm"):
        tensors = fold(tensors, 1.0)
        config["rescale_acts_by_decoder_norm"] = False
    if kind != "expected_average_only_in" and options.activation_norm is not None:
        raise SaeFormatError(
            f"activation_norm has no effect on this SAE, whose normalize_activations is {kind}: leave it out"
        )
    if kind == "expected_average_only_in":
        if options.activation_norm is None:
            raise SaeFormatError(
                "the SAE was trained on activations scaled to the mean norm sqrt(d), and the scale is not in its files: give "
                "`activation_norm`, the mean norm of the activations that it was trained on"
            )
        tensors, kind = _scaled(tensors, len(tensors["b_dec"]) ** 0.5 / options.activation_norm), "none"
        if "residual_threshold" in config:
            config["residual_threshold"] *= options.activation_norm / len(tensors["b_dec"]) ** 0.5
    if kind not in NORMALISATIONS:
        raise SaeFormatError(
            f"cfg.json has normalize_activations {quoted(kind)}; RayLens has {listed(NORMALISATIONS)}, and "
            "expected_average_only_in, which it folds into the weights"
        )
    return tensors, {**config, "normalize_activations": kind}


def _scaled(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights on raw activations from weights on `scale` times these, latents in the units that they have."""
    factors = {"W_enc": scale, "W_dec": 1 / scale, "b_dec": 1 / scale}
    return {name: tensor * factors.get(name, 1.0) for name, tensor in tensors.items()}
