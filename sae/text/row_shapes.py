"""What documents are made of: one column of text, columns joined by a template, or the messages of a chat.

A shape is found once for a source, by the columns of its first row or of its file's schema, and holds for all rows.
"""

from __future__ import annotations

from typing import NamedTuple

from configs.download import PROMPT_AND_RESPONSE, TEXT_COLUMN, DatasetOptions
from configs.text_templates import template_parts
from sae.formats.dataset import DatasetError
from sae.text.column_paths import root_of
from sae.text.readers.column_checks import CHAT, EMPTY_LIST, NOTHING, Columns, missing_column, not_text, several_columns

_FILE = "file"  # the column in which readers put a file's name: never the text, unless the options say so


class TextShape(NamedTuple):
    """A document is the text at `path`."""

    path: str


class TemplateShape(NamedTuple):
    """A document is made of `parts`: a text, and the path whose value comes behind it."""

    parts: tuple[tuple[str, str | None], ...]


class ChatShape(NamedTuple):
    """A document is a chat: the messages at one path, or a prompt and its response at two."""

    paths: tuple[str, ...]


RowShape = TextShape | TemplateShape | ChatShape


def shape_paths(shape: RowShape) -> tuple[str, ...]:
    """The paths that documents of a shape are made of."""
    match shape:
        case TextShape():
            return (shape.path,)
        case TemplateShape():
            return tuple(dict.fromkeys(path for _, path in shape.parts if path is not None))
    return shape.paths


def find_shape(file: str, where: str, columns: Columns, options: DatasetOptions) -> RowShape | None:
    """The shape of a source with these columns; None if they are all null or empty, so that nothing can be said yet.

    Raises DatasetError if a column that the options name is not there, if several can be the one, or if none can.
    """
    kinds = columns.kinds
    if options.text_template is not None:
        parts = template_parts(options.text_template)
        return _checked(file, where, columns, TemplateShape(parts), "text_template")
    if options.chat_column is not None:
        return _checked(file, where, columns, ChatShape((options.chat_column,)), "chat_column")
    if options.names_prompt_and_response():
        pair = ChatShape((options.prompt_column, options.response_column))
        return _checked(file, where, columns, pair, "prompt_column or dataset.response_column")
    if options.documents != "chats" and (options.text_column != TEXT_COLUMN or TEXT_COLUMN in kinds):
        shape = _checked(file, where, columns, TextShape(options.text_column), "text_column")
        kind = kinds.get(options.text_column, "")
        if kind not in ("", NOTHING):
            raise not_text(file, where, options.text_column, kind)
        return shape
    return _found_chat(file, where, columns, options) or _found_text(file, where, columns, options)


def found_note(shape: RowShape, options: DatasetOptions) -> str | None:
    """What a person should know about columns that the options did not name; None if they named them."""
    paths = " and ".join(f"`{path}`" for path in shape_paths(shape))
    if isinstance(shape, ChatShape) and options.chat_column is None and not options.names_prompt_and_response():
        return f"chats were read from {paths}: `messages` holds them, and the text is written plainly"
    if isinstance(shape, TextShape) and shape.path != options.text_column:
        return f"there is no column `{TEXT_COLUMN}`: the text was read from {paths}, the only column of text"
    return None


def _found_chat(file: str, where: str, columns: Columns, options: DatasetOptions) -> ChatShape | None:
    pair = PROMPT_AND_RESPONSE
    has_pair = all(name in columns.kinds for name in pair)
    for kinds in columns:
        # A prompt and its response may be lists of messages themselves.
        chats = [name for name, kind in kinds.items() if kind == CHAT and not (has_pair and name in pair)]
        if len(chats) > 1:
            raise several_columns(file, where, chats, CHAT, "chat_column")
        if chats:
            return ChatShape((chats[0],))
    if has_pair:
        return ChatShape(pair)
    if options.documents != "chats" or _undecided(columns):
        return None
    raise DatasetError(
        f"{file}: {where} has no column of chat messages, nor {pair[0]!r} with {pair[1]!r}; set dataset.chat_column, or "
        "dataset.prompt_column and dataset.response_column"
    )


def _found_text(file: str, where: str, columns: Columns, options: DatasetOptions) -> TextShape | None:
    if options.documents == "chats":
        return None
    columns = columns._replace(kinds={name: kind for name, kind in columns.kinds.items() if name != _FILE})
    for kinds in columns:
        texts = [name for name, kind in kinds.items() if not kind and name != options.split_column]
        if len(texts) > 1:
            raise missing_column(file, where, TEXT_COLUMN, kinds)
        if texts:
            return TextShape(texts[0])
    if _undecided(columns):
        return None
    raise missing_column(file, where, TEXT_COLUMN, columns.kinds)


def _undecided(columns: Columns) -> bool:
    """Whether a column without a value, or an empty list, may hold the text or the chat in other rows."""
    return any(kind in (NOTHING, EMPTY_LIST) for kinds in columns for kind in kinds.values())


def _checked(file: str, where: str, columns: Columns, shape: RowShape, option: str) -> RowShape:
    for path in shape_paths(shape):
        if root_of(path, columns.kinds) not in columns.kinds:
            raise missing_column(file, where, path, columns.kinds, option)
    return shape
