"""EleutherAI's sparsify: `HOOKPOINT/cfg.json` and `sae.safetensors`. It has TopK alone."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from sae.exporters import ExportSource, NotExportable
from sae.exporters.conventions import active_latents, autoencoder_tensors, with_b_dec_at_input

_TITLE = "sparsify"


def write(source: ExportSource, folder: Path) -> None:
    """See sae.exporters."""
    sae = source.sae
    if sae.config["architecture"] != "topk":
        raise NotExportable(
            f"sparsify has TopK SAEs alone, and this one is {sae.architecture}: export it to saelens or dictionary_learning"
        )
    tensors = with_b_dec_at_input(autoencoder_tensors(sae, _TITLE), sae, True)
    n, d = tensors["W_dec"].shape
    config = {
        "activation": "topk",
        "d_in": d,
        "expansion_factor": max(1, n // d),
        "k": active_latents(sae),
        "multi_topk": False,
        "normalize_decoder": True,
        "num_latents": n,
        "skip_connection": False,
        "transcode": False,
    }
    written = {
        "W_dec": tensors["W_dec"],
        "b_dec": tensors["b_dec"],
        "encoder.bias": tensors["b_enc"],
        "encoder.weight": tensors["W_enc"].T,
    }
    own = folder / source.module
    own.mkdir(parents=True)
    (own / "cfg.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in written.items()}, own / "sae.safetensors")
