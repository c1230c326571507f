"""What can be said of a model without its weights: its tokenizer, for processes without transformers, and its hooks.

python -m sae.language_model.model_summary FOLDER     prints it as one JSON object
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch

from sae.language_model.errors import ModelError
from sae.language_model.hook_capture import parse, tl_name
from sae.language_model.loading import causal_lm_class, load_tokenizer, quiet, read_config
from sae.language_model.model import LanguageModel


def summarise(directory: Path) -> dict[str, Any]:
    """{"tokenizer": as sae.text.preview.StoredTokenizer takes it, "embeddings": int | None, "hooks": [...], "why": str}.

    `directory` needs config and tokenizer only. `hooks` is empty if they cannot be told without the weights; `why`
    says why then. Raises ModelError if the tokenizer or the config cannot be read.
    """
    config = read_config(directory)
    try:
        hooks, why = hook_names(config, directory), ""
    except (ModelError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, IndexError) as error:
        hooks, why = [], f"{type(error).__name__}: {error}".splitlines()[0]
    tokenizer = load_tokenizer(directory)
    return {
        "tokenizer": {
            "encoder": str(tokenizer.backend_tokenizer.to_str()),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "all_special_ids": sorted(set(tokenizer.all_special_ids)),
            "length": len(tokenizer),
        },
        "embeddings": getattr(config.get_text_config(), "vocab_size", None),
        "hooks": hooks,
        "why": why,
    }


def hook_names(config: Any, directory: Path) -> list[str]:
    """Stored names of all hook points, from a model of one block with random weights. Raises ModelError.

    A model's blocks have one layout, so the first one shows those of all. The vocabulary is cut: it has no hooks.
    """
    layers = int(config.get_text_config().num_hidden_layers)
    small = copy.deepcopy(config)
    text = small.get_text_config()
    text.num_hidden_layers, text.vocab_size = 1, 8
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:1]
    model_class = causal_lm_class(config, directory)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        names = LanguageModel(model_class(small).float()).hook_names()
    first = [found for name in names if (found := parse(name)) is not None]
    kinds = [kind for _, kind in first]
    return [tl_name(n, kind) for n in range(layers) for kind in kinds if kind != "resid_pre" or n == 0]


if __name__ == "__main__":
    print(json.dumps(summarise(Path(sys.argv[1]))))
