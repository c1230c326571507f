"""Looking at datasets and tokens from the command line: documents, rows, statistics."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any

from configs.artifact_ids import KINDS, parse_ref

_SPLITS = ("train", "validation", "test")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def samples_arguments(parser: argparse.ArgumentParser) -> None:
    """Which documents of which dataset."""
    parser.add_argument("dataset", metavar="datasets/ID", help="the dataset")
    _search_arguments(parser, "document")
    parser.add_argument(
        "--where", metavar="COLUMN=VALUE", action="append", default=[],
        help="only documents with this value of a column; may be repeated, then all must hold",
    )  # fmt: skip
    parser.add_argument(
        "--characters", type=_positive, default=300, help="of each text that the terminal shows (default: 300)"
    )


def rows_arguments(parser: argparse.ArgumentParser) -> None:
    """Which rows of which tokens."""
    parser.add_argument("tokens", metavar="tokens/ID", help="the tokens")
    _search_arguments(parser, "row")
    parser.add_argument("--token", type=_from_0, metavar="ID", help="only rows with this token id, padding left out")
    parser.add_argument("--doc", type=_from_0, metavar="NUMBER", help="only rows with a part of this document")


def statistics_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which artifact."""
    parser.add_argument("artifact", metavar="KIND/ID", help=f"an artifact ({', '.join(KINDS)})")


def samples(given: argparse.Namespace) -> dict[str, Any]:
    """Documents of a dataset: texts on standard error, all of them as JSON on standard output."""
    from cluster.store import Store
    from sae.formats.dataset import DatasetReader
    from sae.text.document_search import DocumentQuery, find_documents, parse_where
    from sae.text.text_search import text_search

    reader = DatasetReader(Store.open().files(parse_ref(given.dataset, "datasets")))
    search = text_search(given.contains, given.regex, given.ignore_case)
    query = DocumentQuery(given.split, parse_where(given.where, reader.info.columns), search)
    found = find_documents(reader, query, given.start, given.limit, given.seconds)
    for row in found.items:
        begin = max(0, (search.first(row["text"]) or 0) - given.characters // 2) if search else 0
        text = printable(row["text"][begin : begin + given.characters])
        print(f"--- document {row['doc']}, {row['split']}, {row['text_bytes']:,} bytes\n{text}", file=sys.stderr)
    return _answer(found, "documents")


def rows(given: argparse.Namespace) -> dict[str, Any]:
    """Rows of tokens: their text with roles and borders on standard error, all as JSON on standard output."""
    from cluster.store import Store
    from sae.report.token_text import TokenText
    from sae.text.row_search import RowQuery, RowTexts, find_rows
    from sae.text.text_search import text_search

    store = Store.open()
    files = store.files(parse_ref(given.tokens, "tokens"))
    model = store.files(parse_ref(files.manifest.inputs["model"], "models"))
    pieces = TokenText(model.path("tokenizer.json").read_text(encoding="utf-8"))
    search = text_search(given.contains, given.regex, given.ignore_case)
    query = RowQuery(given.split, given.token, given.doc, search)
    found = find_rows(files, query, RowTexts(pieces), given.start, given.limit, given.seconds)
    for row in found.items:
        row["texts"] = pieces.strings(row["ids"])
        print(f"--- row {row['row']}, {row['split']}\n{printable(rendered(row))}", file=sys.stderr)
    return _answer(found, "rows")


def statistics(given: argparse.Namespace) -> dict[str, Any]:
    """The counts, sizes and metrics of an artifact, indented on standard error, as one line on standard output."""
    from cluster.store import Store

    summary: dict[str, Any] = Store.open().files(parse_ref(given.artifact)).manifest.summary
    print(json.dumps(summary, indent=2, ensure_ascii=False), file=sys.stderr)
    return summary


def rendered(row: dict[str, Any]) -> str:
    """The text of a row for a terminal: `[document 7]` where one begins, `[document 7 from token 90]` where it goes on.

    Neighbours of one role that are no data are shown as one `[role text]`; padding is counted. `[by user]` stands where a
    speaker begins.
    """
    borders = {part["start"]: part for part in row["documents"]}
    shown: list[str] = []
    before, last = "none", "data"  # the speaker and the role of what is shown last
    for position, (text, role, speaker) in enumerate(zip(row["texts"], row["roles"], row["speakers"], strict=True)):
        if (part := borders.get(position)) is not None:
            shown.append(f"[document {part['doc']}" + (f" from token {part['offset']}]" if part["offset"] else "]"))
            last = "data"
        if speaker not in (before, "none"):
            shown.append(f"[by {speaker}]")
            last = "data"
        before = speaker
        if role not in ("data", "pad"):
            shown.append(f"{shown.pop()[:-1]}{text}]" if role == last else f"[{role} {text}]")
        elif role == "data":
            shown.append(text)
        last = role
    padding = row["roles"].count("pad")
    return "".join(shown) + (f"[{padding} of padding]" if padding else "")


def printable(text: str) -> str:
    """A text that cannot steer a terminal: control characters but ends of lines and tabs as `\\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _search_arguments(parser: argparse.ArgumentParser, noun: str) -> None:
    parser.add_argument("--split", choices=_SPLITS, help="only this split")
    parser.add_argument("--contains", metavar="TEXT", help=f"only {noun}s whose text has this substring")
    parser.add_argument(
        "--regex", metavar="PATTERN", help=f"only {noun}s whose text matches (RE2: no backreferences, no lookaround)"
    )
    parser.add_argument("--ignore-case", action="store_true", help="letters match in either case")
    parser.add_argument("--start", type=_from_0, default=0, metavar="NUMBER", help=f"from this {noun} on (default: 0)")
    parser.add_argument("--limit", type=_positive, default=10, help="how many (default: 10)")
    parser.add_argument(
        "--seconds", type=_seconds, default=60.0, help="end after about so long with what was found (default: 60)"
    )


def _answer(found: Any, noun: str) -> dict[str, Any]:
    more = "" if found.next is None else f"; --start {found.next} goes on"
    print(f"{len(found.items)} found; looked at {found.looked_at:,} of {found.total:,} {noun}{more}", file=sys.stderr)
    return {"items": found.items, "next": found.next, "looked_at": found.looked_at, "total": found.total}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _from_0(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return number
