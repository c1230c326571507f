"""The weight files of a model folder: which they are, what they hold, and whether they belong to the config."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from sae.language_model.errors import ModelError

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_FLOATS = ("F64", "F32", "F16", "BF16")
_TABLES = ("BOOL", "I64")  # masks and index tables; older files keep causal masks as U8 beside the weights
_MASK = re.compile(r"(^|\.)(bias|masked_bias|position_ids|token_type_ids)$")
_INDEXED = re.compile(r"^(.*\.)?(\d+)\.")


class StoredTensor(NamedTuple):
    """A tensor of a file: its shape, and its type by safetensors' name (F32, BF16, I8, F8_E4M3...)."""

    shape: tuple[int, ...]
    dtype: str


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a folder. Raises ModelError if there are none, some are missing, or they are pickled."""
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if (directory / INDEX).is_file():
        names = _indexed_files(directory / INDEX)
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise ModelError(f"the weights are incomplete: {', '.join(missing[:5])} is missing")
        return [directory / name for name in names]
    pickled = sorted(p.name for p in directory.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickled:
        raise ModelError(
            f"the weights are pickled ({pickled[0]}), and reading a pickle can run any code: convert them to "
            f"{SINGLE} first, for example with safetensors' own conversion tool"
        )
    raise ModelError(f"there are no weights: neither {SINGLE} nor {INDEX} with the files that it names")


def _indexed_files(index: Path) -> list[str]:
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{INDEX} cannot be read: it must be JSON with a weight_map from tensors to files") from error
    if bad := [name for name in names if "/" in name or "\\" in name or not name.endswith(".safetensors")]:
        raise ModelError(f"{INDEX} names {bad[0][:80]!r}, which is no safetensors file of the same folder")
    return sorted(names)


def stored_tensors(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """All tensors of some files, without reading their values. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, StoredTensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a dict)
                    piece = weights.get_slice(name)
                    found[name] = StoredTensor(tuple(piece.get_shape()), str(piece.get_dtype()))
        except SafetensorError as error:
            raise ModelError(f"the weights in {path.name} cannot be read: {error}") from error
    return found


def check_float(tensors: dict[str, StoredTensor], config: Any) -> None:
    """Raises ModelError if weights are stored as anything but plain floats: their values alone would be wrong."""
    bad = {
        name: stored.dtype
        for name, stored in tensors.items()
        if stored.dtype not in (*_FLOATS, *_TABLES) and not _MASK.search(name)
    }
    if not bad:
        return
    quantization = getattr(config, "quantization_config", None)
    if quantization is not None and not isinstance(quantization, dict):
        quantization = quantization.to_dict()
    method = (quantization or {}).get("quant_method")
    name, dtype = min(bad.items())
    raise ModelError(
        f"the weights are quantised{f' with {method}' if method else ''}: {len(bad)} of {len(tensors)} tensors are not "
        f"floats, such as {name} ({dtype}). Convert the model to float first, or take its original weights"
    )


def check_unexpected(
    model: nn.Module, unexpected: Iterable[str], tensors: dict[str, StoredTensor], config: Any
) -> list[str]:
    """Names of stored tensors that `model` has no use for, such as the heads of multi-token prediction.

    Raises ModelError if one shows that config and weights do not belong together: a tensor of a module that the model
    has without it (a bias, a scale of quantised weights), or of blocks beyond the config's number of layers.
    """
    modules = dict(model.named_modules())
    extra = getattr(config, "num_nextn_predict_layers", None)
    unused: list[str] = []
    for key in sorted(unexpected):
        names = [key, f"{getattr(model, 'base_model_prefix', '')}.{key}"]
        parents = [name.rpartition(".")[0] for name in names]
        parent = next((p for p in parents if p and p in modules), None)
        stored = tensors.get(key)
        if parent is not None and not (_MASK.search(key) and (stored is None or len(stored.shape) > 1)):
            raise ModelError(
                f"config.json and the weights do not belong together: the weights have {key}, but by the config module "
                f"{parent} has no such tensor"
            )
        for name in names:
            layer = _beyond(name, modules)
            if layer is not None and layer[1] >= layer[2] + (extra if isinstance(extra, int) else 0):
                raise ModelError(
                    f"config.json and the weights do not belong together: the weights have {key}, but by the config "
                    f"{layer[0]} has {layer[2]} blocks"
                )
        unused.append(key)
    return unused


def _beyond(name: str, modules: dict[str, nn.Module]) -> tuple[str, int, int] | None:
    """(list, index, length) if a tensor's name has an index in a list of the model."""
    match = _INDEXED.match(name)
    while match:
        path = (match[1] or "").rstrip(".")
        blocks = modules.get(path)
        if isinstance(blocks, nn.ModuleList):
            return path, int(match[2]), len(blocks)
        match = _INDEXED.match(path + ".")
    return None
