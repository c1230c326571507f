"""Takes HTML markup out of a text and keeps its lines."""

from __future__ import annotations

import html
import re

_DROPPED = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_BREAKS = re.compile(r"<(?:br|/?(?:p|div|li|ul|ol|tr|table|h[1-6]|blockquote|section|article))\b[^<>]*>", re.IGNORECASE)
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|<![a-zA-Z][^<>]*>")  # a letter first: "a < b > c" is no tag


def strip_html(text: str) -> str:
    """The text without tags, entities decoded. Line breaks stay, and tags that break a line become one."""
    text = _DROPPED.sub("", text)
    text = _BREAKS.sub("\n", text)
    return html.unescape(_TAGS.sub("", text))
