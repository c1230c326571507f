"""Which files of a source are taken: by glob patterns, or by what the kind needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from configs.text_formats import TEXT_FORMATS, format_ending, format_endings, format_titles, is_about_data
from sae.quoting import listed
from sae.text.splits import split_in_name

_PIECE = re.compile(r"\*\*/|\*\*|\*|.", re.DOTALL)
_MODEL = re.compile(
    r"^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|preprocessor_config|"
    r".*\.safetensors\.index)\.json$|^.*\.safetensors$|^(merges|vocab)\.txt$|^.*\.(model|jinja|tiktoken)$"
)


class SourceError(ValueError):
    """A source that cannot be used; the message says what is wrong with it and what would be right."""


class SourceUnreachable(SourceError):
    """A source that did not answer. It may, in a while."""


class Selection(NamedTuple):
    """The names to take, sorted, and what a person should know about those that are not."""

    names: list[str]
    notes: tuple[str, ...] = ()


def select_files(names: Sequence[str], patterns: Sequence[str], what: str, where: str) -> Selection:
    """Selects files of a source.

    In a pattern `*` stays within a folder and `**/` crosses folders; one without `/` is for files of any folder.
    Without patterns a dataset takes its data files (of the first format of configs/text_formats.py that there is) and a
    model its safetensors, config and tokenizer, or its only GGUF file. Raises SourceError if nothing is left.
    """
    seen = sorted(name for name in names if not any(part.startswith((".", "__pycache__")) for part in name.split("/")))
    if patterns:
        found = {pattern: [name for name in seen if matches(name, pattern)] for pattern in patterns}
        if missing := [pattern for pattern, names in found.items() if not names]:
            raise SourceError(f"no file of {where} matches {listed(missing)}; there are {listed(seen)}")
        return Selection(sorted(set().union(*found.values())))
    selection = _data_files(seen) if what == "dataset" else Selection(_model_files(seen, where))
    if not selection.names:
        wanted = f"data files ({format_endings()})" if what == "dataset" else "model (safetensors or GGUF)"
        raise SourceError(f"{where} has no {wanted}; there are {listed(seen)}")
    return selection


def _data_files(names: Sequence[str]) -> Selection:
    endings = {name: format_ending(name) for name in names if not is_about_data(name)}
    titles = {name: TEXT_FORMATS[ending].title for name, ending in endings.items() if ending is not None}
    if not titles:
        return Selection([])
    title = min(titles.values(), key=format_titles().index)
    others = [name for name, other in titles.items() if other != title]
    note = f"only files of the format {title} are taken; left out: {listed(others)} (name them in source.files)"
    return Selection([name for name in titles if titles[name] == title], (note,) if others else ())


def folders_with_splits(names: Sequence[str]) -> list[str]:
    """Top folders that each hold a train split of their own, by file names, if there are several: separate datasets."""
    inside = [name.split("/", 1) for name in names if "/" in name]
    folders = {
        folder for folder, rest in inside
        if split_in_name(folder) is None and any(split_in_name(part) == "train" for part in rest.split("/"))
    }  # fmt: skip
    return sorted(folders) if len(folders) > 1 else []


def _model_files(names: Sequence[str], where: str) -> list[str]:
    if any(name.endswith(".safetensors") for name in names if "/" not in name):
        return [name for name in names if _MODEL.match(name) and "/" not in name]
    gguf = [name for name in names if name.lower().endswith(".gguf")]
    if len(gguf) > 1:
        raise SourceError(f"{where} has {len(gguf)} GGUF files: name one in `source.files`; there are {listed(gguf)}")
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
