"""Calibration of a hook: what is normal there, and so which positions are data.

Made once for each model and hook from the first rows of the tokens, stored with the SAE, and reused by training,
evaluation and extraction. Attention sinks are found by their norm; no position is assumed to be one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from configs.data_positions import DataPolicy
from sae.formats.tokens import OTHER_SPEAKER, Role


class NonFiniteActivations(ValueError):
    """The language model gave NaN or infinite activations."""


class Calibration(NamedTuple):
    """What is normal at one hook. `scale` brings mean-centred data positions to unit mean square in each dimension."""

    hook: str
    median_norm: float
    sink_threshold: float
    scale: float
    mean: Tensor
    rows: int
    positions: int
    sinks: int


def candidate_mask(roles: Tensor, policy: DataPolicy) -> Tensor:
    """Positions [n, L] that are data by their role alone. TokensReader gives other speakers' a role that never is."""
    mask = roles == int(Role.DATA)
    return mask | (roles == int(Role.SPECIAL)) if policy.include_special else mask


def data_mask(roles: Tensor, norms: Tensor, calibration: Calibration, policy: DataPolicy) -> Tensor:
    """Positions [n, L] that are data at this hook, from roles uint8 [n, L] and activation norms [n, L]."""
    mask = candidate_mask(roles, policy)
    return mask if policy.include_sinks else mask & (norms <= calibration.sink_threshold)


def count_excluded(roles: Tensor, norms: Tensor, calibration: Calibration, policy: DataPolicy) -> dict[str, int]:
    """How many positions are excluded, by reason. The counts and the data positions add up to all positions.

    `other_speaker` is among them if the policy names speakers.
    """
    candidates = candidate_mask(roles, policy)
    counts = {
        role.name.lower(): int(((roles == int(role)) & ~candidates).sum()) for role in Role if role is not Role.DATA
    }
    if policy.speakers:
        counts["other_speaker"] = int((roles == OTHER_SPEAKER).sum())
    counts["sink"] = int((candidates & ~data_mask(roles, norms, calibration, policy)).sum())
    return counts


def check_finite(norms: Tensor, hook: str, first_row: int) -> None:
    """Raises NonFiniteActivations naming the first row and position whose norm is not finite."""
    bad = ~torch.isfinite(norms)
    if bool(bad.any()):
        row, position = (int(v) for v in bad.nonzero()[0])
        raise NonFiniteActivations(
            f"the language model gives NaN or infinite activations at {hook}, row {first_row + row}, position {position}; "
            f"use a wider lm_dtype (fp32 or bf16), and check that the model's files are whole"
        )


def calibrate(hook: str, batches: Iterable[tuple[Tensor, Tensor]], policy: DataPolicy) -> Calibration:
    """Calibrates from batches of (activations [n, L, d], roles [n, L]), in row order.

    Sums are taken over each row first and then in float64 in row order, so they depend neither on the batches nor on
    the number of threads.
    """
    kept: list[tuple[Tensor, Tensor]] = []
    rows = 0
    for activations, roles in batches:
        check_finite(activations.float().norm(dim=-1), hook, rows)
        kept.extend((a, candidate_mask(r, policy)) for a, r in zip(activations.float().cpu(), roles.cpu(), strict=True))
        rows += len(roles)
    norms = torch.cat([a[m].norm(dim=-1) for a, m in kept]) if kept else torch.empty(0)
    if norms.numel() == 0:
        raise ValueError(f"no data positions in the {rows} rows that calibrate {hook}: take more calibration_rows")
    median = float(norms.median())
    threshold = policy.sink_factor * median
    data = [a[m] if policy.include_sinks else a[m][a[m].norm(dim=-1) <= threshold] for a, m in kept]
    positions = sum(len(a) for a in data)
    mean = torch.zeros(data[0].shape[1], dtype=torch.float64)
    for a in data:
        mean += a.double().sum(0)
    mean /= positions
    square = 0.0
    for a in data:
        square += float((a.double() - mean).square().sum(1).sum())
    scale = (positions * mean.numel() / square) ** 0.5 if square > 0 else 1.0
    return Calibration(hook, median, threshold, scale, mean.float(), rows, positions, norms.numel() - positions)


def save_calibration(calibration: Calibration, folder: Path, name: str = "calibration") -> list[str]:
    """Writes NAME.json and NAME.safetensors (mean [d]) into `folder`; returns both file names."""
    body = {k: v for k, v in calibration._asdict().items() if k != "mean"}
    (folder / f"{name}.json").write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
    save_file({"mean": calibration.mean.contiguous()}, folder / f"{name}.safetensors")
    return [f"{name}.json", f"{name}.safetensors"]


def load_calibration(json_path: Path, tensor_path: Path) -> Calibration:
    """Reads what save_calibration wrote."""
    return Calibration(**json.loads(json_path.read_text()), mean=load_file(tensor_path)["mean"])
