"""What is known of a model without its weights: its tokenizer, for processes without transformers, and its hooks.

python -m sae.language_model.model_summary FOLDER     prints it as one JSON object
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sae.language_model.errors import CannotRun, ModelError
from sae.language_model.loading import causal_lm_class, load_tokenizer, read_config, reason, text_config
from sae.language_model.model import LanguageModel
from sae.language_model.tiny_config import tiny_config, tiny_model


def summarise(directory: Path) -> dict[str, Any]:
    """{"tokenizer": as StoredTokenizer takes it, "embeddings": int | None, "hooks": [...], "why": str}.

    `directory` needs config and tokenizer only. `hooks` is empty if there are none, or if they are not known without the
    weights; `why` says which. Raises ModelError if the tokenizer or the config cannot be read.
    """
    config = read_config(directory)
    hooks, why = hook_names(config)
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
        "embeddings": getattr(text_config(config), "vocab_size", None),
        "hooks": hooks,
        "why": why,
    }


def hook_names(config: Any) -> tuple[list[str], str]:
    """Stored names of all hook points of a model with this config, or none and why. Raises nothing."""
    try:
        lm = _tiny(config)
    except ModelError as error:
        return [], str(error)
    names = lm.hook_names()
    return names, "" if names else lm.why_no_hooks()


def check_usable(config: Any) -> None:
    """Raises ModelError if no model with this config can be used, whatever its weights are.

    Tried with a tiny model of random weights. Where that cannot be made or run, nothing is known and nothing raised.
    """
    causal_lm_class(config)
    try:
        _tiny(config)
    except CannotRun:
        return


def _tiny(config: Any) -> LanguageModel:
    """A tiny model of this config. Raises ModelError, and CannotRun where the small widths may be the cause."""
    causal_lm_class(config)
    try:
        model = tiny_model(tiny_config(config))
    except Exception as error:
        raise CannotRun(f"not known before the weights are loaded ({reason(error)})") from error
    return LanguageModel(model)


if __name__ == "__main__":
    print(json.dumps(summarise(Path(sys.argv[1]))))
