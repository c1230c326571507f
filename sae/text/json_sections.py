"""Documents from nested JSON: one for each top-level section of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sae.text.html import strip_html


def sections(content: Any, html: bool) -> Iterator[tuple[str, str]]:
    """(section, text) for each top-level key; a section without any text gives an empty text.

    A text is a line `key: text`, in the order of the file; the key `text` itself is not shown, nor is a key that its
    text repeats (`note: note: ...`). A key with others below it is a line `key:` before them. Tags are taken out of
    texts if `html`. Raises ValueError if `content` is no JSON object.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f"`documents: sections` needs a JSON object with a section for each key, not a {type(content).__name__}"
        )
    for section, body in content.items():
        yield section.strip(), "\n".join(_lines("", body, html))


def _lines(key: str, node: Any, html: bool) -> list[str]:
    if isinstance(node, str):
        return _line(key, node, html)
    if isinstance(node, list):
        return [line for child in node for line in _lines(key, child, html)]
    if not isinstance(node, dict):
        return []
    own = _line(key, node["text"], html) if isinstance(node.get("text"), str) else []
    below = [
        line for name, child in node.items() if name != "text" or not own for line in _lines(name.strip(), child, html)
    ]
    heading = [f"{key}:"] if key and below and not own else []
    return heading + own + below


def _line(key: str, text: str, html: bool) -> list[str]:
    text = (strip_html(text) if html else text).strip()
    if not text:
        return []
    return [text if not key or text.lower().startswith(f"{key.lower()}:") else f"{key}: {text}"]
