"""Tar archives of text, as WebDataset writes them: members of one stem, one behind another, are one document."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Any, cast

from configs.download import DatasetOptions
from configs.text_formats import TEXT_FORMATS, is_about_data
from sae.quoting import printable, quoted
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.column_checks import kind_of
from sae.text.readers.json_files import longest_row, parse
from sae.text.readers.open_file import check_first_bytes, open_bytes

_TEXT = tuple(
    f".{ending}" for ending, one in TEXT_FORMATS.items() if one.reader == "sae.text.readers.text_files:read_text"
)
_READ = (*_TEXT, ".json")
_CHUNK = 1 << 20
# Headers that hold names and other attributes, of any length: tarfile reads them whole.
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LONGEST_HEADER = 1 << 20


def read_tar(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """A row for each stem: its text member (.txt, .md) is the text, the keys of its .json member are columns.

    The column `file` has the member's name. Without a text member the text is a column of the .json member. Other members
    are not read. The archive is read once, from front to end, member by member.
    """
    with open_bytes(file) as stream:
        check_first_bytes(file, stream)
        stem, values = "", dict[str, Any]()
        for name, content in _members(stream, options):
            if values and name.rpartition(".")[0] != stem:
                yield SourceRow(f"member {quoted(stem)}", values)
                values = {}
            stem = name.rpartition(".")[0]
            _add(values, name, content, options.text_column)
        if values:
            yield SourceRow(f"member {quoted(stem)}", values)


def _add(values: dict[str, Any], name: str, content: bytes, text_column: str) -> None:
    """Puts what a member holds into the row of its stem. Raises ValueError."""
    text = content.decode("utf-8-sig", "surrogateescape")
    if name.lower().endswith(_TEXT):
        columns: dict[str, Any] = {text_column: text}
    else:
        try:
            columns = parse(text)
        except ValueError as error:
            raise ValueError(f"member {quoted(name)}: {error}") from None
        if not isinstance(columns, dict):
            raise ValueError(f"member {quoted(name)}: expected an object, not {kind_of(columns) or 'a string'}")
    values.setdefault("file", name)
    for column, value in columns.items():
        if column in values and column != "file":
            raise ValueError(f"member {quoted(name)}: another member of that name gives column {quoted(column)} too")
        values[column] = value


def _members(stream: IO[bytes], options: DatasetOptions) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each member that is read. Raises ValueError for a damaged archive.

    Of a text above the largest document more than that is read, so that it counts as too long, but not all of it.
    """
    place = "at its beginning"
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictMember, errorlevel=2) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps millions of them
                name = printable(member.name).removeprefix("./")
                if _is_read(name) and not member.isdir():
                    if not member.isreg():
                        raise ValueError(f"member {quoted(name)} is a link or a device: put the file itself there")
                    if member.size > longest_row(options) and not name.lower().endswith(_TEXT):
                        raise ValueError(f"member {quoted(name)} has {member.size:,} bytes of JSON: that is no one row")
                    with cast(IO[bytes], archive.extractfile(member)) as content:
                        yield name, content.read(longest_row(options))
                place = f"behind member {quoted(name)}"
            _check_end(cast(IO[bytes], archive.fileobj))
    except (tarfile.TarError, OverflowError) as error:
        raise ValueError(f"it is no tar archive, or is damaged {place}: {error}") from None


class _StrictMember(tarfile.TarInfo):
    """A member whose header must be whole: tarfile takes a damaged one, or a cut, for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictMember:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _LONG_HEADERS and found.size > _LONGEST_HEADER:
            raise HeaderError(f"a header of {found.size} bytes")
        return found

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _StrictMember:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            where = f"at byte {tarfile.offset}" if tarfile.offset else "at its beginning"
            raise ValueError(f"it is no tar archive, or was cut or damaged {where}: {error}") from None


def _is_read(name: str) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return name.lower().endswith(_READ) and not hidden and not is_about_data(name)


def _check_end(stream: IO[bytes]) -> None:
    """Raises ValueError if something follows the end mark: a second archive would be lost in silence."""
    while chunk := stream.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise ValueError(
                "data follows its end mark, behind its last member: several archives in one file are not read, give one file each"
            )


HeaderError: type[tarfile.TarError] = tarfile.HeaderError
EOFHeaderError: type[tarfile.TarError] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
