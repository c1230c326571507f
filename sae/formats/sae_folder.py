"""SAE folders: the SAELens v6 directory, with our provenance beside it.

`cfg.json` and `sae_weights.safetensors` load in SAELens as they are. `training.json` (resolved config, provenance),
`metrics.json` (last step), `curves.parquet` (one row a step) and `calibration.{json,safetensors}` are ours.
Weights in the folder work on raw activations. `metadata.raylens.architecture` in `cfg.json` is our name of the architecture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from configs.architectures import architecture_name
from sae.architectures import Export, architecture_class
from sae.calibration import Calibration, load_calibration, save_calibration
from sae.formats.input_normalisation import normalisation_of, normalise
from sae.joint_hooks import joint_calibration, scale_row
from sae.sparse import Codes, concatenate, decode

FORMAT_VERSION = "6.54.12"
_ROWS = 1024
_TARGET = "target_calibration"  # of a transcoder


class Sae:
    """A trained SAE on raw activations, fp32: the tensors that its architecture exported."""

    def __init__(
        self,
        tensors: dict[str, Tensor],
        config: dict[str, Any],
        calibration: Calibration,
        training: dict[str, Any] | None = None,
        others: Sequence[Calibration] = (),
    ) -> None:
        """`others`: calibrations of a transcoder's target hook, or of a crosscoder's further hooks."""
        self.tensors, self.config = tensors, config
        self.architecture = architecture_name(config)
        self._encode = architecture_class(self.architecture).encode
        self.metadata: dict[str, Any] = config["metadata"]
        self._normalisation = normalisation_of(config)
        self.calibrations, self.training = (calibration, *others), training or {}
        self.calibration = joint_calibration(self.calibrations) if self.is_crosscoder else calibration
        self.target_calibration = self.calibration if self.is_crosscoder else self.calibrations[-1]

    @property
    def W_dec(self) -> Tensor:
        """Decoder directions [d_sae, d_out]."""
        return self.tensors["W_dec"]

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return len(self.W_dec)

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that it reads: one, unless it is a crosscoder. Their activations are its input, side by side."""
        return tuple(self.metadata.get("hook_names") or [self.metadata["hook_name"]])

    @property
    def is_crosscoder(self) -> bool:
        """Whether it reads and makes the activations of several hooks."""
        return "hook_names" in self.metadata

    @property
    def widths(self) -> list[int]:
        """Dimensions of each of `hooks`."""
        return [len(one.mean) for one in self.calibrations[: len(self.hooks)]]

    @property
    def directions(self) -> Tensor:
        """Decoder directions [d_sae, d_out] in which all hooks weigh the same: a crosscoder's are of scaled activations."""
        return self.W_dec * scale_row(self.calibrations).to(self.device) if self.is_crosscoder else self.W_dec

    @property
    def encoder_directions(self) -> Tensor | None:
        """Encoder [d_in, d_sae], of a crosscoder on scaled activations; None if it has none of its own."""
        W_enc = self.tensors.get("W_enc")
        if W_enc is None or not self.is_crosscoder:
            return W_enc
        return W_enc / scale_row(self.calibrations).to(self.device)[:, None]

    @property
    def is_transcoder(self) -> bool:
        """Whether it makes the activations of another hook than it reads."""
        return self.metadata.get("hook_name_out") not in (None, self.metadata.get("hook_name"))

    @property
    def scales_each_input(self) -> bool:
        """Whether it scales each activation by its own length or spread, as SAEs of some other libraries do."""
        return self._normalisation not in ("none", "centred")

    @property
    def target_hook(self) -> str:
        """The hook whose activations it makes."""
        return str(self.metadata["hook_name_out"] if self.is_transcoder else self.metadata["hook_name"])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.W_dec.device

    def to(self, device: str) -> Sae:
        """Moves the tensors, in place."""
        self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return self

    def encode_sparse(self, x: Tensor) -> Codes:
        """Active latents of activations x [n, d_in], by position and then latent; values > 0."""
        # Equal slices: a product of one or two rows rounds otherwise than the same rows in a large one.
        normalised = normalise(self._normalisation, x.float())
        slices = (x if normalised is None else normalised.x).tensor_split(max(1, -(-len(x) // _ROWS)))
        return concatenate([self._encode(self.tensors, self.config, part) for part in slices])

    def encode(self, x: Tensor) -> Tensor:
        """Latents [n, d_sae] of activations x [n, d_in]."""
        codes = self.encode_sparse(x)
        dense = torch.zeros(len(x), self.d_sae, device=x.device)
        dense[codes.position, codes.latent] = codes.value
        return dense

    def decode(self, latents: Tensor, x: Tensor | None = None) -> Tensor:
        """Reconstruction [n, d_out] of latents [n, d_sae]; see decode_sparse for `x`."""
        return self._finish(latents @ self.W_dec, x)

    def decode_sparse(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """Reconstruction [n, d_out] of the codes of n positions.

        `x` [n, d_in], the raw activations that were encoded, is needed by an SAE that normalises each of them and by a skip
        transcoder. Raises ValueError if it is missing then.
        """
        return self._finish(decode(codes, self.W_dec), x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstruction [n, d_out] of activations x [n, d_in]; computes only active latents."""
        return self.decode_sparse(self.encode_sparse(x), x)

    def _finish(self, made: Tensor, x: Tensor | None) -> Tensor:
        made = made + self.tensors["b_dec"]
        skip = self.tensors.get("W_skip")
        if skip is None and self._normalisation == "none":
            return made
        if x is None:
            raise ValueError("this SAE reconstructs from latents and activations: give the activations too")
        if skip is not None:
            made = made + x.float() @ skip.T
        normalised = normalise(self._normalisation, x.float())
        return made if normalised is None else normalised.undo(made)


def write_sae(
    folder: Path,
    architecture: str,
    export: Export,
    metadata: dict[str, Any],
    calibration: Calibration,
    training: dict[str, Any],
    *others: Calibration,
) -> list[str]:
    """Writes an SAE of `architecture`, our name for it, which is kept in the metadata beside SAELens' own keys.

    `others`: calibrations of a transcoder's target hook, or of a crosscoder's further hooks, which `hook_names` of the metadata
    names. Returns the names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    d_sae, d_out = export.tensors["W_dec"].shape
    config = {
        "normalize_activations": "none",
        **export.config,
        "d_in": len(export.tensors["W_enc"]) if "W_enc" in export.tensors else d_out,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": FORMAT_VERSION,
            "sae_lens_training_version": FORMAT_VERSION,
            **metadata,
            "raylens": {**metadata.get("raylens", {}), "architecture": architecture},
        },
    }
    save_file({k: v.cpu().contiguous() for k, v in export.tensors.items()}, folder / "sae_weights.safetensors")
    _write_json(folder / "cfg.json", config)
    _write_json(folder / "training.json", training)
    files = ["sae_weights.safetensors", "cfg.json", "training.json", *save_calibration(calibration, folder)]
    for name, other in zip(_other_names(metadata), others, strict=False):
        files += save_calibration(other, folder, name)
    return files


def load_sae(folder: Path, device: str = "cpu") -> Sae:
    """Loads an SAE folder that write_sae made. Raises ValueError for an architecture that does not exist here."""
    config = json.loads((folder / "cfg.json").read_text())
    calibration = load_calibration(folder / "calibration.json", folder / "calibration.safetensors")
    training = json.loads((folder / "training.json").read_text())
    others = [
        load_calibration(folder / f"{name}.json", folder / f"{name}.safetensors")
        for name in _other_names(config["metadata"])
        if (folder / f"{name}.json").exists()
    ]
    return Sae(load_file(folder / "sae_weights.safetensors"), config, calibration, training, others).to(device)


def _other_names(metadata: dict[str, Any]) -> list[str]:
    """Names of the calibrations beside the first: of a crosscoder's hooks from the second on, or of a transcoder's target."""
    hooks = metadata.get("hook_names")
    return [_TARGET] if hooks is None else [f"calibration_{number}" for number in range(2, len(hooks) + 1)]


def _write_json(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
