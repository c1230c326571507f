"""Chats rendered by a tokenizer's chat template, with the role of each character of the text."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import jinja2

from sae.formats.dataset import Message
from sae.quoting import shortened
from sae.text.chat_environment import ChatEnvironment
from sae.text.chat_messages import ChatError
from sae.text.chat_traced_text import TEXT_ROLES, TextRole, TracedText, UntraceableError, joined, plain_copy, roles_of
from sae.text.chat_traced_values import has_bare_values, trace

_FAILS = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)

_TRIES = 2  # a template may write the time, and a minute may end between two renderings


class ChatTokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    special_tokens_map: dict[str, Any]

    def get_chat_template(self, chat_template: str | None = None, tools: list[Any] | None = None) -> str: ...
    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any: ...


THINKING_TAGS = ("<think>", "</think>")


class RoleSpan(NamedTuple):
    """Characters [start, stop) of a rendered chat, all of one role."""

    start: int
    stop: int
    role: TextRole


class RenderedChat(NamedTuple):
    """A chat as the model reads it. `spans` cover the whole text in its order; neighbours differ in role."""

    text: str
    spans: tuple[RoleSpan, ...]


def render_chat(
    tokenizer: ChatTokenizer,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    variables: Mapping[str, Any] | None = None,
    on_date: date | None = None,
    add_generation_prompt: bool = False,
    thinking_tags: tuple[str, str] | None = THINKING_TAGS,
) -> RenderedChat:
    """Renders messages by the tokenizer's chat template, and says who wrote which character.

    Roles: `system`, `user`, `assistant` (its tool calls too), `tool` (its answers, and the definitions in `tools`),
    `thinking` (of the assistant: apart from its answer, or in its content between `thinking_tags`, tags included), and
    `template` for all that the template itself writes. `variables` are given to the template, beside the tokenizer's
    special tokens; `on_date` is what a template that writes today's date writes instead. But for that date the text is the
    one of `tokenizer.apply_chat_template`.

    Raises ChatError if the tokenizer has no chat template or the template refuses the messages, and UntraceableError,
    a ChatError, if it treats them in a way after which roles could only be guessed.
    """
    plain = [_template_message(message) for message in messages]
    definitions = [dict(tool) for tool in tools] or None
    if taken := sorted(_taken_names() & set(variables or ())):
        raise ChatError(f"a template variable must not be named {taken[0]!r}: it is an option of the rendering itself")
    options = {**(variables or {}), "add_generation_prompt": add_generation_prompt}
    try:
        source = tokenizer.get_chat_template(None, definitions)
    except _FAILS as error:
        raise ChatError(f"the tokenizer has no chat template to use: {_reason(error)}") from None
    values = {
        **tokenizer.special_tokens_map,
        **options,
        "messages": [_traced_message(message, thinking_tags) for message in plain],
        "tools": trace(definitions, "tool"),
        "documents": None,
    }
    bare_values = has_bare_values([[message.get("tool_calls", []) for message in plain], definitions or []])
    for _ in range(_TRIES):
        expected = _transformers_text(tokenizer, plain, definitions, options)
        text, has_time = _render(source, bare_values, None if on_date is None else datetime.now(), values)
        if text == expected:
            break
    else:
        raise UntraceableError("the chat template cannot be followed: it gives another text when it is traced")
    if on_date is not None and has_time:
        text, _ = _render(source, bare_values, datetime.combine(on_date, time()), values)
    return RenderedChat(plain_copy(text), spans_of(roles_of(text)))


@lru_cache(maxsize=1)
def _taken_names() -> frozenset[str]:
    """Names that a template variable cannot have, for transformers' own options have them."""
    from transformers import PreTrainedTokenizerBase

    return frozenset(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters) | {"messages"}


def _transformers_text(
    tokenizer: ChatTokenizer, messages: list[dict[str, Any]], tools: list[Any] | None, options: Mapping[str, Any]
) -> str:
    try:
        text: str = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **options)
    except _FAILS as error:
        raise ChatError(f"the chat template does not take this chat: {_reason(error)}") from None
    return text


def _render(source: str, bare_values: bool, now: datetime | None, values: Mapping[str, Any]) -> tuple[str, bool]:
    """The text with its roles, and whether the time `now` is in it."""
    environment, template = _compiled(source)
    try:
        with environment.lock:
            environment.bare_values, environment.now, environment.wrote_time = bare_values, now, False
            return template.render(**values), environment.wrote_time
    except UntraceableError as error:
        raise UntraceableError(f"the chat template cannot be followed: {error}") from None
    except _FAILS as error:
        raise UntraceableError(f"the chat template cannot be followed: {_reason(error)}") from None


@lru_cache(maxsize=16)
def _compiled(source: str) -> tuple[ChatEnvironment, jinja2.Template]:
    environment = ChatEnvironment()
    return environment, environment.from_string(source)


def _template_message(message: Message) -> dict[str, Any]:
    """A message as templates take it: only what it has."""
    calls = None
    if message.tool_calls is not None:
        try:
            calls = json.loads(message.tool_calls)
        except ValueError as error:
            raise ChatError(f"tool calls are not JSON ({error}): {shortened(message.tool_calls)}") from None
    values = {
        "role": message.role,
        "content": message.content,
        "reasoning_content": message.thinking,
        "tool_calls": calls,
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }
    return {key: value for key, value in values.items() if value is not None}


def _traced_message(message: Mapping[str, Any], tags: tuple[str, str] | None) -> dict[str, Any]:
    role: TextRole = message["role"]
    traced = {key: value if key == "role" else trace(value, role) for key, value in message.items()}
    if role == "assistant" and tags is not None:
        traced["content"] = with_thinking(message["content"], tags)
    if "reasoning_content" in message:
        thinking = trace(message["reasoning_content"], "thinking")
        traced = {"thinking": thinking, **traced, "reasoning_content": thinking}  # transformers gives it both names
    return traced


def with_thinking(content: str, tags: tuple[str, str]) -> TracedText:
    """An assistant's content with what stands between tags as thinking; tags may be open at its beginning and end."""
    start, end = map(re.escape, tags)
    pattern = rf"(?s)\A(?:(?!{start}).)*?{end}|{start}.*?(?:{end}|\Z)"
    parts, position = [], 0
    for found in re.finditer(pattern, content):
        parts += [trace(content[position : found.start()], "assistant"), trace(found[0], "thinking")]
        position = found.end()
    return joined([*parts, trace(content[position:], "assistant")])


def spans_of(roles: bytes) -> tuple[RoleSpan, ...]:
    """Stretches of equal roles, from the role of each character."""
    spans, start = [], 0
    for code, run in groupby(roles):
        stop = start + sum(1 for _ in run)
        spans.append(RoleSpan(start, stop, TEXT_ROLES[code]))
        start = stop
    return tuple(spans)


def _reason(error: BaseException) -> str:
    return shortened(str(error) or type(error).__name__, 200)
