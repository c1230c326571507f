"""What a document's text may be: valid Unicode, and not above a size. Policies say what becomes of another."""

from __future__ import annotations

from collections.abc import Iterator

from sae.formats.long_text import PIECE, LongText, Text, is_unicode, text_pieces, utf8_bytes, utf8_pieces
from sae.quoting import quoted

_AROUND = 20  # characters that a message shows on each side of a wrong one


def replace_invalid(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD."""
    return text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def valid_text(text: Text) -> Text:
    """replace_invalid, of a long text piece by piece: its lone surrogates stand for bytes, so no two make a pair."""
    return replace_invalid(text) if isinstance(text, str) else LongText(map(replace_invalid, text.pieces()))


def wrong_character(text: Text) -> str:
    """The first lone surrogate of a text in words. Raises ValueError if it has none."""
    before, first = "", 0  # the end of the piece before, and the number of the first character behind it
    for piece in text_pieces(text, _AROUND):
        try:
            piece[:PIECE].encode()
        except UnicodeEncodeError as error:
            code, at = ord(piece[error.start]), len(before) + error.start
            around = replace_invalid((before + piece)[max(0, at - _AROUND) : at + _AROUND])
            what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}, half of a pair,"
            return f"{what} at character {first + error.start} is not UTF-8 ({quoted(around)})"
        before, first = piece[:PIECE][-_AROUND:], first + PIECE
    raise ValueError("the text is valid")


def is_longer(text: Text, most_bytes: int) -> bool:
    """Whether a valid text has more bytes of UTF-8."""
    return len(text) > most_bytes or (len(text) * 4 > most_bytes and utf8_bytes(text) > most_bytes)


def cut_text(text: Text, most_bytes: int) -> Text:
    """The longest beginning of a valid text that has `most_bytes` bytes of UTF-8 or less."""
    if isinstance(text, str):
        return text[:most_bytes].encode()[:most_bytes].decode(errors="ignore")
    return LongText(_first_pieces(text, most_bytes))


def _first_pieces(text: LongText, most_bytes: int) -> Iterator[str]:
    for piece in utf8_pieces(text):
        yield piece[:most_bytes].decode(errors="ignore")
        most_bytes -= len(piece)
        if most_bytes <= 0:
            return
