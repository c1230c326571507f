"""The unembedding of a model's folder, without loading the model: it would be many times the size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sae.language_model.loading import causal_lm_class, load_causal_lm, quiet, read_config
from sae.language_model.model import LanguageModel
from sae.language_model.norms import is_norm, recognise
from sae.language_model.unembedding import Unembedding, fold
from sae.language_model.weights import weight_files

# Hooks with these names were proved to be the residual stream, or to be added to it, when they were found.
_ADDS_TO_RESIDUAL = re.compile(r"^blocks\.\d+\.hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)$")


def unembedding_of_folder(directory: Path, hook: str) -> Unembedding | str:
    """What directions at `hook` promote, on the CPU, or why that has no meaning; see LanguageModel.unembedding.

    Reads two tensors where the model has embeddings, blocks, one norm and an output matrix. With anything more, or other
    names in its files, it is loaded whole and run on a few tokens. Raises ModelError if it cannot be loaded then.
    """
    found = _from_tensors(directory) if _ADDS_TO_RESIDUAL.match(hook) else None
    if found is None:
        model = LanguageModel(load_causal_lm(directory, torch.float32))  # output matrices are never quantized
        return model.unembedding(model.hook(hook))
    return found


def _from_tensors(directory: Path) -> Unembedding | None:
    config = read_config(directory)
    with torch.device("meta"), quiet():
        model: Any = causal_lm_class(config)(config)
    head = model.get_output_embeddings()
    norm = _only_norm(model, head)
    if norm is None or type(head) is not nn.Linear:
        return None
    values = _read_tensors(directory, model, {"head": head.weight, **dict(norm.named_parameters())})
    if values is None:
        return None
    matrix = values.pop("head")
    for name, value in values.items():
        setattr(norm, name, nn.Parameter(value, requires_grad=False))
    x = torch.randn(4, matrix.shape[1], generator=torch.Generator().manual_seed(0))
    recognised = recognise(norm, x, norm(x))
    return None if recognised is None else fold(matrix, recognised)


def _only_norm(model: nn.Module, head: Any) -> nn.Module | None:
    """The norm of a model that has nothing else outside its lists of modules but embeddings and the output matrix."""
    lists = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList))
    outside = {
        name: module
        for name, module in model.named_modules()
        if not name.startswith(lists) and any(True for _ in module.parameters(recurse=False))
    }
    norms = [name for name, module in outside.items() if is_norm(module) and "emb" not in name]
    plain = all(module is head or isinstance(module, nn.Embedding) or name in norms for name, module in outside.items())
    return outside[norms[0]] if plain and len(norms) == 1 else None


def _read_tensors(directory: Path, model: Any, wanted: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Values, float32, of some parameters of the model; None if the files do not name them as the model does.

    A matrix may have another name, if it is the only one of its shape that the model does not name.
    """
    from safetensors import safe_open

    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    known = {name for group in names.values() for name in group}
    opened: Any = safe_open
    files = {key: file for path in weight_files(directory) for file in [opened(path, "pt")] for key in file.keys()}  # noqa: SIM118
    values = {}
    for role, parameter in wanted.items():
        keys = [name for name in names[id(parameter)] if name in files]
        if not keys and parameter.dim() == 2:
            shape = list(parameter.shape)
            keys = [key for key in files if key not in known and files[key].get_slice(key).get_shape() == shape]
        value = files[keys[0]].get_tensor(keys[0]) if len(keys) == 1 else None
        if value is None or value.shape != parameter.shape or not value.is_floating_point():
            return None
        values[role] = value.float()
    return values
