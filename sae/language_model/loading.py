"""Reads models and tokenizers from Hugging Face folders: safetensors only, no remote code, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sae.language_model.errors import ModelError
from sae.language_model.garbage_collection import collection_paused
from sae.language_model.quantization import loading_options, read_quantization
from sae.language_model.special_tokens import name_special_tokens
from sae.language_model.weights import check_float, check_unexpected, stored_tensors, weight_files

_TOKENIZERS = (
    "tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
NO_LIMIT = 2**31 - 1
_LIMIT_NAMES = (
    "max_position_embeddings", "n_positions", "max_target_positions", "max_seq_len", "seq_length", "model_max_length",
    "n_ctx",
)  # fmt: skip
_MAX_REASON = 250  # characters of somebody else's message


def max_positions(config: Any) -> int:
    """The longest row that a model takes, from its config; `NO_LIMIT` where the config states none."""
    for name in _LIMIT_NAMES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return NO_LIMIT


def text_config(config: Any) -> Any:
    """The part of a config that describes the language model: itself, unless it has parts for images or sound."""
    try:
        return config.get_text_config(decoder=True)
    except ValueError:  # more than one part could be meant
        return config


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' progress bars and notices off standard error for a while; errors still raise."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Whatever transformers or a file's reader raises becomes a ModelError that begins with `what`, with the reason."""
    try:
        with quiet():
            yield
    except (ModelError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What an exception says, in one line of at most 250 characters, with its type where that says more."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines[0] if lines else "")
    if not isinstance(error, (ValueError, OSError, RuntimeError, ImportError)) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:_MAX_REASON]


def read_config(directory: Path) -> Any:
    """The transformers config of a folder. Raises ModelError if there is none or it needs code of its own."""
    from transformers import AutoConfig

    path = directory / "config.json"
    if not path.is_file():
        raise ModelError("this is no language model: there is no config.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"config.json is not valid JSON: {reason(error)}") from error
    if not isinstance(content, dict):
        raise ModelError("config.json must hold one JSON object")
    if "auto_map" in content and "model_type" not in content:
        raise ModelError("the model needs its own code (trust_remote_code), which RayLens never runs")
    with refusing("config.json cannot be used"):
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)


def causal_lm_class(config: Any) -> Any:
    """transformers' class for a config. Raises ModelError if the model is no causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"the model is of type {config.model_type!r}, which is not a causal language model that transformers knows"
        )
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def load_causal_lm(directory: Path, dtype: torch.dtype) -> nn.Module:
    """The causal language model of a folder, on the CPU, its weights as they are stored.

    Raises ModelError if weights and config do not fit.
    """
    return _load(directory, dtype, {})[0]


def load_on_device(directory: Path, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The causal language model of a folder on a device, quantized if the folder says so. Raises ModelError."""
    quantization = read_quantization(directory)
    if quantization is None:
        return load_causal_lm(directory, dtype).to(device)
    return _load(directory, dtype, loading_options(quantization, dtype, device))[0]


def check_weights(directory: Path) -> list[str]:
    """Compares a folder's weights with its config, without reading their values.

    Returns the names of tensors that the model has no use for. Raises ModelError as `load_causal_lm` does.
    """
    return _load(directory, torch.float32, {"device_map": "meta"})[1]


@collection_paused()
def _load(directory: Path, dtype: torch.dtype, options: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    from transformers import AutoModelForCausalLM

    config = read_config(directory)
    model_class = causal_lm_class(config)
    tensors = stored_tensors(weight_files(directory))
    check_float(tensors, config)
    with refusing("the model cannot be loaded"):
        model, info = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            **options,
            # Models with capped attention scores (Gemma 2) have no sdpa form.
            attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    for name, stored, wanted in sorted(info["mismatched_keys"], key=str):
        raise ModelError(
            f"config.json and the weights do not belong together: {name} is {list(stored)} in the weights and "
            f"{list(wanted)} by the config"
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"the weights are incomplete: {len(missing)} tensors are missing, the first is {missing[0]}")
    loaded: nn.Module = model
    return loaded, check_unexpected(loaded, info["unexpected_keys"], tensors, text_config(config))


def load_tokenizer(directory: Path) -> Any:
    """The fast tokenizer of a folder (transformers' PreTrainedTokenizerFast). Raises ModelError if there is none."""
    from transformers import AutoTokenizer

    directory = Path(directory)
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise ModelError(f"there is no tokenizer: none of {', '.join(_TOKENIZERS)}")
    with refusing("the tokenizer cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(
            directory, use_fast=True, local_files_only=True, trust_remote_code=False
        )
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        raise ModelError(f"there is no tokenizer with a vocabulary: none of {', '.join(_TOKENIZERS)} has one")
    if not tokenizer.is_fast:
        raise ModelError("the tokenizer has no fast (tokenizer.json) form, which RayLens needs")
    name_special_tokens(tokenizer, directory)
    return tokenizer
