"""Which files of a source are taken: by glob patterns, or by what the kind needs."""

from __future__ import annotations

import re
from collections.abc import Sequence

_COMPRESSED = (".gz", ".bz2", ".zst")
_DATA = ("parquet", "jsonl", "json", "csv", "txt")
_PIECE = re.compile(r"\*\*/|\*\*|\*|.", re.DOTALL)
_METADATA = re.compile(
    r"(^|/)(dataset_infos?|dataset_dict|state|package|config)\.json$|(^|/)(readme|licen[cs]e)[^/]*$",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|preprocessor_config|"
    r".*\.safetensors\.index)\.json$|^.*\.safetensors$|^(merges|vocab)\.txt$|^.*\.(model|jinja|tiktoken)$"
)


class SourceError(ValueError):
    """A source that cannot be used; the message says what is wrong with it and what would be right."""


class SourceUnreachable(SourceError):
    """A source that did not answer. It may, in a while."""


def format_of(name: str) -> str | None:
    """parquet, jsonl, json, csv or txt by the name's ending, compressed or not; None for other files."""
    lowered = name.lower()
    for suffix in _COMPRESSED:
        lowered = lowered.removesuffix(suffix)
    ending = lowered.rpartition(".")[2]
    ending = {"ndjson": "jsonl", "text": "txt"}.get(ending, ending)
    return ending if ending in _DATA else None


def select_files(names: Sequence[str], patterns: Sequence[str], what: str, where: str) -> list[str]:
    """The names to take, sorted.

    In a pattern `*` stays within a folder and `**/` crosses folders; one without `/` is for files of any folder.
    Without patterns a dataset takes its data files (of the first format there is: Parquet, JSON Lines, JSON, CSV, text)
    and a model its safetensors, config and tokenizer, or its only GGUF file. Raises SourceError if nothing is left.
    """
    seen = sorted(name for name in names if not any(part.startswith((".", "__pycache__")) for part in name.split("/")))
    if patterns:
        found = {pattern: [name for name in seen if matches(name, pattern)] for pattern in patterns}
        if missing := [pattern for pattern, names in found.items() if not names]:
            raise SourceError(f"no file of {where} matches {', '.join(missing)}; there are {_some(seen)}")
        return sorted(set().union(*found.values()))
    taken = _data_files(seen) if what == "dataset" else _model_files(seen, where)
    if not taken:
        wanted = (
            "data files (.parquet, .jsonl, .json, .csv, .txt)" if what == "dataset" else "model (safetensors or GGUF)"
        )
        raise SourceError(f"{where} has no {wanted}; there are {_some(seen)}")
    return taken


def _data_files(names: Sequence[str]) -> list[str]:
    data = [name for name in names if not _METADATA.search(name)]
    for wanted in _DATA:
        taken = [name for name in data if format_of(name) == wanted]
        if taken:
            return taken
    return []


def _model_files(names: Sequence[str], where: str) -> list[str]:
    if any(name.endswith(".safetensors") for name in names if "/" not in name):
        return [name for name in names if _MODEL.match(name) and "/" not in name]
    gguf = [name for name in names if name.lower().endswith(".gguf")]
    if len(gguf) > 1:
        raise SourceError(f"{where} has {len(gguf)} GGUF files: name one in `source.files`; there are {_some(gguf)}")
    return gguf


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a glob pattern, in time that grows with the product of their lengths.

    A regular expression would try all ways to share a name among the stars: hours for a pattern that means no good.
    """
    if "/" not in pattern:
        name = name.rpartition("/")[2]
    ends = {0}  # where in the name what was read of the pattern can end
    for piece in _PIECE.findall(pattern):
        ends = _after(name, piece, ends)
        if not ends:
            return False
    return len(name) in ends


def _after(name: str, piece: str, ends: set[int]) -> set[int]:
    if piece == "**":
        return set(range(min(ends), len(name) + 1))
    if piece == "**/":
        return ends | {i + 1 for i in range(min(ends), len(name)) if name[i] == "/"}
    if piece == "*":
        reached = set(ends)
        for i, character in enumerate(name):
            if i in reached and character != "/":
                reached.add(i + 1)
        return reached
    return {i + 1 for i in ends if i < len(name) and (name[i] == piece or (piece == "?" and name[i] != "/"))}


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return (shown + (f" and {len(names) - most} more" if len(names) > most else "")) or "no files"
