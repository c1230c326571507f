"""Where a long text may be cut so that the tokens of its parts, one behind the other, are those of the whole.

A cut is safe if no step of the tokenizer looks across it. Three places are considered, and nothing between them: `x| y`,
before the space in front of a visible ASCII character, whatever is before it or (for some tokenizers) only if x is visible
or a letter; `x\\n|y`, behind a line's end whose neighbours are neither spaces nor line ends; for some, `a|1`, `1|a`,
`a|,` and `1|,` between ASCII letters, digits and other visible characters; and for those that find words as GPT-2 does,
around words. Which of them hold is read from the tokenizer's own JSON, step by step; a step that is not known here allows
no cut, and the text is then tokenized whole.

Around words means: `x| `, between a visible ASCII character and white space; `,|a` and `,|1`, behind any other ASCII
character than an apostrophe (which begins `'s`); and where white space ends before a visible character that is no digit,
on both sides of its last character, a space belonging to what follows. GPT-2's expression takes white space up to that
last character, and looks ahead nowhere else. If no step takes digits from the text before it, that holds before digits too.

* Added tokens must not hold `x y` or begin with y, so none is found across a cut, or at the begin of a part only.
* Normalizers work on characters, or on strings that no cut divides.
* Pre-tokenizers find no match across a cut, and none before it that depends on what follows. Regular expressions are
  compared with those that this was reasoned out for.
* A model sees the parts apart, for a pre-tokenizer divides there; or it is BPE, and no token of its vocabulary holds such
  a character and the space behind it, so no merge goes across.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

VISIBLE = bytes(range(ord("!"), ord("~") + 1))
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ANY = bytes(range(256))
_BEFORE_AND_AFTER = (  # most cuts first
    (_ANY, VISIBLE),
    (_ANY, _LETTERS),
    (VISIBLE, VISIBLE),
    (VISIBLE, b"0123456789" + _LETTERS),
    (VISIBLE, _LETTERS),
    (_LETTERS, _LETTERS),
)
_LINE = rb"(?:[!-~]|[\xe4-\xe9][\x80-\xbf]{2}|\xe3\x80[\x81-\x91]|\xef\xbc[\x81-\x9f])\n(?=[%b]|[\xe4-\xe9])"
_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_AFTER_NUMBERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT_2 = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_BY_KIND = {  # regular expressions whose matches cover the text, with none across a cut
    _GPT_2,
    rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_AFTER_NUMBERS}",  # Llama 3
    rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_AFTER_NUMBERS}",  # Qwen 2
}
_DIVIDING = _BY_KIND | {  # the same, but a match may go from a digit to a letter
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",  # DeepSeek V3, behind the two below
}
_NEVER_AT_A_CUT = {
    r"\p{N}{1,3}",
    r"\p{N}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[0-9]",
}  # numbers, and letters that are not ASCII
_DIGITS = {r"\p{N}", "[0-9]"}
_BY_CHARACTER = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}
_BY_WHITESPACE = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer"}
_WITHIN_WORDS = {"Digits", "Punctuation"}


class SafeCuts(NamedTuple):
    """Where a text may be cut: before a space between a byte of `before` and one of `after`; behind lines too if `lines`.

    `kinds`: also behind letters and digits where another kind of visible ASCII character follows. `words`: around words
    too, and `white_before_digits`: so before digits; `digits`: between digits too.
    `drops_space`: a part leaves out the space that it begins with, for one is put there.
    """

    before: bytes
    after: bytes
    lines: bool
    drops_space: bool
    kinds: bool = False
    words: bool = False
    white_before_digits: bool = False
    digits: bool = False

    @property
    def pattern(self) -> bytes:
        """Matches end where a text may be cut."""
        after = re.escape(self.after)
        space = rb"[%b](?= [%b])" % (re.escape(self.before), after)
        return rb"%b|%b" % (space, _LINE % after) if self.lines else space

    def parts(self, text: bytes | memoryview, part_bytes: int) -> Iterator[str]:
        """The parts of a valid UTF-8 text, each up to the first safe cut behind `part_bytes`."""
        start, size = 0, len(text)
        find = re.compile(self.pattern).search
        while start < size:
            found = find(text, min(start + part_bytes, size))
            stop = size if found is None else found.end()
            space = self.drops_space and start > 0
            yield bytes(text[start + space : stop]).decode()
            start = stop


@lru_cache(maxsize=4)
def safe_cuts(tokenizer_json: str, special_strings: str) -> SafeCuts | None:
    """Where texts of a tokenizer may be cut; None where nothing is known of it. `special_strings` as the config says."""
    parts = json.loads(tokenizer_json)
    every = (_cuts(parts, special_strings, *classes) for classes in _BEFORE_AND_AFTER)
    return next((cuts for cuts in every if cuts is not None), None)


def _cuts(parts: dict[str, Any], special_strings: str, before: bytes, after: bytes) -> SafeCuts | None:
    normalizers, steps = _steps(parts["normalizer"], "normalizers"), _steps(parts["pre_tokenizer"], "pretokenizers")
    begins = [one["prepend"] for one in normalizers if one["type"] == "Prepend"]
    replaced = [one["content"] for one in normalizers if _replaces_space(one)]
    if not all(map(_is_local, normalizers)) or (begins and begins != replaced) or len(replaced) > 1:
        return None
    matched = [token for token in parts["added_tokens"] if not (token["special"] and special_strings == "text")]
    spaces = " ▁" if replaced or any(step["type"] == "Metaspace" for step in steps) else " "
    if any(_reaches_over(token, before.decode("latin-1"), after.decode(), spaces) for token in matched):
        return None
    divided = [_divides(step, bool(replaced)) for step in steps]
    if None in divided:
        return None
    if before is _ANY and not _divides_spaces(steps, matched, after):
        return None
    if any(divided):
        puts_space = any(step["type"] == "Metaspace" or step.get("add_prefix_space") for step in steps)
        kinds = not (puts_space or any(step["type"] == "Replace" for step in normalizers)) and (
            all(map(_divides_by_kind, steps)) and not any(map(_holds_kinds, matched))
        )
        words = kinds and before is _ANY and all(map(_divides_words, steps)) and not any(map(_holds_words, matched))
        white = words and not any(map(_takes_digits, steps))
        digits = words and any(map(_divides_digits, steps))
        return None if replaced else SafeCuts(before, after, not puts_space, False, kinds, words, white, digits)
    byte_level = any(step["type"] == "ByteLevel" for step in steps)
    space = replaced[0] if replaced else "Ġ" if byte_level else " "
    apart = _merges_stay_apart(parts["model"], before.decode("latin-1"), space)
    return SafeCuts(before, after, False, bool(begins)) if apart else None


def _steps(value: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a sequence, or the one step that there is."""
    if value is None:
        return []
    return [step for one in value[name] for step in _steps(one, name)] if value["type"] == "Sequence" else [value]


def _reaches_over(token: dict[str, Any], before: str, after: str, spaces: str) -> bool:
    """Whether an added token can be found across a cut. `spaces`: what a space of the text may have become by then."""
    content = token["content"].lstrip(spaces)
    over = re.search(f"[{re.escape(before)}][{spaces}]", content)
    ends = bool(token["rstrip"]) and content[-1:] in before
    return over is not None or "\n" in content or ends or content[:1] in after or content[:1].isalpha()


def _replaces_space(step: dict[str, Any]) -> bool:
    return bool(step["type"] == "Replace" and step["pattern"] == {"String": " "})


def _is_local(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        string = step["pattern"].get("String")
        return (
            string is not None
            and (string == " " or not re.search(r"\s", string))
            and not re.search(r"\s", step["content"])
        )
    return step["type"] in _BY_CHARACTER or step["type"] == "Prepend"


def _divides(step: dict[str, Any], spaces_replaced: bool) -> bool | None:
    """Whether a pre-tokenizer divides a text at every cut; None where it may look across one."""
    kind = step["type"]
    if kind == "Split":
        if spaces_replaced and step["pattern"] == {"String": " "}:
            return False  # there is none any more
        regex = step["pattern"].get("Regex")
        if step["behavior"] != "Isolated" and not (step["behavior"] == "Removed" and step["invert"]):
            return None
        return True if regex in _DIVIDING else False if regex in _NEVER_AT_A_CUT else None
    if kind == "ByteLevel":
        return bool(step["use_regex"])
    if kind == "Metaspace":
        return True if step.get("split", True) else None
    if kind == "Punctuation" and step.get("behavior", "Isolated") not in ("Isolated", "Removed", "Contiguous"):
        return None
    return True if kind in _BY_WHITESPACE else False if kind in _WITHIN_WORDS else None


def _divides_spaces(steps: list[dict[str, Any]], matched: list[dict[str, Any]], after: bytes) -> bool:
    """Whether the last of several spaces before a character of `after` never belongs to the same match as the others.

    A step that divides before that character would end a match there. Added tokens may be, or take in, several spaces.
    """
    if any(token["rstrip"] or re.search(r"\s", token["content"]) for token in matched):
        return False
    divided = [_divides(step, False) for step in steps if step["type"] != "ByteLevel" or step["use_regex"]]
    return any(divided) and (all(divided) or after == _LETTERS)


def _divides_by_kind(step: dict[str, Any]) -> bool:
    """Whether no match of a pre-tokenizer goes from a letter or a digit to another kind of visible ASCII character."""
    if step["type"] == "Split":
        return step["pattern"].get("Regex") in _BY_KIND | _NEVER_AT_A_CUT
    return step["type"] in ("ByteLevel", *_WITHIN_WORDS)


def _holds_kinds(token: dict[str, Any]) -> bool:
    """Whether an added token can be found across a cut between two kinds, or depends on its neighbours."""
    return bool(token["single_word"] or re.search(r"[A-Za-z](?![A-Za-z])[!-~]|[0-9](?![0-9])[!-~]", token["content"]))


def _divides_words(step: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer finds words as GPT-2 does, or takes digits from the text and nothing else."""
    return step["type"] == "ByteLevel" or step.get("pattern", {}).get("Regex") == _GPT_2 or _takes_digits(step)


def _takes_digits(step: dict[str, Any]) -> bool:
    return step["type"] == "Digits" or step.get("pattern", {}).get("Regex") in {*_DIGITS, r"\p{N}{1,3}"}


def _divides_digits(step: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer makes a piece of each digit."""
    if step["type"] == "Split":
        return step["pattern"].get("Regex") in _DIGITS
    return step["type"] == "Digits" and bool(step["individual_digits"])


def _holds_words(token: dict[str, Any]) -> bool:
    """Whether an added token can be found across a cut around words; those that hold white space are no matter here."""
    return re.search(r"[^A-Za-z0-9][A-Za-z0-9]|[0-9][0-9]", token["content"]) is not None


def _merges_stay_apart(model: dict[str, Any], before: str, space: str) -> bool:
    if model.get("type") != "BPE" or model.get("dropout") or model.get("ignore_merges"):
        return False
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    vocabulary = model["vocab"]
    across = re.compile(f"[{re.escape(before)}]{re.escape(space)}")
    return all(one in vocabulary for one in (*before, space)) and not any(map(across.search, vocabulary))
