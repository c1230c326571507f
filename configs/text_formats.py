"""The formats that text is read from, and the compressions: one line each.

Which files of a source are taken, the descriptions of config fields and the messages are made from these tables. A
reader is named as `module:function`, so that this file imports none; its protocol is `sae.text.readers.Reader`.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class TextFormat(NamedTuple):
    """A format by what people call it, and the function that reads it."""

    title: str
    reader: str


# By the ending of a file's name. Of a source with several formats the first one in this order is taken.
TEXT_FORMATS: dict[str, TextFormat] = {
    "parquet": TextFormat("Parquet", "sae.text.readers.arrow_tables:read_parquet"),
    "arrow": TextFormat("Arrow", "sae.text.readers.arrow_tables:read_arrow"),
    "jsonl": TextFormat("JSON Lines", "sae.text.readers.json_files:read_json_lines"),
    "ndjson": TextFormat("JSON Lines", "sae.text.readers.json_files:read_json_lines"),
    "json": TextFormat("JSON", "sae.text.readers.json_files:read_json"),
    "csv": TextFormat("CSV", "sae.text.readers.csv_files:read_csv"),
    "tsv": TextFormat("TSV", "sae.text.readers.csv_files:read_tsv"),
    "tar": TextFormat("tar archive", "sae.text.readers.tar_archives:read_tar"),
    "txt": TextFormat("plain text", "sae.text.readers.text_files:read_text"),
    "text": TextFormat("plain text", "sae.text.readers.text_files:read_text"),
    "md": TextFormat("Markdown", "sae.text.readers.text_files:read_text"),
    "markdown": TextFormat("Markdown", "sae.text.readers.text_files:read_text"),
}
COMPRESSIONS = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "Zstandard"}  # a second ending: `a.jsonl.gz`
_SHORT_ENDINGS = {"tgz": "tar.gz", "tbz2": "tar.bz2", "tbz": "tar.bz2", "txz": "tar.xz", "tzst": "tar.zst"}
_ABOUT_DATA = re.compile(
    r"(^|/)(dataset_infos?|dataset_dict|state|package|config)\.json$|(^|/)(readme|licen[cs]e)[^/]*$", re.IGNORECASE
)


def format_ending(name: str) -> str | None:
    """The ending of a file's name under which its format is listed, compressed or not; None for other files."""
    stem, _, ending = _with_both_endings(name).rpartition(".")
    if ending in COMPRESSIONS:
        ending = stem.rpartition(".")[2]
    return ending if ending in TEXT_FORMATS else None


def compression_ending(name: str) -> str | None:
    """The ending that says how a file is compressed; None if it is not."""
    ending = _with_both_endings(name).rpartition(".")[2]
    return ending if ending in COMPRESSIONS else None


def _with_both_endings(name: str) -> str:
    """The name in lower case, `a.tgz` as `a.tar.gz`."""
    stem, dot, ending = name.lower().rpartition(".")
    return f"{stem}{dot}{_SHORT_ENDINGS.get(ending, ending)}"


def is_about_data(name: str) -> bool:
    """True for a file that describes data and holds none, by its name: a README, a licence, a dataset's metadata."""
    return _ABOUT_DATA.search(name) is not None


def format_titles() -> list[str]:
    """What the formats are called, each once, in order of preference."""
    return list(dict.fromkeys(one.title for one in TEXT_FORMATS.values()))


def format_endings() -> str:
    """`.parquet, .arrow, ...`, for messages."""
    return ", ".join(f".{ending}" for ending in TEXT_FORMATS)
