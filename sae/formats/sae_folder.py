"""SAE folders: the SAELens v6 directory, with our provenance beside it.

`cfg.json` and `sae_weights.safetensors` load in SAELens as they are. `training.json` (resolved config, provenance),
`metrics.json` (last step), `curves.parquet` (one row a step) and `calibration.{json,safetensors}` are ours.
Weights in the folder work on raw activations: the input scale and the decoder norms are folded in.
"""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sae.calibration import Calibration, load_calibration, save_calibration

FORMAT_VERSION = "6.54.12"
_ROWS = 1024


class SparseCodes(NamedTuple):
    """Active latents of a batch: position int64 [m], latent int64 [m], value float32 [m] > 0, by position then latent."""

    position: Tensor
    latent: Tensor
    value: Tensor


class Weights(NamedTuple):
    """Tensors in SAELens' layout: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None


class Sae:
    """A trained SAE on raw activations, fp32. `topk`: the k largest pre-activations; `jumprelu`: those over a threshold."""

    def __init__(self, weights: Weights, config: dict[str, Any], calibration: Calibration, training: dict[str, Any]):
        self.W_enc, self.b_enc, self.W_dec, self.b_dec, self.threshold = weights
        self.architecture: str = config["architecture"]
        self.k: int = int(config.get("k", 0))
        self.metadata: dict[str, Any] = config["metadata"]
        self.calibration, self.training = calibration, training
        self.d_in, self.d_sae = self.W_enc.shape

    def to(self, device: str) -> Sae:
        """Moves the weights, in place."""
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"):
            tensor = getattr(self, name)
            setattr(self, name, tensor if tensor is None else tensor.to(device))
        return self

    def encode_sparse(self, x: Tensor) -> SparseCodes:
        """Active latents of activations x [n, d_in]."""
        # Equal slices: a product of one or two rows rounds otherwise than the same rows in a large one.
        slices = x.tensor_split(max(1, -(-len(x) // _ROWS)))
        starts = accumulate([len(part) for part in slices], initial=0)
        parts = [self._encode_rows(part, start) for part, start in zip(slices, starts, strict=False)]
        return SparseCodes(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def encode(self, x: Tensor) -> Tensor:
        """Latents [n, d_sae] of activations x [n, d_in]."""
        codes = self.encode_sparse(x)
        dense = torch.zeros(len(x), self.d_sae, device=x.device)
        dense[codes.position, codes.latent] = codes.value
        return dense

    def decode(self, latents: Tensor) -> Tensor:
        """Reconstruction [n, d_in] of latents [n, d_sae]."""
        return latents @ self.W_dec + self.b_dec

    def decode_sparse(self, codes: SparseCodes, n: int) -> Tensor:
        """Reconstruction [n, d_in] of the codes that encode_sparse gave for n positions."""
        if len(codes.position) == 0:
            return self.b_dec.expand(n, -1).clone()
        counts = torch.bincount(codes.position, minlength=n)
        decoded = torch.nn.functional.embedding_bag(
            codes.latent, self.W_dec, counts.cumsum(0) - counts, per_sample_weights=codes.value, mode="sum"
        )
        return decoded + self.b_dec

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstruction [n, d_in] of activations x [n, d_in]; computes only active latents."""
        return self.decode_sparse(self.encode_sparse(x), len(x))

    def _encode_rows(self, x: Tensor, first: int) -> SparseCodes:
        pre = torch.addmm(self.b_enc, x.float() - self.b_dec, self.W_enc)
        if self.threshold is None:
            value, latent = pre.topk(self.k, dim=1, sorted=False)
            latent, order = latent.sort(dim=1)
            value = value.gather(1, order)
            position, column = (value > 0).nonzero(as_tuple=True)
            return SparseCodes(position + first, latent[position, column], value[position, column])
        position, latent = ((pre > self.threshold) & (pre > 0)).nonzero(as_tuple=True)
        return SparseCodes(position + first, latent, pre[position, latent])


def fold(weights: Weights, scale: float) -> Weights:
    """Folds the input scale and the decoder norms into weights that were trained on (scale * x)."""
    W_dec, b_dec = weights.W_dec / scale, weights.b_dec / scale
    norms = W_dec.norm(dim=1)
    threshold = None if weights.threshold is None else weights.threshold * norms
    return Weights(weights.W_enc * scale * norms, weights.b_enc * norms, W_dec / norms[:, None], b_dec, threshold)


def write_sae(
    folder: Path,
    weights: Weights,
    architecture: dict[str, Any],
    metadata: dict[str, Any],
    calibration: Calibration,
    training: dict[str, Any],
) -> None:
    """Writes folded weights and configs. `architecture` holds cfg keys such as {"architecture": "topk", "k": 32}."""
    folder.mkdir(parents=True, exist_ok=True)
    d_in, d_sae = weights.W_enc.shape
    config = {
        **architecture,
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": FORMAT_VERSION, "sae_lens_training_version": FORMAT_VERSION, **metadata},
    }
    tensors = {k: v.cpu().contiguous() for k, v in weights._asdict().items() if v is not None}
    save_file(tensors, folder / "sae_weights.safetensors")
    _write_json(folder / "cfg.json", config)
    _write_json(folder / "training.json", training)
    save_calibration(calibration, folder)


def load_sae(folder: Path, device: str = "cpu") -> Sae:
    """Loads an SAE folder that write_sae made."""
    config = json.loads((folder / "cfg.json").read_text())
    if config["architecture"] not in ("topk", "jumprelu"):
        raise ValueError(f"{folder}: architecture {config['architecture']!r} cannot be read; expected topk or jumprelu")
    calibration = load_calibration(folder / "calibration.json", folder / "calibration.safetensors")
    training = json.loads((folder / "training.json").read_text())
    return Sae(Weights(**load_file(folder / "sae_weights.safetensors")), config, calibration, training).to(device)


def _write_json(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
