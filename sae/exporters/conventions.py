"""What differs between libraries in how the same SAE is written down, and what none of them has."""

from __future__ import annotations

import torch
from torch import Tensor

from sae.architectures.shallow_base import fold
from sae.exporters import NotExportable
from sae.formats.input_normalisation import normalisation_of
from sae.formats.sae_folder import Sae

Tensors = dict[str, Tensor]


def autoencoder_tensors(sae: Sae, title: str) -> Tensors:
    """Tensors on the CPU of an SAE on raw activations. Raises NotExportable for one that `title`'s library cannot hold."""
    if sae.is_transcoder:
        raise NotExportable(f"{title} has no place for a transcoder between two hooks: export it to saelens")
    if (kind := normalisation_of(sae.config)) != "none":
        raise NotExportable(
            f"this SAE normalises each activation ({kind}), which cannot be folded into weights and which {title} does not do: "
            "export it to saelens"
        )
    return {name: tensor.detach().cpu() for name, tensor in sae.tensors.items()}


def with_b_dec_at_input(tensors: Tensors, sae: Sae, wanted: bool) -> Tensors:
    """The same SAE for a library that subtracts b_dec from the encoder's input, or that does not."""
    applied = bool(sae.config.get("apply_b_dec_to_input", True))
    if applied == wanted:
        return tensors
    shift = tensors["b_dec"] @ tensors["W_enc"] * (1 if wanted else -1)
    moved = dict(tensors)
    for name in {"b_enc", "b_gate"} & tensors.keys():
        moved[name] = tensors[name] + shift
    if "b_mag" in tensors:
        moved["b_mag"] = tensors["b_mag"] + shift * tensors["r_mag"].exp()
    return moved


def with_unit_rows(tensors: Tensors) -> Tensors:
    """The same SAE with decoder rows of length 1, which latents' values make up for; as it is if they have it about."""
    norms = tensors["W_dec"].norm(dim=1)
    return tensors if torch.allclose(norms, torch.ones_like(norms)) else fold(tensors, 1.0)


def one_threshold(tensors: Tensors, title: str) -> float:
    """The threshold that all latents have. Raises NotExportable if they have several."""
    threshold = tensors["threshold"]
    if not bool((threshold == threshold[0]).all()):
        raise NotExportable(f"{title} has one threshold for all latents of such an SAE, and these have several")
    return float(threshold[0])


def active_latents(sae: Sae) -> int:
    """k, which the SAE's config or its training says. Raises NotExportable if neither does."""
    from configs.architectures import target_l0

    k = target_l0(sae.config)
    if not k or k != int(k):
        raise NotExportable("the files of this SAE do not say its k, which the format must hold")
    return int(k)
