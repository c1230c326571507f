"""The token for the hub: from HF_TOKEN, or from a file that its owner alone can read. It is in no config, row or message."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants

from configs.settings import settings
from sae.quoting import shortened_path
from sae.secret_file import read_secret
from sae.sources.file_selection import SourceError

FILE = "hf_token"
HOW = f"set HF_TOKEN, or write the token to the file {FILE} in RAYLENS_HOME (mode 600)"
_TOKEN = re.compile(r"[\x21-\x7e]+")


class HubToken(NamedTuple):
    """A token and where it comes from, for messages. Its `repr` hides the token."""

    text: str
    place: str

    def __repr__(self) -> str:
        return f"HubToken from {self.place}"


def hub_token() -> HubToken | None:
    """The token of HF_TOKEN, else of RAYLENS_HOME/hf_token, else of `hf auth login`; None if there is none.

    Raises SourceError for a file that others can read, or that holds no token.
    """
    if text := os.environ.get("HF_TOKEN", "").strip():
        return HubToken(_checked(text, "HF_TOKEN"), "HF_TOKEN")
    for path in (settings().home / FILE, Path(constants.HF_TOKEN_PATH)):
        if (found := read_secret(path, "token", SourceError)) is not None:
            place = shortened_path(path)
            return HubToken(_checked(found, place), place)
    return None


def _checked(text: str, place: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise SourceError(f"{place} holds no token: it must be one word of plain ASCII characters")
    return text
