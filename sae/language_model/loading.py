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
from sae.language_model.special_tokens import name_special_tokens

NO_LIMIT = 2**31 - 1
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_LIMIT_NAMES = (
    "max_position_embeddings", "n_positions", "max_target_positions", "max_seq_len", "seq_length", "model_max_length",
    "n_ctx",
)  # fmt: skip


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


def read_config(directory: Path) -> Any:
    """The transformers config of a folder. Raises ModelError if there is none or it needs code of its own."""
    from transformers import AutoConfig

    path = directory / "config.json"
    if not path.is_file():
        raise ModelError(f"{directory} holds no language model: there is no config.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if "auto_map" in content and "model_type" not in content:
        raise ModelError(f"the model in {directory} needs its own code (trust_remote_code), which RayLens never runs")
    try:
        with quiet():
            return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise ModelError(f"the config in {directory} cannot be used: {first_line(error)}") from error


def check_weights(directory: Path) -> list[Path]:
    """The safetensors files of a folder. Raises ModelError if the weights are missing or pickled."""
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    if single.is_file():
        return [single]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise ModelError(f"the weights in {directory} are incomplete: {', '.join(missing)} is missing")
        return [directory / name for name in names]
    pickled = sorted(p.name for p in directory.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickled:
        raise ModelError(
            f"the weights in {directory} are pickled ({pickled[0]}), and reading a pickle can run any code: "
            "convert them to model.safetensors first, for example with safetensors' own conversion tool"
        )
    raise ModelError(f"{directory} holds no weights: there is neither model.safetensors nor an index of its parts")


def causal_lm_class(config: Any, directory: Path) -> Any:
    """transformers' class for a config. Raises ModelError if the model is no causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{directory} holds a model of type {config.model_type!r}, which is not a causal language model that "
            "transformers knows"
        )
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def load_causal_lm(directory: Path, dtype: torch.dtype) -> nn.Module:
    """The causal language model of a folder, on the CPU. Raises ModelError if a weight is missing or does not fit."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    model_class = causal_lm_class(read_config(directory), directory)
    check_weights(directory)
    try:
        with quiet():
            model, info = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=dtype,
                # Models with capped attention scores (Gemma 2) have no sdpa form.
                attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the model in {directory} cannot be loaded: {first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights in {directory} are incomplete: {len(missing)} tensors are missing, the first is {missing[0]}"
        )
    loaded: nn.Module = model
    return loaded


def load_tokenizer(directory: Path) -> Any:
    """The fast tokenizer of a folder (transformers' PreTrainedTokenizerFast). Raises ModelError if there is none."""
    from transformers import AutoTokenizer

    directory = Path(directory)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                directory, use_fast=True, local_files_only=True, trust_remote_code=False
            )
    except (ValueError, OSError, ImportError, KeyError, TypeError) as error:
        if any((directory / name).is_file() for name in _TOKENIZERS):
            raise ModelError(f"{directory} holds no tokenizer that can be read: {first_line(error)}") from error
        raise _no_tokenizer(directory) from error
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        raise _no_tokenizer(directory)
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer in {directory} has no fast (tokenizer.json) form, which RayLens needs")
    name_special_tokens(tokenizer, directory)
    return tokenizer


def _no_tokenizer(directory: Path) -> ModelError:
    return ModelError(f"{directory} holds no tokenizer: there is none of {', '.join(_TOKENIZERS)}")


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
