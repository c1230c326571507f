"""Chats as datasets write them, to messages of one form: OpenAI's role and content, ShareGPT's from and value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from configs.download import ChatRole
from sae.formats.dataset import Message
from sae.quoting import listed, quoted, shortened
from sae.text.document_limits import replace_invalid
from sae.text.readers.column_checks import kind_of

# What a role is called elsewhere.
KNOWN_ROLES: Mapping[str, ChatRole] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "bing": "assistant", "bard": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool",
}  # fmt: skip
BETWEEN = "\n\n"  # two messages of a plain text
_THINKS = " (thinking)"
_ROLE, _CONTENT = ("role", "from"), ("content", "value")
_THINKING = ("reasoning_content", "thinking", "reasoning")
_KEPT = {*_ROLE, *_CONTENT, *_THINKING, "tool_calls", "function_call", "tool_call_id", "name"}


class ChatError(ValueError):
    """A chat that cannot be read or rendered; the message says which message of it, and what would be right."""


def read_chat(value: Any, roles: Mapping[str, ChatRole], default: ChatRole | None = None) -> list[Message]:
    """The messages that a value holds; `roles` goes before KNOWN_ROLES.

    A text alone is one message of role `default`; without that, it is the JSON of the messages. Raises ChatError for what
    is no chat, for a role that is not known, and for content that is not text.
    """
    if isinstance(value, str) and default is not None:
        return [Message(default, value)]
    if isinstance(value, str):
        value = _parsed(value, "a list of messages") if value.strip() else None
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        text = " or a text" if default is not None else ""
        raise ChatError(f"expected a list of messages{text}, not {kind_of(value) or 'text'}")
    messages = []
    for number, one in enumerate(value, 1):
        try:
            messages.append(_message(one, roles))
        except ChatError as error:
            raise ChatError(f"message {number}: {error}") from None
    return messages


def read_variables(tools: Any, others: Any) -> str | None:
    """Tools and other variables of a chat template as a JSON object; None if there are none.

    Each may be JSON itself. Raises ChatError if `tools` are no list of objects, or `others` no object.
    """
    tools = _parsed(tools, "a list of tools") if isinstance(tools, str) and tools.strip() else tools or None
    others = _parsed(others, "template variables") if isinstance(others, str) and others.strip() else others or {}
    if tools is not None and not (isinstance(tools, list | tuple) and all(isinstance(one, dict) for one in tools)):
        raise ChatError("its tools are no list of objects, nor the JSON of one")
    if not isinstance(others, dict):
        raise ChatError("its template variables are no object, nor the JSON of one")
    variables = {**{str(name): value for name, value in others.items()}, **({"tools": list(tools)} if tools else {})}
    return replace_invalid(json.dumps(variables, ensure_ascii=False, default=str)) if variables else None


def _parsed(value: str, what: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ChatError(f"expected {what}, not text that is no JSON ({shortened(str(error), 100)})") from None


def unread_keys(value: Any) -> set[str]:
    """Keys of messages that hold something and are not kept."""
    if not isinstance(value, list | tuple):
        return set()
    return {str(key) for one in value if isinstance(one, dict) for key in one.keys() - _KEPT if one[key] is not None}


def plain_text(messages: Sequence[Message]) -> str:
    """A chat without any tokenizer's marks: `role: content` for each message, an empty line between them.

    Thinking comes before the answer as `assistant (thinking): ...`, tool calls behind it as
    `assistant (tool calls): ...` with their JSON. Empty if nothing is said at all.
    """
    return BETWEEN.join(f"{part.label}{part.text}" for part in plain_parts(messages))


class PlainPart(NamedTuple):
    """What one message says, thinks or calls, and the label before it in a plain text."""

    label: str
    text: str
    role: str
    is_thinking: bool


def plain_parts(messages: Sequence[Message]) -> list[PlainPart]:
    """The parts of a chat's plain text, in order; parts that say nothing are left out."""
    return [
        PlainPart(f"{message.role}{what}: ", text, message.role, what == _THINKS)
        for message in messages
        for what, text in (
            (_THINKS, message.thinking), ("", message.content), (" (tool calls)", message.tool_calls)
        )
        if text and text.strip()
    ]  # fmt: skip


def _message(one: Any, roles: Mapping[str, ChatRole]) -> Message:
    if not isinstance(one, dict):
        raise ChatError(f"expected an object with role and content, not {kind_of(one) or 'text'}")
    name = _first(one, _ROLE)
    if not isinstance(name, str):
        raise ChatError(f"it has no role; its keys are {listed(map(str, one))}")
    calls = _tool_calls(one)
    content = _text(_first(one, _CONTENT), "content")
    thinking = _first(one, _THINKING)
    return Message(
        role=_role(name, roles),
        content=content,
        thinking=None if thinking is None else _text(thinking, "thinking"),
        tool_calls=calls,
        tool_call_id=_plain(one.get("tool_call_id")),
        name=_plain(one.get("name")),
    )


def _first(one: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((one[key] for key in keys if one.get(key) is not None), None)


def _role(name: str, roles: Mapping[str, ChatRole]) -> ChatRole:
    role = roles.get(name) or KNOWN_ROLES.get(name.strip().lower())
    if role is None:
        raise ChatError(
            f"role {quoted(name, 40)} is not known; known are {', '.join(KNOWN_ROLES)}: say in dataset.chat_roles which "
            "of system, user, assistant and tool it stands for"
        )
    return role


def _text(value: Any, what: str) -> str:
    """A content: a text, nothing, or a list of parts that are texts, which follow one another."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        raise ChatError(f"{what} is {kind_of(value)}, not text")
    return "".join(_part(part) for part in value)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    kind = part.get("type") if isinstance(part, dict) else kind_of(part)
    if not isinstance(text, str) or kind not in (None, "text", "input_text", "output_text"):
        raise ChatError(f"a part of its content is {quoted(kind, 40)}, not text: only text is read")
    return text


def _tool_calls(one: Mapping[str, Any]) -> str | None:
    """The calls as JSON; None if there are none."""
    calls = one.get("tool_calls")
    if not calls and one.get("function_call") is not None:
        calls = [{"type": "function", "function": one["function_call"]}]  # as OpenAI wrote one call before 2023-11
    if isinstance(calls, str):
        return calls
    return json.dumps(calls, ensure_ascii=False, default=str) if calls else None


def _plain(value: Any) -> str | None:
    return None if value is None else replace_invalid(str(value))
