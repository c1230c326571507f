"""JSON Lines (an object a line) and JSON (an array of objects, or one object)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from configs.download import DatasetOptions
from sae.text.column_paths import root_of
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.column_checks import CHAT, kind_of
from sae.text.readers.open_file import open_text

_LONGEST_FILE = 1 << 30  # characters of a .json file
_OTHER_COLUMNS = 16 << 20  # characters
_MOST_DIGITS = 4000  # of a whole number; Python refuses to read longer ones


class LongInteger(str):
    """A whole number of thousands of digits, kept as it is written. It is not text."""


def read_json_lines(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """A row for each line that is not blank."""
    with open_text(file) as lines:
        most = longest_row(options)
        for number, line in enumerate(iter(lambda: lines.readline(most + 1), ""), 1):
            if len(line) > most:
                raise ValueError(
                    f"line {number} is longer than {most:,} characters: no document of dataset.max_document_bytes "
                    f"({options.max_document_bytes:,}) needs so many"
                )
            if not line.isspace():
                where = f"line {number}"
                row = [SourceRow(where, _object(_line(line, number), where, _advice(line)))]
                del line  # which may be as long as its document
                yield row.pop()


def read_json(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """A row for each object of an array, or one for a single object. JSON Lines under this name are read too."""
    text = _whole(file)
    try:
        content = parse(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from read_json_lines(file, options)  # common on the hub
            return
        raise ValueError(_wrong(error) if text.strip() else "the file is empty, which is not JSON") from None
    except ValueError as error:
        raise ValueError(f"the file is no JSON that can be read: {error}") from None
    if isinstance(content, list):
        for number, value in enumerate(content, 1):
            yield SourceRow(f"row {number}", _object(value, f"row {number}"))
    else:
        yield SourceRow("row 1", _single(_object(content, "the file"), options))


def load_json(file: SourceFile) -> Any:
    """The whole content of a JSON file. Raises ValueError."""
    try:
        return parse(_whole(file))
    except json.JSONDecodeError as error:
        raise ValueError(_wrong(error)) from None


def longest_row(options: DatasetOptions) -> int:
    """Characters that JSON of one row may have: each of the largest document's written as an escape, and other columns."""
    return 6 * options.max_document_bytes + _OTHER_COLUMNS


def _whole(file: SourceFile) -> str:
    with open_text(file) as stream:
        text = stream.read(_LONGEST_FILE + 1)
    if len(text) > _LONGEST_FILE:
        raise ValueError(
            f"the file has more than {_LONGEST_FILE:,} characters, and JSON is read as a whole: write it as JSON Lines"
        )
    return text


def parse(text: str) -> Any:
    """Parses JSON. Raises JSONDecodeError, or ValueError if it is nested too deeply."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None


def _integer(digits: str) -> int | LongInteger:
    return int(digits) if len(digits) <= _MOST_DIGITS else LongInteger(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def _line(line: str, number: int) -> Any:
    try:
        return parse(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg}; {_advice(line)}") from None
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _advice(line: str) -> str:
    array = line.lstrip().startswith("[")
    return "a JSON array belongs in a .json file" if array else "each line must be one whole JSON object"


def _wrong(error: json.JSONDecodeError) -> str:
    return f"line {error.lineno}, column {error.colno}: {error.msg}"


def _object(value: Any, where: str, advice: str = "write each row as an object") -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object with columns, not {kind_of(value) or 'a string'}; {advice}")
    return value


def _single(row: Mapping[str, Any], options: DatasetOptions) -> Mapping[str, Any]:
    """A file's only object. Raises ValueError if rows seem to be inside it, or columns."""
    if isinstance(row.get(options.text_column), list) and all(isinstance(value, list) for value in row.values()):
        raise ValueError("the file is an object of columns; an array of objects is read: write it row by row")
    named = {root_of(path, row) for path in (options.text_column, options.chat_column or options.text_column)}
    rows = next((k for k, v in row.items() if isinstance(v, list) and v and isinstance(v[0], dict)), None)
    if rows is not None and not named & row.keys() and kind_of(row[rows]) != CHAT and options.text_template is None:
        raise ValueError(f"the file is one object, whose rows seem to be under {rows!r}: write that array alone")
    return row
