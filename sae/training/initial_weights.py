"""Initial weights of an SAE that another one gives: `start_from` of its config."""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from configs.architectures import SaeConfig
from sae.formats.artifact_files import ArtifactFolderLike


def initial_tensors(folder: ArtifactFolderLike, sae: SaeConfig) -> dict[str, Tensor]:
    """Tensors of the SAE in `folder`, on raw activations, for `sae` to start from. Raises ValueError if they cannot be."""
    config: dict[str, Any] = json.loads(folder.path("cfg.json").read_text(encoding="utf-8"))
    if config["d_sae"] != sae.d_sae:
        raise ValueError(
            f"{sae.start_from} has {config['d_sae']} latents, and {sae.label} {sae.d_sae}: it cannot start from it"
        )
    if config.get("normalize_activations", "none") != "none":
        raise ValueError(
            f"{sae.start_from} normalises its inputs ({config['normalize_activations']}): {sae.label} does not"
        )
    tensors: dict[str, Tensor] = load_file(folder.directory() / "sae_weights.safetensors")
    hooks = config["metadata"].get("hook_names")
    if hooks is not None or sae.is_crosscoder:
        if hooks != list(sae.all_hooks()):
            there = "one hook" if hooks is None else ", ".join(hooks)
            raise ValueError(
                f"{sae.start_from} reads {there}, and {sae.label} cannot start from it: a crosscoder starts from one of its hooks"
            )
        return tensors
    is_transcoder = len(sae.all_hooks()) > 1
    if is_transcoder != ("d_out" in config):
        one, other = ("an SAE", "a transcoder") if is_transcoder else ("a transcoder", "an SAE")
        raise ValueError(f"{sae.start_from} is {one}: {sae.label}, {other}, cannot start from it")
    if not is_transcoder and not config.get("apply_b_dec_to_input", True) and "b_enc" in tensors:
        # The same function of inputs from which b_dec is subtracted.
        tensors["b_enc"] = tensors["b_enc"] + tensors["b_dec"] @ tensors["W_enc"]
    return tensors
