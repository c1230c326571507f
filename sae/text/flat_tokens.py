"""FlatTokens token files: the tokens of one chunk of documents, without gaps, between the two passes of tokenizing.

An Arrow file of one record batch, a row a document: doc int64, tokens large_list<int32>, roles large_list<uint8>,
speakers large_list<uint8> if there are chats, and metadata struct<large_string ...> if the config keeps columns of the
dataset.
Documents are sorted by split (train, validation, test), then by number; each is followed by its separator. It is read
through memory mapping, so a row's tokens are read and nothing else.
"""

from __future__ import annotations

import base64
import ctypes
import mmap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.formats.dataset import MESSAGES, TEMPLATE_VARIABLES
from sae.formats.tokens import SPLITS, Role, Speaker
from sae.text.chat_tokens import ChatRendering, encode_documents
from sae.text.encoded_texts import BLOCK_TOKENS, DocumentTokens, encoded_texts, token_blocks
from sae.text.token_counts import pack_counts
from sae.text.tokenizer_spec import TokenizerSpec, roles_by_id


class SplitCounts(NamedTuple):
    """What a chunk holds of one split. `stream` counts tokens and separators; `lengths` counts documents by tokens.

    `document_tokens` is the tokens of each document, in order: little-endian int32.
    """

    documents: int
    stream: int
    special: int
    boundary: int
    separators: int
    lengths: dict[int, int]
    document_tokens: bytes


class ChunkCounts(NamedTuple):
    """What the first pass says of a chunk: counts by split, and how often each token id occurs in its text (packed).

    `documents` counts those without tokens too.
    """

    splits: dict[str, SplitCounts]
    tokens: bytes
    documents: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, for the note beside a finished part."""
        splits = {
            name: part._asdict()
            | {"lengths": list(part.lengths.items()), "document_tokens": _encoded(part.document_tokens)}
            for name, part in self.splits.items()
        }
        return {"splits": splits, "tokens": _encoded(self.tokens), "documents": self.documents}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ChunkCounts:
        """Reads what to_json gave."""
        splits = {
            name: SplitCounts(
                **{
                    **part,
                    "lengths": {length: n for length, n in part["lengths"]},
                    "document_tokens": base64.b64decode(part["document_tokens"]),
                }
            )
            for name, part in value["splits"].items()
        }
        return cls(splits, base64.b64decode(value["tokens"]), value["documents"])


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


class EncodedChunk(NamedTuple):
    """The documents of a chunk as tokens: number, split and tokens of each, metadata [D] to keep, and speakers of chats."""

    docs: list[int]
    splits: list[str]
    tokens: Sequence[DocumentTokens]
    metadata: pa.StructArray | None = None
    speakers: Sequence[npt.NDArray[np.uint8]] | None = None


def encode_chunk(
    documents: pa.Table,
    spec: TokenizerSpec,
    folder: Path,
    first_document: int = 0,
    metadata: pa.StructArray | None = None,
    chats: ChatRendering | None = None,
) -> EncodedChunk:
    """The tokens of documents (columns doc, split, text): whole documents, nothing cut or added.

    `first_document` is added to their numbers; `metadata` is what to keep with the tokens of each. With `chats`, documents
    that have `messages` are rendered so, and each token gets a speaker. Tokens of long texts are in files, in `folder`.
    Raises TokenizeError for a chat that cannot be rendered.
    """
    docs = [first_document + doc for doc in documents.column("doc").to_pylist()]
    splits = documents.column("split").to_pylist()
    if chats is None:
        return EncodedChunk(docs, splits, encoded_texts(documents.column("text"), spec, folder), metadata)
    texts = documents.column("text").to_pylist()
    messages = documents.column(MESSAGES).to_pylist() if MESSAGES in documents.column_names else [None] * len(texts)
    has_variables = TEMPLATE_VARIABLES in documents.column_names
    variables = documents.column(TEMPLATE_VARIABLES).to_pylist() if has_variables else [None] * len(texts)
    spoken = encode_documents(texts, messages, docs, spec, chats, variables)
    return EncodedChunk(docs, splits, [one.ids for one in spoken], metadata, [one.speakers for one in spoken])


class FlatTokens(NamedTuple):
    """What a flat file holds: doc int64[D], ends int64[D + 1], tokens int32[T], roles uint8[T], metadata [D] if kept.

    `speakers` uint8[T] if there are chats.
    """

    doc: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int32]
    roles: npt.NDArray[np.uint8]
    metadata: pa.StructArray | None = None
    speakers: npt.NDArray[np.uint8] | None = None


def write_flat(
    path: Path,
    docs: Sequence[int],
    splits: Sequence[str],
    encoded: Sequence[DocumentTokens],
    spec: TokenizerSpec,
    metadata: pa.StructArray | None = None,
    speakers: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> ChunkCounts:
    """Writes the documents of a chunk; `encoded` are their tokens. Documents without tokens are left out."""
    counts, flat = flat_tokens(docs, splits, encoded, spec, metadata, speakers)
    offsets = pa.array(flat.ends)
    columns = {
        "doc": pa.array(flat.doc),
        "tokens": pa.LargeListArray.from_arrays(offsets, pa.array(flat.tokens)),
        "roles": pa.LargeListArray.from_arrays(offsets, pa.array(flat.roles)),
    }
    if flat.speakers is not None:
        columns["speakers"] = pa.LargeListArray.from_arrays(offsets, pa.array(flat.speakers))
    if flat.metadata is not None:
        columns["metadata"] = flat.metadata
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return counts


def flat_tokens(
    docs: Sequence[int],
    splits: Sequence[str],
    encoded: Sequence[DocumentTokens],
    spec: TokenizerSpec,
    metadata: pa.StructArray | None = None,
    speakers: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> tuple[ChunkCounts, FlatTokens]:
    """The documents of a chunk as write_flat writes them, and their counts. A separator has speaker NONE."""
    end = [] if spec.separator is None else [spec.separator]
    by_split = [(split, [i for i, name in enumerate(splits) if name == split and len(encoded[i])]) for split in SPLITS]
    order = [i for _, members in by_split for i in members]
    ends = np.zeros(len(order) + 1, np.int64)
    np.cumsum([len(encoded[i]) + len(end) for i in order], out=ends[1:])
    tokens, roles = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.uint8)
    role_of, occurrences = roles_by_id(spec), np.zeros(spec.id_limit, np.int64)
    counts: dict[str, SplitCounts] = {}
    at = 0
    for split, members in by_split:
        first = at
        for i in members:
            for ids in token_blocks(encoded[i]):
                tokens[at : at + len(ids)] = ids
                np.take(role_of, ids, out=roles[at : at + len(ids)])
                at += len(ids)
            tokens[at : at + len(end)], roles[at : at + len(end)] = end, Role.SEPARATOR
            at += len(end)
        if members:
            each = np.asarray([len(encoded[i]) for i in members], "<i4")
            separators = len(members) * len(end)
            own = count_ids(tokens[first:at], spec, separators)
            occurrences += own
            special, boundary = (int(own[role_of == role].sum()) for role in (Role.SPECIAL, Role.BOUNDARY))
            lengths = dict(Counter(each.tolist()))
            counts[split] = SplitCounts(
                len(members), at - first, special, boundary, separators, lengths, each.tobytes()
            )
    said = None
    if speakers is not None:
        nobody = np.full(len(end), Speaker.NONE, np.uint8)
        said = np.concatenate([np.zeros(0, np.uint8), *(part for i in order for part in (speakers[i], nobody))])
    flat = FlatTokens(
        np.asarray([docs[i] for i in order], np.int64),
        ends,
        tokens,
        roles,
        None if metadata is None else metadata.take(pa.array(order, pa.int64())),
        said,
    )
    return ChunkCounts(counts, pack_counts(occurrences), len(docs)), flat


def count_ids(tokens: npt.NDArray[np.int32], spec: TokenizerSpec, separators: int) -> npt.NDArray[np.int64]:
    """How often each id occurs, int64 [ids], but for the `separators` that are among the tokens."""
    counts = np.zeros(spec.id_limit, np.int64)
    for start in range(0, len(tokens), BLOCK_TOKENS):
        counts += np.bincount(tokens[start : start + BLOCK_TOKENS], minlength=len(counts))
    if spec.separator is not None:
        counts[spec.separator] -= separators
    return counts


@lru_cache(maxsize=1 << 14)
def map_flat(path: Path) -> FlatTokens:
    """open_flat, of a file that does not change: it stays mapped for the next rows that lie in it."""
    return open_flat(path)


def release_memory(flats: Iterable[FlatTokens]) -> None:
    """Takes what was read of the files of map_flat out of this process' memory. It is read again when it is wanted."""
    for flat in flats:
        for values in (flat.tokens, flat.roles, flat.speakers):
            if values is not None and values.nbytes:
                begin = values.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
                length = values.ctypes.data + values.nbytes - begin
                _madvise()(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


@lru_cache(maxsize=1)
def _madvise() -> Any:
    return ctypes.CDLL(None).madvise


def open_flat(path: Path) -> FlatTokens:
    """Maps a flat file. Raises OSError or ArrowInvalid if it is none."""
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
    tokens, roles = batch.column("tokens"), batch.column("roles")
    return FlatTokens(
        batch.column("doc").to_numpy(),
        tokens.offsets.to_numpy(),
        tokens.values.to_numpy(),
        roles.values.to_numpy(),
        batch.column("metadata") if "metadata" in batch.schema.names else None,
        batch.column("speakers").values.to_numpy() if "speakers" in batch.schema.names else None,
    )
