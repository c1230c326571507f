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
    check_weights,
    load_tokenizer,
    max_positions,
    quiet,
    read_config,
    refusing,
    text_config,
)
from sae.language_model.model_summary import check_usable
from sae.language_model.weights import INDEX, SINGLE, stored_tensors, weight_files

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
    "parameters", "dtype", "tied_embeddings", "unused_tensors"}; `unused_tensors` lists stored tensors that the model has
    no use for (such as heads for multi-token prediction). Raises ModelError for what cannot be used: quantised weights,
    weights that do not belong to the config, a model that is not causal, a LoRA adapter.
    """
    source, destination = Path(source), Path(destination)
    if not source.exists():
        raise ModelError(f"there is no file or folder {source}")
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
        raise ModelError(f"there are {len(files)} GGUF files: name one, for example {files[0].name}")
    return files[0]


def _copy_folder(source: Path, destination: Path) -> None:
    if adapter := next(
        (p.name for p in sorted(source.glob("adapter_*")) if p.suffix in (".json", ".safetensors")), None
    ):
        raise ModelError(
            f"the folder has a LoRA adapter ({adapter}), which RayLens does not apply: merge it into the model "
            "(merge_and_unload in peft), or take the folder of the base model alone"
        )
    check_usable(read_config(source))
    weights = weight_files(source)
    for path in weights:
        _copy(path, destination)
    if (source / INDEX).is_file() and weights[0].name != SINGLE:
        index = json.loads((source / INDEX).read_text(encoding="utf-8"))
        # transformers needs the key "metadata", which not every writer gives.
        (destination / INDEX).write_text(json.dumps({"metadata": {}, **index}), encoding="utf-8")
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


def _copy(path: Path, folder: Path) -> None:
    # Contents only: the source's permissions and times are no part of the artifact.
    shutil.copyfile(path, folder / path.name)


def _convert_gguf(path: Path, destination: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path.name} is not a GGUF file")
    arguments: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with refusing(f"{path.name} cannot be converted"), _no_gguf_bar():
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **arguments)
        model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **arguments)
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


def _describe(directory: Path, source: str) -> dict[str, Any]:
    config = read_config(directory)
    text = text_config(config)
    tensors = stored_tensors(weight_files(directory))
    architectures = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("architectures") or ["?"]
    return {
        "source": source,
        "architecture": str(architectures[0]),
        "model_type": str(config.model_type),
        "n_layers": _number(text, "decoder_layers", "num_decoder_layers", "num_hidden_layers"),
        "d_model": _number(text, "hidden_size", "d_model", "n_embd"),
        "vocab_size": _number(text, "vocab_size"),
        "context_length": max_positions(text),
        "parameters": sum(torch.Size(tensor.shape).numel() for tensor in tensors.values()),
        "dtype": "+".join(sorted({tensor.dtype for tensor in tensors.values()})),
        "tied_embeddings": bool(getattr(text, "tie_word_embeddings", False)),
        "unused_tensors": check_weights(directory),
    }


def _number(config: Any, *names: str) -> int | None:
    """The first of some fields of a config that is a number."""
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), None)
