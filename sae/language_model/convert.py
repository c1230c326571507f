"""Converts a model once into the form that the store keeps: safetensors, config and fast tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae.language_model.errors import ModelError
from sae.language_model.loading import (
    causal_lm_class,
    check_weights,
    first_line,
    load_tokenizer,
    max_positions,
    quiet,
    read_config,
)

_FLOATS = ("F64", "F32", "F16", "BF16")
_QUANTISED_NAMES = ("weight", "weight_packed", "_blocks")  # what quantisation stores; a mask may hold integers
_COPIED = ("generation_config.json",)
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def convert_model(source: Path, destination: Path) -> dict[str, Any]:
    """Writes model.safetensors, config.json and the tokenizer into `destination` (made if need be).

    `source` is a Hugging Face folder with safetensors weights, or a GGUF file (or a folder with just one). Weights of a
    folder are copied as they are, a file at a time; a GGUF file is dequantized to float32 (peak memory: about twice
    the float32 model). Equal sources give equal bytes. No code of the model's own is run and no pickle is read.

    Returns {"source", "architecture", "model_type", "n_layers", "d_model", "vocab_size", "context_length",
    "parameters", "dtype", "tied_embeddings"}. Raises ModelError.
    """
    source, destination = Path(source), Path(destination)
    if not source.exists():
        raise ModelError(f"there is no model at {source}")
    destination.mkdir(parents=True, exist_ok=True)
    gguf = _gguf_file(source)
    if gguf is not None:
        _convert_gguf(gguf, destination)
    elif source.is_dir():
        _copy_folder(source, destination)
    else:
        raise ModelError(f"{source} is neither a Hugging Face folder nor a .gguf file")
    return _describe(destination, "gguf" if gguf is not None else "huggingface")


def _gguf_file(source: Path) -> Path | None:
    if source.is_file():
        return source if source.suffix == ".gguf" else None
    files = sorted(source.glob("*.gguf"))
    if not files or (source / "config.json").is_file():
        return None
    if len(files) > 1:
        raise ModelError(f"{source} holds {len(files)} GGUF files: name one, for example {files[0].name}")
    return files[0]


def _copy_folder(source: Path, destination: Path) -> None:
    causal_lm_class(read_config(source), source)
    weights = check_weights(source)
    _check_floats(source, weights)
    for path in weights:
        _copy(path, destination)
    if weights[0].name != "model.safetensors":
        _copy(source / "model.safetensors.index.json", destination)
    for name in ("config.json", *_COPIED):
        if (source / name).is_file():
            _copy(source / name, destination)
    if (source / "tokenizer.json").is_file():
        for name in _TOKENIZER_FILES:
            if (source / name).is_file():
                _copy(source / name, destination)
        load_tokenizer(destination)
    else:
        with quiet():
            load_tokenizer(source).save_pretrained(destination)


def _check_floats(source: Path, weights: list[Path]) -> None:
    """Raises ModelError if a weight is stored as integers or 8-bit floats: its values mean nothing without more."""
    for path in weights:
        for name, (dtype, _) in _tensors(path).items():
            if dtype not in _FLOATS and name.endswith(_QUANTISED_NAMES):
                config = json.loads((source / "config.json").read_text(encoding="utf-8"))
                method = (config.get("quantization_config") or {}).get("quant_method")
                raise ModelError(
                    f"{source} is quantised{f' with {method}' if method else ''}: {name} is stored as {dtype}. Convert "
                    "the model to float first"
                )


def _copy(path: Path, folder: Path) -> None:
    # Contents only: the source's permissions and times are no part of the artifact.
    shutil.copyfile(path, folder / path.name)


def _convert_gguf(path: Path, destination: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file")
    arguments: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        with quiet(), _no_gguf_bar():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, **arguments)
            model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **arguments)
    except (ValueError, OSError, ImportError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path} cannot be converted: {first_line(error)}") from error
    config = model.config
    # Without this transformers takes the float32 weights for quantized ones; save_pretrained refuses for that reason.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    config.save_pretrained(destination)
    save_file(_untied(model.state_dict()), destination / "model.safetensors", metadata={"format": "pt"})
    (destination / "model.safetensors").chmod(0o644)
    with quiet():
        tokenizer.save_pretrained(destination)


@contextmanager
def _no_gguf_bar() -> Iterator[None]:
    """Takes away the one progress bar of transformers that its logging settings do not reach."""
    from transformers import modeling_gguf_pytorch_utils as module

    bar = module.tqdm
    module.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        module.tqdm = bar


def _untied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor once: of tied ones the first name stays, and loading ties them again."""
    seen: set[int] = set()
    kept: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    return kept


def _tensors(path: Path) -> dict[str, tuple[str, int]]:
    """Element type and number of elements of each tensor of a safetensors file. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as weights:
            pieces = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118 (not a dict)
            return {name: (str(one.get_dtype()), torch.Size(one.get_shape()).numel()) for name, one in pieces.items()}
    except SafetensorError as error:
        raise ModelError(f"the weights in {path.name} cannot be read: {first_line(error)}") from error


def _describe(directory: Path, source: str) -> dict[str, Any]:
    config = read_config(directory)
    text = config.get_text_config()
    tensors = [one for path in check_weights(directory) for one in _tensors(path).values()]
    architectures = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("architectures") or ["?"]
    return {
        "source": source,
        "architecture": str(architectures[0]),
        "model_type": str(config.model_type),
        "n_layers": getattr(text, "num_hidden_layers", None),
        "d_model": getattr(text, "hidden_size", None),
        "vocab_size": getattr(text, "vocab_size", None),
        "context_length": max_positions(text),
        "parameters": sum(elements for _, elements in tensors),
        "dtype": "+".join(sorted({dtype for dtype, _ in tensors})),
        "tied_embeddings": bool(getattr(text, "tie_word_embeddings", False)),
    }
