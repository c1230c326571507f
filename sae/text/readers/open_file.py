"""Opens source files: compression, byte order marks and encodings are dealt with here, once for all formats."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
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
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def open_bytes(file: SourceFile) -> IO[bytes]:
    """The file's content, decompressed if its name says that it is compressed."""
    match compression_ending(file.name):
        case "gz":
            return cast(IO[bytes], gzip.open(file.path))
        case "bz2":
            return bz2.open(file.path)
        case "xz":
            return lzma.open(file.path)
        case "zst":
            stream: Any = pa.input_stream(file.path.open("rb"), compression="zstd")
            return io.BufferedReader(stream)
    return file.path.open("rb")


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
