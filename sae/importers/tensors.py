"""Tensors of foreign files: read without running code, and checked before anything is made of them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sae.quoting import listed, shortened

Shape = tuple[int, ...]


class SaeFormatError(ValueError):
    """A foreign SAE that cannot be read; the message says which file, what is wrong and what would be right."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises SaeFormatError."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SaeFormatError(f"{path.name} is no JSON: {shortened(str(error), 120)}") from None
    if not isinstance(body, dict):
        raise SaeFormatError(f"{path.name} must hold an object, not {type(body).__name__}")
    return body


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file. Raises SaeFormatError."""
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SaeFormatError(f"{path.name} is no whole safetensors file: {shortened(str(error), 120)}") from None
    return found


def read_torch(path: Path) -> dict[str, Tensor]:
    """Tensors of a file of torch.save, which must hold nothing else. Raises SaeFormatError, also for one with code in it."""
    try:
        body = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SaeFormatError(f"{path.name} is no whole file of torch.save: {shortened(str(error), 120)}") from None
    except Exception as error:  # an UnpicklingError, whose module RayLens does not import
        if type(error).__name__ != "UnpicklingError":
            raise
        found = shortened(str(error).partition("WeightsUnpickler error: ")[2] or str(error), 160)
        raise SaeFormatError(
            f"{path.name} holds more than tensors: a pickle with code, which RayLens does not run ({found}). Save its "
            "state_dict alone, as tensors"
        ) from None
    return _only_tensors(body, path)


def read_npz(path: Path) -> dict[str, Tensor]:
    """Tensors of a NumPy archive, which must hold no objects. Raises SaeFormatError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.ascontiguousarray(archive[name])) for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SaeFormatError(
            f"{path.name} is no whole NumPy archive of numbers: {shortened(str(error), 120)}"
        ) from None


def _only_tensors(body: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(body, dict):
        raise SaeFormatError(f"{path.name} must hold tensors by name, not {type(body).__name__}")
    wrong = [str(name) for name, value in body.items() if not isinstance(value, Tensor)]
    if wrong:
        raise SaeFormatError(f"{path.name} must hold tensors alone, but {listed(wrong)} is none")
    return {str(name): tensor for name, tensor in body.items()}


def width_of(tensors: Mapping[str, Tensor], name: str, path: Path) -> Shape:
    """The two dimensions of a matrix that fixes all other shapes. Raises SaeFormatError."""
    if name not in tensors:
        raise SaeFormatError(f"{path.name} has no tensor {name}; it has {listed(sorted(tensors))}")
    shape = tuple(tensors[name].shape)
    if len(shape) != 2 or not all(shape):
        raise SaeFormatError(f"{name} of {path.name} must be a matrix, not of shape {list(shape)}")
    return shape


def checked(tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape], path: Path) -> dict[str, Tensor]:
    """Exactly the tensors `shapes`, of these shapes and finite, in fp32. Raises SaeFormatError."""
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise SaeFormatError(f"{path.name} has no tensor {listed(missing)}; it has {listed(sorted(tensors))}")
    if extra := sorted(tensors.keys() - shapes.keys()):
        raise SaeFormatError(
            f"{path.name} has tensors that an SAE of this architecture does not have: {listed(extra)}; "
            f"it would have {listed(sorted(shapes))}"
        )
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            raise SaeFormatError(f"{name} of {path.name} has shape {list(found)}; the others ask for {list(shape)}")
    return {name: _finite(name, tensors[name], path) for name in shapes}


def _finite(name: str, tensor: Tensor, path: Path) -> Tensor:
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise SaeFormatError(f"{name} of {path.name} holds {tensor.dtype}, not real numbers")
    wide = tensor.float().contiguous()
    bad = int((~torch.isfinite(wide)).sum())
    if bad:
        raise SaeFormatError(f"{name} of {path.name} has {bad:,} of {wide.numel():,} values that are NaN or infinite")
    return wide


def whole_number(value: Any, name: str, path: Path) -> int:
    """A positive whole number of a config. Raises SaeFormatError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SaeFormatError(f"{name} of {path.name} must be a whole number above 0, not {shortened(repr(value), 60)}")
    return value
