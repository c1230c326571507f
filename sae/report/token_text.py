"""Tokens as text. Bytes of one character that are spread over several tokens are joined before they are decoded."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer

CONTINUES = "\u22ef"  # shown for a token that holds only further bytes of the character before it
_BYTE_TOKEN_LENGTH = len("<0x0A>")


class TokenText:
    """Strings of token ids, for byte-level (GPT-2, Llama 3) and SentencePiece-like (Llama 2, Gemma) tokenizers.

    Needs the content of `tokenizer.json` alone: neither torch nor transformers.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        added = self._tokenizer.get_added_tokens_decoder()
        self._added = {number: str(token.content) for number, token in added.items()}
        decoder = json.loads(tokenizer_json).get("decoder")
        self._byte_level = '"ByteLevel"' in json.dumps(decoder)
        self._text: dict[int, str | None] = {}  # None: no whole characters by itself
        self._parts: dict[int, bytes] = {}

    def string(self, token: int) -> str:
        """Text of one token by itself; bytes that are no whole character are shown as hexadecimal."""
        return self.strings([token])[0]

    def strings(self, tokens: Sequence[int]) -> list[str]:
        """Text of consecutive tokens. A character split over tokens is shown at the first, `CONTINUES` at the others.

        An id that the tokenizer does not have is named, as `<id 50000>`: a model's embedding can have spare rows.
        """
        found: list[str] = []
        run: list[bytes] = []
        for token in tokens:
            whole = self._text[token] if token in self._text else self._learn(token)
            if whole is None:
                run.append(self._parts[token])
                continue
            if run:
                found += _join(run)
                run = []
            found.append(whole)
        return found + _join(run)

    def piece(self, token: int) -> bytes:
        """The bytes of one token, which need not be whole characters. Those of consecutive tokens are their text."""
        return self._decode(token)

    def _learn(self, token: int) -> str | None:
        piece = self._decode(token)
        try:
            self._text[token] = piece.decode()
        except UnicodeDecodeError:
            self._text[token], self._parts[token] = None, piece
        return self._text[token]

    def _decode(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.id_to_token(token)
        if piece is None:
            return f"<id {token}>".encode()
        if self._byte_level:
            if all(character in _BYTE_OF for character in piece):
                return bytes(_BYTE_OF[character] for character in piece)
            return piece.encode()
        if piece.startswith("<0x") and piece.endswith(">") and len(piece) == _BYTE_TOKEN_LENGTH:
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()


def _join(run: list[bytes]) -> list[str]:
    """Strings of consecutive pieces, none of which is whole characters by itself."""
    joined = b"".join(run)
    owner = [i for i, piece in enumerate(run) for _ in piece]
    found = [""] * len(run)
    at = 0
    while at < len(joined):
        size = _length(joined[at])
        try:
            text = joined[at : at + size].decode()
        except UnicodeDecodeError:
            size, text = 1, f"\u27e8{joined[at]:02X}\u27e9"
        found[owner[at]] += text
        at += size
    return [text or CONTINUES for text in found]


def _length(first: int) -> int:
    """Bytes in the UTF-8 character that begins with this byte."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _byte_of() -> dict[str, int]:
    """Byte-level BPE's printable stand-in for each byte, reversed (GPT-2's `bytes_to_unicode`)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_of()
