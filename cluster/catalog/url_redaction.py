"""Keeps the password of a database's URL out of everything that is shown."""

from __future__ import annotations

import re
from urllib.parse import unquote

_HIDDEN = "***"
_LOGIN = re.compile(r"://[^:/@?]*:(?P<password>.*)@", re.DOTALL)  # to the last @: one in a password may be unescaped
_QUERY = re.compile(r"[?&](?:password|sslpassword)=(?P<password>[^&]*)")


class Secret:
    """The passwords in a URL, and every part of them that a message about a URL misread may hold."""

    def __init__(self, url: str) -> None:
        whole = [match["password"] for pattern in (_LOGIN, _QUERY) for match in pattern.finditer(url)]
        parts = [part for password in whole for part in re.split(r"[@:/?#&=]", password)]
        found = {text for password in [*whole, *parts] for text in (password, unquote(password)) if text}
        self._hidden = sorted(found, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text without them."""
        for secret in self._hidden:
            text = text.replace(secret, _HIDDEN)
        return text
