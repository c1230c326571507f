"""What a model on disk calls itself: read from a GGUF header or from config.json, without its weights and no torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

# Scalar types of GGUF metadata; 8 is a string and 9 an array.
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MAX_TEXT = 1 << 16
_MAX_LABEL = 100
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def model_label(path: Path, fallback: str) -> str:
    """A name that says which model `path` (a folder with config.json, or a GGUF file) is, at most 100 characters.

    A GGUF file: its basename, size and fine-tune ("gemma-2-2B-it"), or its name. A folder: the hub's name for it, else
    `fallback` with its type, depth and width ("checkpoint-500 (llama, 12 layers, d_model 768)"). `fallback` alone
    where nothing of this can be read; never raises.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                label = _gguf_label(_gguf_general(file))
        else:
            label = _config_label(json.loads((path / "config.json").read_text(encoding="utf-8")), fallback)
    except (OSError, ValueError, KeyError, struct.error, AttributeError, TypeError, RecursionError):
        label = ""
    return "".join(c for c in label if c.isprintable())[:_MAX_LABEL].strip() or fallback


def _gguf_label(general: dict[str, str]) -> str:
    if general.get("basename"):
        return "-".join(general[key] for key in ("basename", "size_label", "finetune") if general.get(key))
    return general.get("name") or " ".join(general[k] for k in ("architecture", "size_label") if general.get(k))


def _config_label(config: dict[str, Any], fallback: str) -> str:
    name = config.get("_name_or_path")
    if isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    text = config.get("text_config")
    values = {**config, **text} if isinstance(text, dict) else config
    depth = next((values[key] for key in _DEPTHS if isinstance(values.get(key), int)), None)
    width = next((values[key] for key in _WIDTHS if isinstance(values.get(key), int)), None)
    figures = [
        str(config["model_type"]),
        *([f"{depth} layers"] if depth else []),
        *([f"d_model {width}"] if width else []),
    ]
    return f"{fallback} ({', '.join(figures)})"


def _gguf_general(file: BinaryIO) -> dict[str, str]:
    """The strings under `general.` of a GGUF file, which stand before the tokenizer's long tables."""
    magic, version, _, pairs = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2:
        return {}
    found: dict[str, str] = {}
    for _ in range(min(pairs, 1000)):
        key = _string(file)
        if key.startswith("tokenizer."):
            break
        value = _value(file, *struct.unpack("<I", file.read(4)))
        if key.startswith("general.") and isinstance(value, str):
            found[key.removeprefix("general.")] = value
    return found


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _MAX_TEXT:
        raise ValueError("no GGUF metadata")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item, count = struct.unpack("<IQ", file.read(12))
        if count > _MAX_TEXT:
            raise ValueError("no GGUF metadata")
        return [_value(file, item) for _ in range(count)]
    if kind not in _SCALARS:
        raise ValueError("no GGUF metadata")
    return struct.unpack(f"<{_SCALARS[kind]}", file.read(struct.calcsize(_SCALARS[kind])))[0]
