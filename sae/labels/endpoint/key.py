"""The key for the model server: from RAYLENS_LABEL_KEY, or from a file that its owner alone can read."""

from __future__ import annotations

import re
from typing import NamedTuple

from configs.settings import settings
from sae.labels.endpoint.errors import EndpointError
from sae.quoting import shortened_path
from sae.secret_file import read_secret

VARIABLE, FILE = "RAYLENS_LABEL_KEY", "label_key"
HOW = f"set {VARIABLE}, or write the key to the file {FILE} in RAYLENS_HOME (mode 600)"
_KEY = re.compile(r"[\x21-\x7e]+")


class LabelKey(NamedTuple):
    """A key and where it comes from, for messages. Its `repr` hides the key."""

    text: str
    place: str

    def __repr__(self) -> str:
        return f"LabelKey from {self.place}"


def label_key() -> LabelKey | None:
    """The key of this process' environment, else of RAYLENS_HOME/label_key; None: requests have none.

    Raises EndpointError for a file that others can read, or a value that is no key.
    """
    given = settings()
    if given.label_key is not None and (text := given.label_key.get_secret_value().strip()):
        return LabelKey(_checked(text, VARIABLE), VARIABLE)
    path = given.home / FILE
    found = read_secret(path, "key", EndpointError)
    return None if found is None else LabelKey(_checked(found, shortened_path(path)), shortened_path(path))


def _checked(text: str, place: str) -> str:
    if not _KEY.fullmatch(text):
        raise EndpointError(f"{place} holds no key: it must be one word of plain ASCII characters")
    return text
