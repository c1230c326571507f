"""Texts that are too long to be held in memory in several copies: in a temporary file, and read piece by piece."""

from __future__ import annotations

import codecs
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TextIO

import numpy as np
import pyarrow as pa

PIECE = 1 << 20  # characters of a text that are handled at once
LONG = 4 << 20  # characters: a text that has more is kept in a file
_RELEASE_S = 0.02


class LongText:
    """A text in a temporary file, which is removed with this object. `utf8_bytes` is its size there.

    Bytes that are not UTF-8 are lone surrogates in it (Python's `surrogateescape`); with one, `is_unicode` is False.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self.is_unicode = self._is_space = True
        self._characters = self.utf8_bytes = 0
        for piece in pieces:
            data = piece.encode(errors="surrogateescape")
            self._file.write(data)
            self._characters += len(piece)
            self.utf8_bytes += len(data)
            self.is_unicode = self.is_unicode and is_unicode(piece)
            self._is_space = self._is_space and piece.isspace()
        self._file.flush()

    def __len__(self) -> int:
        return self._characters

    def __str__(self) -> str:
        """The whole text, in memory."""
        return "".join(self.pieces())

    def isspace(self) -> bool:
        """Whether there is white space alone."""
        return self._is_space

    def pieces(self) -> Iterator[str]:
        """The text in order, PIECE characters at a time."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        text, offset = "", 0
        while data := os.pread(self._file.fileno(), PIECE, offset):
            offset += len(data)
            text += decoder.decode(data, final=offset == self.utf8_bytes)
            while len(text) >= PIECE:
                yield text[:PIECE]
                text = text[PIECE:]
        if text:
            yield text

    @contextmanager
    def array(self) -> Iterator[pa.Array]:
        """large_string [1], mapped from the file for the time of the block. The text is valid Unicode and not empty.

        What was read of it does not stay in this process' memory, where Parquet's writer has two copies of its own.
        """
        data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        offsets = np.array([0, self.utf8_bytes], np.int64)
        end = threading.Event()
        thread = threading.Thread(target=_release, args=(data, end), daemon=True)
        thread.start()
        try:
            yield pa.LargeStringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(data))
        finally:
            end.set()
            thread.join()


def _release(data: mmap.mmap, end: threading.Event) -> None:
    while not end.wait(_RELEASE_S):
        data.madvise(mmap.MADV_DONTNEED)  # pages that are wanted again come from the file


Text = str | LongText


def read_at_most(stream: TextIO, characters: int) -> Text:
    """The first characters of a stream, or all if there are no more."""
    first = stream.read(min(characters, LONG + 1))
    return first if len(first) <= LONG else LongText(chain([first], _read_pieces(stream, characters - len(first))))


def _read_pieces(stream: TextIO, characters: int) -> Iterator[str]:
    while piece := stream.read(min(characters, PIECE)):
        characters -= len(piece)
        yield piece


def out_of_memory(text: Text) -> Text:
    """The same text, in a file if it is long. The text is valid Unicode."""
    return LongText(text_pieces(text)) if isinstance(text, str) and len(text) > LONG else text


def text_pieces(text: Text, overlap: int = 0) -> Iterator[str]:
    """A text in order, PIECE characters at a time, and with each piece the first `overlap` characters behind it."""
    if isinstance(text, str):
        return (text[start : start + PIECE + overlap] for start in range(0, len(text), PIECE))
    return _overlapping(text.pieces(), overlap)


def _overlapping(pieces: Iterator[str], overlap: int) -> Iterator[str]:
    last = ""
    for piece in pieces:
        if last:
            yield last + piece[:overlap]
        last = piece
    if last:
        yield last


def is_unicode(text: Text) -> bool:
    """Whether UTF-8 can hold a text: lone surrogates, which JSON and Python strings may hold, it cannot."""
    if isinstance(text, LongText):
        return text.is_unicode
    try:
        return utf8_bytes(text) >= 0
    except UnicodeEncodeError:
        return False


def utf8_bytes(text: Text) -> int:
    """Bytes of a text in UTF-8. A long text is not copied as a whole. Raises UnicodeEncodeError if there are none."""
    if isinstance(text, LongText):
        return text.utf8_bytes
    return len(text) if text.isascii() else sum(map(len, utf8_pieces(text)))


def utf8_pieces(text: Text) -> Iterator[bytes]:
    """A text in UTF-8, piece by piece."""
    return (piece.encode() for piece in text_pieces(text))
