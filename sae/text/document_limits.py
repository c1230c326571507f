"""What a document's text may be: valid Unicode, and not above a size. Policies say what becomes of another."""

from __future__ import annotations

from collections.abc import Iterator

from sae.quoting import quoted

_PIECE = 1 << 20  # characters


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text: lone surrogates, which JSON and Python strings may hold, it cannot."""
    if text.isascii():
        return True
    try:
        return utf8_bytes(text) >= 0
    except UnicodeEncodeError:
        return False


def utf8_bytes(text: str) -> int:
    """Bytes of a text in UTF-8. A long text is not copied as a whole. Raises UnicodeEncodeError if there are none."""
    return len(text) if text.isascii() else sum(map(len, utf8_pieces(text)))


def utf8_pieces(text: str) -> Iterator[bytes]:
    """A text in UTF-8, piece by piece."""
    return (text[start : start + _PIECE].encode() for start in range(0, len(text), _PIECE))


def replace_invalid(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD."""
    return text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def wrong_character(text: str) -> str:
    """The first lone surrogate of a text in words. Raises ValueError if it has none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        around = replace_invalid(text[max(0, error.start - 20) : error.start + 20])
        what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}, half of a pair,"
        return f"{what} at character {error.start} is not UTF-8 ({quoted(around)})"
    raise ValueError("the text is valid")


def is_longer(text: str, most_bytes: int) -> bool:
    """Whether a valid text has more bytes of UTF-8."""
    return len(text) > most_bytes or (len(text) * 4 > most_bytes and utf8_bytes(text) > most_bytes)


def cut_text(text: str, most_bytes: int) -> str:
    """The longest beginning of a valid text that has `most_bytes` bytes of UTF-8 or less."""
    return text[:most_bytes].encode()[:most_bytes].decode(errors="ignore")
