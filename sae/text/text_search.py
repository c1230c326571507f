"""Searching texts for a substring or a regular expression, in time linear in the texts (RE2, through Arrow)."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from sae.formats.gram_index import grams_of
from sae.formats.long_text import is_unicode
from sae.quoting import quoted


class SearchError(ValueError):
    """A search or filter that cannot be made; the message says what would be right."""


class TextSearch:
    """What texts are searched for: `contains`, a substring, or `regex`, a regular expression in the syntax of RE2.

    RE2 has no backreferences and no lookaround, and therefore needs no more than one pass over a text. With `ignore_case`
    letters match in either case. Raises SearchError for both or neither, and for what is no regular expression.
    """

    def __init__(self, contains: str | None = None, regex: str | None = None, ignore_case: bool = False) -> None:
        given = contains if regex is None else regex
        if given is None or (contains is not None and regex is not None):
            raise SearchError("search for `contains` or for `regex`, one of the two")
        if not given or not is_unicode(given):
            raise SearchError(f"cannot search for {quoted(given)}: give one character or more, in UTF-8")
        self._ignore_case = ignore_case
        # What each match holds: row groups of a dataset without one of these need not be read.
        self.grams = grams_of(given, ignore_case) if regex is None else []
        # RE2 finds a plain substring too, in half the time of Arrow's own search.
        self._pattern = re.escape(given) if regex is None else regex
        try:
            self.matches(pa.array([""], pa.large_string()))
        except pa.ArrowInvalid as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise SearchError(f"{quoted(given)} is no regular expression of RE2: {quoted(reason, 200)}") from None

    def matches(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Whether each text has a match: boolean [texts]."""
        return pc.match_substring_regex(texts, self._pattern, ignore_case=self._ignore_case)

    def first(self, text: str) -> int | None:
        """The character at which the first match in a text begins; None if there is no match."""
        texts = pa.array([text], pa.large_string())
        start = pc.find_substring_regex(texts, self._pattern, ignore_case=self._ignore_case)[0].as_py()
        return None if start < 0 else len(text.encode()[:start].decode())


def text_search(contains: str | None, regex: str | None, ignore_case: bool) -> TextSearch | None:
    """The search that options ask for; None if they ask for none. Raises SearchError."""
    if contains is None and regex is None:
        if ignore_case:
            raise SearchError("`ignore_case` needs `contains` or `regex`")
        return None
    return TextSearch(contains, regex, ignore_case)
