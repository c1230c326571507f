"""What a row says: its text and, if it is a chat, its messages; under the policies for what cannot be a document."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from configs.download import ChatRole, DatasetOptions
from sae.formats.dataset import DatasetError, Message
from sae.formats.long_text import LongText, Text, is_unicode, out_of_memory, utf8_bytes
from sae.quoting import quoted
from sae.text.chat_messages import BETWEEN, ChatError, plain_text, read_chat, read_variables, unread_keys
from sae.text.column_paths import MISSING, root_of, value_at
from sae.text.document_limits import cut_text, is_longer, replace_invalid, valid_text, wrong_character
from sae.text.html import strip_html
from sae.text.readers import SourceRow
from sae.text.readers.column_checks import columns_of_row, kind_of, missing_column, not_text
from sae.text.row_shapes import ChatShape, RowShape, TemplateShape, TextShape, find_shape, shape_paths

_PAIR: tuple[tuple[ChatRole, str], ...] = (("user", "prompt_column"), ("assistant", "response_column"))


class Content(NamedTuple):
    """The text of a row, and its messages if it is a chat."""

    text: Text
    messages: tuple[Message, ...] | None = None
    template_variables: str | None = None


@dataclass
class ContentCounts:
    """Rows without text; rows that were no valid Unicode; rows above the largest size; nulls inside templates.

    `malformed`: rows whose chat could not be read; `first_malformed` says why of the first.
    """

    empty: int = 0
    invalid: int = 0
    long: int = 0
    nulls: int = 0
    malformed: int = 0
    first_malformed: str = ""

    def add(self, later: ContentCounts) -> None:
        """Takes the counts of rows behind these."""
        self.empty += later.empty
        self.invalid += later.invalid
        self.long += later.long
        self.nulls += later.nulls
        self.malformed += later.malformed
        self.first_malformed = self.first_malformed or later.first_malformed


class _MalformedChatError(Exception):
    """A chat that cannot be read: where, and why."""


class RowContent:
    """Reads what rows say, by the shape that their columns have. Not for rows of two sources.

    `shape`: what rows before these have said; None finds it.
    """

    def __init__(self, options: DatasetOptions, shape: RowShape | None = None) -> None:
        self.options = options
        self.counts = ContentCounts()
        self.shape = shape
        self.unread: set[str] = set()  # keys of messages that are not kept
        self._paths: tuple[str, ...] = shape_paths(shape) if shape is not None else ()
        self._undecided: tuple[str, SourceRow] | None = None

    def of_row(self, file: str, row: SourceRow) -> Content | None:
        """The content of a row; None if it is no document. Raises DatasetError."""
        if self.shape is None:
            columns = row.columns or columns_of_row(row.values)
            self.shape = find_shape(file, row.where, columns, self.options)
            self._paths = shape_paths(self.shape) if self.shape is not None else ()
        match self.shape:
            case None:
                self._undecided = self._undecided or (file, row)
                content = None
            case TextShape():
                content = self._text(file, row, self.shape.path)
            case TemplateShape():
                content = self._joined(file, _in_memory(row), self.shape)
            case ChatShape():
                try:
                    content = self._chat(file, _in_memory(row), self.shape)
                except _MalformedChatError as error:
                    if self.options.malformed_chats == "error":
                        raise DatasetError(f"{error}; or set dataset.malformed_chats to skip") from None
                    self.counts.malformed += 1
                    self.counts.first_malformed = self.counts.first_malformed or str(error)
                    return None
        if content is None or not _has_text(content):
            self.counts.empty += 1
            return None
        content = self._valid(file, row, content)
        content = None if content is None else self._short(file, row, content)
        if content is None or content.messages is not None:
            return content
        return content._replace(text=out_of_memory(content.text))

    def used_columns(self, row: SourceRow) -> Collection[str]:
        """The columns of a row that its content is made of."""
        if isinstance(self.shape, ChatShape):
            options = (self.options.tools_column, self.options.template_variables_column)
            others = (path for path in options if path is not None and value_at(row.values, path) is not MISSING)
            return {root_of(path, row.values) for path in (*self._paths, *others)}
        if all(path in row.values for path in self._paths):
            return self._paths  # no path into nested values: most sources
        return {root_of(path, row.values) for path in self._paths}

    def check_shape(self) -> None:
        """Raises DatasetError if there were rows, and none of them said what documents are made of."""
        if self.shape is None and self._undecided is not None:
            file, row = self._undecided
            kinds = (row.columns or columns_of_row(row.values)).kinds
            raise missing_column(file, row.where, self.options.text_column, kinds)

    def _text(self, file: str, row: SourceRow, path: str) -> Content | None:
        text = self._value(file, row, path, "text_column")
        if text is None:
            return None
        if type(text) is not str and type(text) is not LongText:
            raise not_text(file, row.where, path, kind_of(text))
        return Content(self._plain(text))

    def _joined(self, file: str, row: SourceRow, shape: TemplateShape) -> Content:
        """The columns joined by the template. Empty if all of them are, whatever the template writes between them."""
        texts, any_text = list[str](), False
        for before, path in shape.parts:
            value = self._value(file, row, path, "text_template") if path is not None else ""
            if isinstance(value, bytes | list | dict):
                raise DatasetError(
                    f"{file}: column {quoted(path)} of {row.where} holds {kind_of(value)}, which dataset.text_template "
                    "cannot join: name a plain value, by a path such as a.b[0].c"
                )
            self.counts.nulls += value is None
            text = "" if value is None else str(value)
            any_text = any_text or bool(text.strip())
            texts += [before, str(self._plain(text))]
        return Content("".join(texts) if any_text else "")

    def _chat(self, file: str, row: SourceRow, shape: ChatShape) -> Content:
        messages: list[Message] = []
        sides = _PAIR if len(shape.paths) == len(_PAIR) else ((None, "chat_column"),)
        for path, (speaker, option) in zip(shape.paths, sides, strict=True):
            value = self._value(file, row, path, option)
            try:
                messages += read_chat(value, self.options.chat_roles, speaker)
            except ChatError as error:
                raise _MalformedChatError(f"{file}: column {quoted(path)} of {row.where}: {error}") from None
            self.unread |= {replace_invalid(f"{path}[].{key}") for key in unread_keys(value)}
        if self.options.strip_html:
            messages = [_without_html(message) for message in messages]
        return _as_content(messages)._replace(template_variables=self._variables(file, row))

    def _variables(self, file: str, row: SourceRow) -> str | None:
        columns = (self.options.tools_column, self.options.template_variables_column)
        tools, others = (None if path is None else value_at(row.values, path) for path in columns)
        try:
            return read_variables(None if tools is MISSING else tools, None if others is MISSING else others)
        except ChatError as error:
            raise _MalformedChatError(f"{file}: {row.where}: {error}") from None

    def _value(self, file: str, row: SourceRow, path: str, option: str) -> Any:
        value = value_at(row.values, path)
        if value is MISSING:
            raise missing_column(file, row.where, path, columns_of_row(row.values).kinds, option)
        return value

    def _plain(self, text: Text) -> Text:
        return strip_html(str(text)) if self.options.strip_html and self.options.documents != "sections" else text

    def _valid(self, file: str, row: SourceRow, content: Content) -> Content | None:
        if is_unicode(content.text):
            return content
        if self.options.invalid_text == "error":
            raise DatasetError(
                f"{file}: {row.where}: {wrong_character(content.text)}; convert the file to UTF-8, or set "
                "dataset.invalid_text to skip or replace"
            )
        self.counts.invalid += 1
        if self.options.invalid_text == "skip":
            return None
        if content.messages is None:
            return Content(valid_text(content.text))
        fields = (message._asdict().items() for message in content.messages)
        messages = [Message(**{k: v and replace_invalid(v) for k, v in one}) for one in fields]
        return _as_content(messages)._replace(template_variables=content.template_variables)

    def _short(self, file: str, row: SourceRow, content: Content) -> Content | None:
        most = self.options.max_document_bytes
        if not is_longer(content.text, most):
            return content
        if self.options.long_documents == "error":
            raise DatasetError(
                f"{file}: {row.where}: the document has {utf8_bytes(content.text):,} bytes or more, above "
                f"dataset.max_document_bytes ({most:,}): raise that, or set dataset.long_documents to skip or cut"
            )
        self.counts.long += 1
        if self.options.long_documents == "skip":
            return None
        cut = Content(cut_text(content.text, most)) if content.messages is None else _cut_chat(content.messages, most)
        cut = cut._replace(template_variables=content.template_variables)
        return cut if _has_text(cut) else None


def _in_memory(row: SourceRow) -> SourceRow:
    """The row with long texts as strings, for what reads them as a whole."""
    if not any(isinstance(value, LongText) for value in row.values.values()):
        return row
    return row._replace(
        values={key: str(value) if isinstance(value, LongText) else value for key, value in row.values.items()}
    )


def _has_text(content: Content) -> bool:
    return bool(content.text) and not content.text.isspace()


def _as_content(messages: Sequence[Message]) -> Content:
    return Content(plain_text(messages), tuple(messages))


def _without_html(message: Message) -> Message:
    thinking = message.thinking
    return message._replace(
        content=strip_html(message.content), thinking=None if thinking is None else strip_html(thinking)
    )


def _cut_chat(messages: Sequence[Message], most: int) -> Content:
    """The first messages whose plain text has `most` bytes or less; none if the first alone has more."""
    total = 0
    for number, message in enumerate(messages):
        size = len(plain_text([message]).encode())
        total += size + (len(BETWEEN) if total and size else 0)
        if total > most:
            return _as_content(messages[:number])
    return _as_content(messages)
