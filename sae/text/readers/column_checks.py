"""Columns of source files: their names, what they hold, and the errors for a column that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import count
from typing import Any, NamedTuple

import pyarrow as pa

from sae.formats.dataset import DatasetError
from sae.formats.long_text import LongText
from sae.quoting import quoted

CHAT = "chat messages"
NOTHING = "nothing"
EMPTY_LIST = "an empty list"
_TURNS = ({"role", "content"}, {"from", "value"})  # keys of one message, as OpenAI and ShareGPT write them
_DEPTH = 5  # of nested objects in which a text is looked for


class Columns(NamedTuple):
    """What the columns of a row or file hold, in words ("" for text): `kinds` by name, `nested` by path below them."""

    kinds: dict[str, str]
    nested: dict[str, str]


def columns_of_row(row: Mapping[str, Any]) -> Columns:
    """The columns of one row of JSON."""
    return Columns(
        {name: kind_of(value) for name, value in row.items()},
        {path: kind for name, value in row.items() for path, kind in _nested_values(name, value, _DEPTH)},
    )


def columns_of_schema(schema: pa.Schema) -> Columns:
    """The columns of a Parquet or Arrow file."""
    return Columns(
        {field.name: kind_of_type(field.type) for field in schema},
        {path: kind for field in schema for path, kind in _nested_types(field.name, field.type, _DEPTH)},
    )


def _nested_values(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            yield f"{path}.{key}", kind_of(inner)
            yield from _nested_values(f"{path}.{key}", inner, depth - 1)


def _nested_types(path: str, type_: pa.DataType, depth: int) -> Iterator[tuple[str, str]]:
    if pa.types.is_struct(type_) and depth:
        for field in type_:
            yield f"{path}.{field.name}", kind_of_type(field.type)
            yield from _nested_types(f"{path}.{field.name}", field.type, depth - 1)


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


def missing_column(
    file: str, where: str, column: str, kinds: Mapping[str, str], option: str = "text_column"
) -> DatasetError:
    """The error for a column or path that is not there; `option` is the one that names it."""
    advice = _suggestion(column, kinds) if option == "text_column" else f"; it is named by dataset.{option}"
    return DatasetError(f"{file}: {where} has no column {quoted(column)}; it has {_listed(kinds)}{advice}")


def several_columns(file: str, where: str, candidates: Sequence[str], what: str, option: str) -> DatasetError:
    """The error for a source in which several columns can be the one that is looked for."""
    shown = ", ".join(quoted(name, 40) for name in candidates[:6])
    more = f" and {len(candidates) - 6} more" if len(candidates) > 6 else ""
    return DatasetError(
        f"{file}: {where} has several columns that hold {what}: {shown}{more}; set dataset.{option} to one of them"
    )


def not_text(file: str, where: str, column: str, kind: str) -> DatasetError:
    """The error for a text column whose value is something else."""
    advice = (
        f"set dataset.chat_column to {quoted(column)}"
        if kind == CHAT
        else "set dataset.text_column to a column of text, or write the texts into one"
    )
    return DatasetError(f"{file}: column {quoted(column)} of {where} holds {kind}, not text; {advice}")


def kind_of(value: Any) -> str:
    """What a JSON value is, for messages; "" for text."""
    match value:
        case str():
            return "" if type(value) is str else "a number"
        case LongText():
            return ""
        case None:
            return NOTHING
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case []:
            return EMPTY_LIST
        case list():
            first = value[0]
            return CHAT if isinstance(first, dict) and any(keys <= first.keys() for keys in _TURNS) else "a list"
    return type(value).__name__


def kind_of_type(type_: pa.DataType) -> str:
    """What a column of an Arrow type holds, for messages; "" for text."""
    if pa.types.is_dictionary(type_):
        return kind_of_type(type_.value_type)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return ""
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        inner = type_.value_type
        names = {field.name for field in inner} if pa.types.is_struct(inner) else set()
        return CHAT if any(keys <= names for keys in _TURNS) else "a list"
    return NOTHING if pa.types.is_null(type_) else "an object" if pa.types.is_nested(type_) else f"{type_} values"


def _listed(kinds: Mapping[str, str], most: int = 6) -> str:
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
    if len(texts) > 1:
        return "; set dataset.text_column to the one that holds the text, or join several by dataset.text_template"
    return "; set dataset.text_column to the column that holds the text"
