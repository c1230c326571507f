"""Columns of source files: their names, what they hold, and the errors for a text column that is not one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import count
from typing import Any

import pyarrow as pa

from sae.formats.dataset import DatasetError
from sae.quoting import quoted

CHAT = "chat messages"
_TURNS = ({"role", "content"}, {"from", "value"})  # keys of one message, as OpenAI and ShareGPT write them


def unique_names(names: Sequence[str]) -> list[str]:
    """Names without blanks and repetitions: the third, if it is blank, becomes `column_3`, a second `n` becomes `n_2`."""
    filled = [name if name.strip() else f"column_{i}" for i, name in enumerate(names, 1)]
    unique: list[str] = []
    taken = set(filled)
    for name in filled:
        if name in unique:
            name = next(other for i in count(2) if (other := f"{name}_{i}") not in taken)
            taken.add(name)
        unique.append(name)
    return unique


def check_text_column(file: str, where: str, column: str, kinds: Mapping[str, str]) -> None:
    """Raises DatasetError if `column` is not among `kinds`, which says what each column holds ("" for text)."""
    if column not in kinds:
        raise DatasetError(
            f"{file}: {where} has no column {quoted(column)}; it has {_columns(kinds)}{_suggestion(column, kinds)}"
        )


def not_text(file: str, where: str, column: str, kind: str) -> DatasetError:
    """The error for a text column whose value is something else."""
    advice = (
        "these are not read yet: write each conversation as one text into a column of its own"
        if kind == CHAT
        else "set dataset.text_column to a column of text, or write the texts into one"
    )
    return DatasetError(f"{file}: column {quoted(column)} of {where} holds {kind}, not text; {advice}")


def kind_of(value: Any) -> str:
    """What a JSON value is, for messages; "" for text."""
    match value:
        case str():
            return "" if type(value) is str else "a number"
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case list():
            first = value[0] if value else None
            return CHAT if isinstance(first, dict) and any(keys <= first.keys() for keys in _TURNS) else "a list"
    return type(value).__name__


def kind_of_type(type_: pa.DataType) -> str:
    """What a column of an Arrow type holds, for messages; "" for text."""
    if pa.types.is_dictionary(type_):
        return kind_of_type(type_.value_type)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return ""
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        inner = type_.value_type
        names = {field.name for field in inner} if pa.types.is_struct(inner) else set()
        return CHAT if any(keys <= names for keys in _TURNS) else "a list"
    return "nothing" if pa.types.is_null(type_) else "an object" if pa.types.is_nested(type_) else f"{type_} values"


def _columns(kinds: Mapping[str, str], most: int = 6) -> str:
    shown = [quoted(name, 40) + (f" ({kind})" if kind else "") for name, kind in list(kinds.items())[:most]]
    return ", ".join(shown) + (f" and {len(kinds) - most} more" if len(kinds) > most else "") or "none"


def _suggestion(column: str, kinds: Mapping[str, str]) -> str:
    texts = [name for name, kind in kinds.items() if not kind]
    same = [name for name in texts if name.strip().lower() == column.strip().lower()]
    near = same or get_close_matches(column, texts, 1) or (texts if len(texts) == 1 else [])
    if near:
        return f"; set dataset.text_column to {quoted(near[0])}" + (
            ", with its blanks" if near[0] != near[0].strip() else ""
        )
    if CHAT in kinds.values():
        return f"; {CHAT} are not read yet: write each conversation as one text into a column of its own"
    return "; set dataset.text_column to the column that holds the text"
