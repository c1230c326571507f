"""Files of every format and compression, damaged in a seeded way, and what must come of each.

A damaged file ends with one DatasetError that names it and a place, or every row of it is a document or is counted.
Where a checksum or a structure covers the damage, the documents are the undamaged ones.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError
from sae.text.readers import SourceFile
from sae.text.source_documents import SourceDocuments

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "tar", "txt", "md")
COMPRESSIONS = ("", "gz", "bz2", "xz", "zst")
WHOLE = ("txt", "md")  # a document a file: nothing in it says where it ends
CHECKED = ("gz", "bz2", "xz")  # with checksums of what they hold
PLACE = re.compile(
    r"\b(line|row|member|byte|batch|document|the text|beginning|first (?:line|row)|character|the file|UTF-16|UTF-32|its name)\b"
)
LONGEST_MESSAGE = 500
MOST_BYTES = 1 << 20  # of a document, in these trials


class Damaged(NamedTuple):
    """A file: `texts` are its documents before the damage. `same_size`: no byte was put in or taken out."""

    name: str
    content: bytes
    texts: list[str]
    damage: str
    options: dict[str, Any]


class Found(NamedTuple):
    """What came of a file: "documents", "refused", or a fault in words."""

    outcome: str
    fault: str = ""
    message: str = ""


def damaged_file(seed: int, number: int) -> Damaged:
    """The file of a number: the same for the same seed."""
    rng = random.Random(f"files-{seed}-{number}")
    kind, compression = FORMATS[number % len(FORMATS)], rng.choice(COMPRESSIONS)
    damage = list(DAMAGES)[number // len(FORMATS) % len(DAMAGES)]
    texts = [_text(rng, place) for place in range(1 if kind in WHOLE else rng.randint(1, 12))]
    options: dict[str, Any] = {
        "heldout_fraction": 0, "invalid_text": rng.choice(["error", "skip", "replace"]),
        "long_documents": rng.choice(["error", "skip", "cut"]), "max_document_bytes": MOST_BYTES,
    }  # fmt: skip
    name = f"folder/a.{kind}{'.' * bool(compression)}{compression}"
    return DAMAGES[damage](rng, Damaged(name, b"", texts, damage, options), kind, compression)


def outcome(folder: Path, file: Damaged) -> Found:
    """Reads the file and judges what came of it."""
    path = folder / "file"
    path.write_bytes(file.content)
    source = SourceDocuments([SourceFile(file.name, path)], DatasetOptions(**file.options))
    try:
        found = [document.text for document in source]
    except DatasetError as error:
        message = str(error)
        return Found("refused", _fault_of_message(message, file), message)
    except Exception as error:  # noqa: BLE001  counted, whatever it is
        return Found("crashed", f"{type(error).__name__}: {error}"[:300])
    counts = source.counts
    return Found(
        "documents", _fault_of_documents(found, counts.empty + counts.invalid + counts.long, file, counts.long)
    )


def _fault_of_message(message: str, file: Damaged) -> str:
    if file.damage == "none":
        return "an undamaged file was refused"
    if file.name not in message:
        return "the message does not name the file"
    if len(message) >= LONGEST_MESSAGE:
        return f"the message has {len(message)} characters"
    return "" if PLACE.search(message.replace(file.name, "")) else "the message names no place"


def _fault_of_documents(found: list[str], left_out: int, file: Damaged, long: int) -> str:
    kind, compression = _endings(file.name)
    if file.damage == "none" and found != file.texts:
        return "an undamaged file gave other documents"
    if file.damage == "bomb":
        return "" if long else "a text above max_document_bytes was neither refused nor counted"
    if any(text.strip() == "" for text in found):
        return "a document without text"
    if file.damage in ("mixed", "encoding", "none"):
        return "" if len(found) + left_out >= len(file.texts) else "a row was lost in silence"
    checked = compression in CHECKED and file.damage in ("cut", "flipped", "zeroed", "left out", "doubled")
    if checked and found != file.texts and file.damage != "doubled":
        return "damage that a checksum shows was taken"
    if file.damage == "cut" and kind not in (*WHOLE, "csv", "tsv") and found != file.texts[: len(found)]:
        return "a cut file gave other texts than those before the cut"
    if file.damage == "cut" and kind in ("parquet", "arrow", "tar", "json") and found != file.texts:
        return "a cut file was taken for a whole one"
    if file.damage == "appended" and kind not in (*WHOLE, "csv", "tsv") and found != file.texts:
        return "what was put behind a file changed its documents"
    if file.damage == "appended" and compression and found != file.texts:
        return "what was put behind a compressed file changed its documents"
    if file.damage == "appended" and compression in CHECKED:
        return "bytes behind a compressed file were left out in silence"
    if file.damage == "flipped" and len(found) + left_out < _rows(file.content, kind, compression, len(file.texts)):
        return "a row was lost in silence"
    return ""


def _rows(content: bytes, kind: str, compression: str, undamaged: int) -> int:
    """How many rows a damaged file has that was read without an error: by its lines, or as before."""
    if kind == "jsonl" and not compression:
        return sum(bool(line.strip()) for line in content.split(b"\n"))
    if kind in ("parquet", "arrow"):
        return undamaged
    return 1


def _endings(name: str) -> tuple[str, str]:
    parts = name.split(".")
    return (parts[-2], parts[-1]) if parts[-1] in COMPRESSIONS and len(parts) > 2 else (parts[-1], "")


def _text(rng: random.Random, place: int) -> str:
    words = ["captain", "naïve", "東京", "😀", "a, b", '"quoted"', "\n", "\t", "light", "ß", "x" * 30]
    return f"document {place}: " + " ".join(rng.choice(words) for _ in range(rng.randint(1, 40)))


def write(kind: str, rows: list[dict[str, Any]]) -> bytes:
    """A file of a format with these rows; of plain text the texts one behind another."""
    if kind in WHOLE:
        return "".join(str(row["text"]) for row in rows).encode("utf-8", "surrogatepass")
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "json":
        return json.dumps(rows).encode()
    if kind in ("csv", "tsv"):
        import csv

        sink = io.StringIO(newline="")
        names = sorted({name for row in rows for name in row})
        writer = csv.DictWriter(sink, names, delimiter="," if kind == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        return sink.getvalue().encode("utf-8", "surrogatepass")
    if kind == "tar":
        return _tar(rows)
    table, whole = pa.Table.from_pylist(rows), io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, whole, row_group_size=4, write_page_checksum=True)
    else:
        with pa.ipc.new_file(whole, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    return whole.getvalue()


def _tar(rows: list[dict[str, Any]]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for number, row in enumerate(rows):
            text = str(row["text"]).encode("utf-8", "surrogatepass")
            others = json.dumps({key: value for key, value in row.items() if key != "text"}).encode()
            for ending, content in (("txt", text), ("json", others)):
                member = tarfile.TarInfo(f"{number:04d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def pack(content: bytes, compression: str) -> bytes:
    """The content, compressed."""
    if compression == "zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(content)
        packed: bytes = sink.getvalue().to_pybytes()
        return packed
    packers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress
    }  # fmt: skip
    return packers[compression](content)


def _whole(file: Damaged, kind: str, compression: str) -> bytes:
    rows = [{"id": place, "text": text} for place, text in enumerate(file.texts)]
    return pack(write(kind, rows), compression)


def _none(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    return file._replace(content=_whole(file, kind, compression))


def _cut(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    content = _whole(file, kind, compression)
    return file._replace(content=content[: rng.randrange(len(content))])


def _flipped(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    content = bytearray(_whole(file, kind, compression))
    for _ in range(rng.randint(1, 6)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return file._replace(content=bytes(content))


def _zeroed(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    content = bytearray(_whole(file, kind, compression))
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.randint(1, 200))
    content[start:stop] = bytes(stop - start)
    return file._replace(content=bytes(content))


def _left_out(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    content = _whole(file, kind, compression)
    start = rng.randrange(len(content))
    return file._replace(content=content[:start] + content[start + rng.randint(1, 50) :])


def _doubled(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    content = _whole(file, kind, compression)
    start = rng.randrange(len(content))
    return file._replace(content=content[: start + rng.randint(1, 50)] + content[start:])


def _appended(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    return file._replace(content=_whole(file, kind, compression) + rng.randbytes(rng.randint(1, 400)))


def _noise(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    return file._replace(content=pack(rng.randbytes(rng.randint(0, 3000)), compression))


def _wrong_ending(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    content = _whole(file, kind, compression)
    other = rng.choice([name for name in FORMATS if name != kind])
    ending = rng.choice([one for one in COMPRESSIONS if one != compression] if rng.random() < 0.5 else [compression])
    return file._replace(name=f"folder/a.{other}{'.' * bool(ending)}{ending}", content=content)


def _mixed(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    """Rows of which some hold another thing than text, or another column."""
    odd: list[Any] = [None, 7, 1.5, True, ["a list"], {"text": "inside"}, "\udc00 half a pair", ""]
    rows: list[dict[str, Any]] = [{"id": place, "text": text} for place, text in enumerate(file.texts)]
    if kind in ("parquet", "arrow"):
        one = rng.choice([None, 7, ["a list"], {"text": "inside"}])
        rows = [{"id": place, "text": one} for place in range(len(rows))]
    else:
        for row in rows:
            if rng.random() < 0.3:
                row["text"] = rng.choice(odd)
            elif rng.random() < 0.1 and kind in ("jsonl", "json"):
                del row["text"]
                row["other"] = "x"
    return file._replace(content=pack(write(kind, rows), compression))


def _encoding(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    """A file of text in another encoding; in Parquet and Arrow bytes that are not UTF-8."""
    encoding = rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "shift_jis", "utf-8-sig"])
    rows = [{"id": place, "text": text} for place, text in enumerate(file.texts)]
    if kind in ("parquet", "arrow"):
        raw = [text.encode(encoding, "replace") for text in file.texts]
        ends = [0, *(sum(map(len, raw[: place + 1])) for place in range(len(raw)))]
        offsets = pa.py_buffer(b"".join(end.to_bytes(4, "little") for end in ends))
        column = pa.StringArray.from_buffers(len(raw), offsets, pa.py_buffer(b"".join(raw)))
        table, whole = pa.table({"text": column}), io.BytesIO()
        if kind == "parquet":
            pq.write_table(table, whole)
        else:
            with pa.ipc.new_stream(whole, table.schema) as writer:
                writer.write_table(table)
        return file._replace(content=pack(whole.getvalue(), compression))
    if kind == "tar":
        for row in rows:
            row["text"] = str(row["text"]).encode(encoding, "replace").decode("utf-8", "replace")
        return file._replace(content=pack(write(kind, rows), compression))
    if kind == "jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif kind == "json":
        content = json.dumps(rows, ensure_ascii=False)
    else:
        content = write(kind, rows).decode()
    return file._replace(content=pack(content.encode(encoding, "replace"), compression))


def _bomb(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    """A few kilobytes that hold a text of many megabytes."""
    size = MOST_BYTES * rng.choice([2, 8, 32])
    file = file._replace(texts=["a" * size])
    return file._replace(content=_whole(file, kind, compression or "gz"), name=f"folder/a.{kind}.{compression or 'gz'}")


def _deep(rng: random.Random, file: Damaged, kind: str, compression: str) -> Damaged:
    """JSON that is nested deeply; in other formats the same characters as a file."""
    depth = rng.choice([500, 5_000, 100_000])
    opened, closed = rng.choice([('{"a":', "}"), ("[", "]")])
    value = f'{{"text": "x", "deep": {opened * depth}1{closed * depth}}}'
    content = f"[{value}]" if kind == "json" else value + "\n"
    return file._replace(content=pack(content.encode(), compression), texts=["x"])


DAMAGES: dict[str, Callable[[random.Random, Damaged, str, str], Damaged]] = {
    "none": _none, "cut": _cut, "flipped": _flipped, "zeroed": _zeroed, "left out": _left_out, "doubled": _doubled,
    "appended": _appended, "noise": _noise, "wrong ending": _wrong_ending, "mixed": _mixed, "encoding": _encoding,
    "bomb": _bomb, "deep": _deep,
}  # fmt: skip
