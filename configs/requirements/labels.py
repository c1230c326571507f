"""Labels of nodes and the selectors that a requirement puts on them, with Ray's meaning and syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_KEY = re.compile(rf"(?:{_NAME}/)?{_NAME}")
_VALUE = re.compile(_NAME)
_SELECTOR = re.compile(rf"(?P<no>!?)(?:in\((?P<many>{_NAME}(?:, ?{_NAME})*)\)|(?P<one>{_NAME}))")


def matches(selectors: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels is one that all selectors allow.

    `v` wants that value, `in(a, b)` one of them, `!v` and `!in(a, b)` none of them; a node without the label is
    refused by the first two and allowed by the last two (as Ray 2.60 does).
    """
    return all(_allows(selector, labels.get(key)) for key, selector in selectors.items())


def may_match(selectors: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether no label that is known forbids it: for nodes of which not all labels are known."""
    return all(key not in labels or _allows(selector, labels[key]) for key, selector in selectors.items())


def checked_selectors(selectors: Mapping[str, str]) -> dict[str, str]:
    """The selectors as Ray understands them. Raises ValueError for a key or a selector that it would refuse.

    Ray 2.60 accepts `in(a, b)`, but looks for a value that begins with a space: there is none in what is given back.
    """
    for key, selector in selectors.items():
        _check_key(key)
        if not _SELECTOR.fullmatch(selector):
            raise ValueError(
                f"label {key}={selector!r}: expected a value such as `a100`, or `!a100`, `in(a100,h100)`, "
                "`!in(a100,h100)`; a value has at most 63 letters, digits, `.`, `_`, `-`"
            )
    return {key: selector.replace(", ", ",") for key, selector in selectors.items()}


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises ValueError for a label that a node cannot carry."""
    for key, value in labels.items():
        _check_key(key)
        if not _VALUE.fullmatch(value):
            raise ValueError(f"label {key}={value!r}: a value has at most 63 letters, digits, `.`, `_`, `-`")


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"label {key!r}: a key is NAME or DOMAIN/NAME, of letters, digits, `.`, `_`, `-`")


def _allows(selector: str, value: str | None) -> bool:
    found = _SELECTOR.fullmatch(selector)
    if found is None:
        return value == selector
    wanted = re.split(", ?", found["many"]) if found["many"] else [found["one"]]
    return (value in wanted) != bool(found["no"])
