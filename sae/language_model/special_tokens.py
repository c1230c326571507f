"""Finds BOS and EOS of a tokenizer whose folder does not name them: of many models only tokenizer.json is passed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_NAMING_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_USUAL = {
    "bos_token": ("<|begin_of_text|>", "<|begin▁of▁sentence|>", "<|startoftext|>", "<bos>", "<s>", "[BOS]"),
    "eos_token": ("<|end_of_text|>", "<|end▁of▁sentence|>", "<|endoftext|>", "<eos>", "</s>", "[EOS]"),
}


def name_special_tokens(tokenizer: Any, directory: Path) -> None:
    """Sets `bos_token` and `eos_token` of a fast tokenizer where no file of its folder says what they are.

    They are the special tokens of tokenizer.json that config.json gives by id, else those with a usual name. A file
    that names them, or says that there is none (null), is believed.
    """
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special = {id: token.content for id, token in added.items() if token.special}
    declared: set[str] = set().union(*(_read(directory / name) for name in _NAMING_FILES))
    config = _read(directory / "config.json")
    ids = {**(config.get("text_config") or {}), **config}
    for key, usual in _USUAL.items():
        if key not in declared:
            id = ids.get(f"{key}_id")
            named = special.get((id or [None])[0] if isinstance(id, list) else id)
            found = named or next((name for name in usual if name in special.values()), None)
            if found is not None:
                setattr(tokenizer, key, found)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
