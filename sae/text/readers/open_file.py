"""Opens source files: compression, byte order marks and encodings are dealt with here, once for all formats."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import pyarrow as pa

from configs.text_formats import COMPRESSIONS, compression_ending
from sae.formats.dataset import DatasetError
from sae.text.readers import SourceFile

# What decompression raises for a file that was cut off or is another thing.
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
_FIRST_BYTES = {
    b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zst",
}  # fmt: skip
_READ_BYTES = 1 << 16
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def open_bytes(file: SourceFile) -> IO[bytes]:
    """The file's content, decompressed if its name says that it is compressed."""
    match compression_ending(file.name):
        case "gz":
            return cast(IO[bytes], gzip.open(file.path))
        case "bz2":
            return _opened(file, bz2.BZ2Decompressor)
        case "xz":
            return _opened(file, lzma.LZMADecompressor)
        case "zst":
            stream: Any = pa.input_stream(file.path.open("rb"), compression="zstd")
            return io.BufferedReader(stream)
    return file.path.open("rb")


class _Streams(io.RawIOBase):
    """The content of compressed streams, one behind another. Between and behind them there may be zeros, nothing else.

    Python's own readers of bzip2 and xz take a damaged stream behind a whole one for the end of the file.
    """

    def __init__(self, stream: IO[bytes], decompressor: Callable[[], Any]) -> None:
        self._stream, self._new, self._now = stream, decompressor, decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = b""
            if self._now.eof:
                data = self._now.unused_data.lstrip(b"\0")
                while not data:
                    more = self._stream.read(_READ_BYTES)
                    if not more:
                        return 0
                    data = more.lstrip(b"\0")
                self._now = self._new()
            elif self._now.needs_input:
                data = self._stream.read(_READ_BYTES)
                if not data:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            content = self._now.decompress(data, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _opened(file: SourceFile, decompressor: Callable[[], Any]) -> IO[bytes]:
    return io.BufferedReader(_Streams(file.path.open("rb"), decompressor), _READ_BYTES)


@contextmanager
def open_seekable(file: SourceFile) -> Iterator[IO[bytes]]:
    """The file's content for formats that are read from their end: a compressed file is unpacked into a temporary one."""
    with open_bytes(file) as stream:
        if compression_ending(file.name) is None:
            yield stream
            return
        with tempfile.TemporaryFile() as unpacked:
            shutil.copyfileobj(stream, unpacked, 1 << 20)
            unpacked.seek(0)
            yield unpacked


def rest_is_whole(stream: io.TextIOWrapper) -> None:
    """Reads a file to its end for nothing but the errors of its decompression."""
    while stream.buffer.read(1 << 20):
        pass


def open_text(file: SourceFile) -> io.TextIOWrapper:
    """The file's content as UTF-8 text with its line ends as they are. Bytes that are not UTF-8 become lone surrogates.

    Raises DatasetError if the first bytes show that it is compressed, or UTF-16.
    """
    stream = open_bytes(file)
    try:
        check_first_bytes(file, stream)
    except BaseException:
        stream.close()
        raise
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def check_first_bytes(file: SourceFile, stream: IO[bytes]) -> None:
    """Raises DatasetError if a stream at its beginning is compressed, though its name does not say so, or UTF-16."""
    first = cast(io.BufferedReader, stream).peek(6)
    for magic, ending in _FIRST_BYTES.items():
        if first.startswith(magic):
            raise DatasetError(
                f"{file.name} holds {COMPRESSIONS[ending]} data, but its name does not say so: rename it to "
                f"{file.name.rpartition('/')[2]}.{ending}"
            )
    if first.startswith(_UTF16):
        raise DatasetError(f"{file.name} is UTF-16: convert it to UTF-8 first")
