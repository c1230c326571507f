"""Chats written plainly, with the role of each character of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sae.formats.dataset import Message
from sae.text.chat_messages import BETWEEN, PlainPart, plain_parts
from sae.text.chat_template import THINKING_TAGS, RenderedChat, spans_of, with_thinking
from sae.text.chat_traced_text import TextRole, TracedText, joined, plain_copy, roles_of
from sae.text.chat_traced_values import trace


def render_plainly(messages: Sequence[Message]) -> RenderedChat:
    """The text of plain_text: labels and the lines between messages are the template's, thinking is found as by render_chat."""
    texts: list[str] = []
    for part in plain_parts(messages):
        texts += [BETWEEN if texts else "", part.label, _traced(part)]
    text = joined(texts)
    return RenderedChat(plain_copy(text), spans_of(roles_of(text)))


def _traced(part: PlainPart) -> TracedText:
    if part.role == "assistant" and not part.is_thinking:
        return with_thinking(part.text, THINKING_TAGS)
    text: TracedText = trace(part.text, "thinking" if part.is_thinking else cast(TextRole, part.role))
    return text
