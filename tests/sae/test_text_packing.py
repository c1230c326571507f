"""Rows: nothing is lost, nothing counts twice, and roles follow from where a token came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from configs.tokenize import TokenizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import Role, TokenRows, TokensReader, load_info, shard_name
from sae.text.flat_tokens import ChunkCounts, FlatTokens, open_flat, write_flat
from sae.text.packing import ShardCounts, pack_shard
from sae.text.shard_layout import row_length, row_order, split_layouts, split_shards
from sae.text.statistics import seen_ids, tokens_info
from sae.text.tokenizer_spec import TokenizerSpec

BOS, EOS, SPECIAL, VOCAB = 0, 1, 2, 50
SPLITS = ("train", "validation", "test")
EXPECTED = [855, 921, 269, 11, 850]  # of row_order('train', 1000, 0)
TOKENIZER = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0")).to_str()


class Document(NamedTuple):
    split: str
    ids: list[int]


class Packed(NamedTuple):
    rows: dict[str, TokenRows]  # in original order
    counts: list[ChunkCounts]
    folder: Path


def spec(row_bos: int | None, separator: int | None, pad: int = EOS) -> TokenizerSpec:
    return TokenizerSpec(
        VOCAB, VOCAB, BOS, EOS, pad, row_bos, separator, (BOS, EOS, SPECIAL), (BOS, EOS), "special", TOKENIZER
    )


def pack(
    folder: Path,
    chunks: list[list[Document]],
    known: TokenizerSpec,
    config: TokenizeConfig,
    datasets: list[int] | None = None,
) -> Packed:
    """Both passes in this process; rows are put back into their original order.

    `datasets`: chunks of each dataset of a mixture.
    """
    counts, first = [], 0
    for number, chunk in enumerate(chunks):
        docs = range(first, first + len(chunk))
        path = folder / f"{number}.arrow"
        found = write_flat(path, docs, [d.split for d in chunk], [d.ids for d in chunk], known)
        counts.append(ChunkCounts.from_json(found.to_json()))
        assert counts[-1] == found
        first += len(chunk)
    layouts = split_layouts(counts, known, config, datasets)
    length = row_length(layouts, config)
    positions = {layout.split: ShardCounts([0] * len(Role), []) for layout in layouts}

    def flat(chunk: int) -> FlatTokens:
        return open_flat(folder / f"{chunk}.arrow")

    for layout in layouts:
        for shard in split_shards(layout, config.rows_per_shard):
            path = folder / shard_name(shard.split, shard.number)
            found_counts = pack_shard(shard, layout, flat, known, length, config, path)
            positions[shard.split] = positions[shard.split].add(found_counts)
    tokens_info(config, known, counts, layouts, positions).save(folder / "tokens.json")
    rows = {}
    for layout in layouts:
        shuffled = TokensReader(LocalFiles(folder), layout.split).read(0, layout.rows)
        back = np.argsort(layout.order(config.seed))
        rows[layout.split] = TokenRows(*(column[back] for column in shuffled))
    return Packed(rows, counts, folder)


def settings_of(length: int, per_shard: int = 3, **options: Any) -> TokenizeConfig:
    given = {"context_length": length, "rows_per_shard": per_shard, "return_attention_mask": False, **options}
    return TokenizeConfig(dataset="datasets/" + "0" * 16, model="models/" + "0" * 16, **given)


documents = st.builds(Document, st.sampled_from(SPLITS), st.lists(st.integers(0, VOCAB - 1), max_size=30))


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.lists(documents, max_size=6), min_size=1, max_size=4).filter(
        lambda c: any(d.ids for x in c for d in x)
    ),
    row_bos=st.sampled_from([None, BOS, EOS]),
    separator=st.sampled_from([None, BOS, EOS]),
    length=st.integers(8, 17),
    seed=st.integers(0, 3),
)
def test_every_token_stands_in_one_place(
    tmp_path_factory: pytest.TempPathFactory,
    chunks: list[list[Document]],
    row_bos: int | None,
    separator: int | None,
    length: int,
    seed: int,
) -> None:
    known = spec(row_bos, separator)
    packed = pack(tmp_path_factory.mktemp("rows"), chunks, known, settings_of(length, seed=seed))
    numbered = list(enumerate(document for chunk in chunks for document in chunk))
    figures = load_info(LocalFiles(packed.folder)).splits
    for split in SPLITS:
        own = [(number, document.ids) for number, document in numbered if document.split == split and document.ids]
        if not own:
            assert split not in packed.rows
            continue
        rows = packed.rows[split]
        ids, roles, document = rows.input_ids.ravel(), rows.roles.ravel(), rows.document.ravel()
        text = np.isin(roles, (Role.DATA, Role.SPECIAL, Role.BOUNDARY))
        # The documents, whole and in order, and for each token the document it is from.
        assert ids[text].tolist() == [i for _, tokens in own for i in tokens]
        assert document[text].tolist() == [number for number, tokens in own for _ in tokens]
        assert ((ids[text] == SPECIAL) == (roles[text] == Role.SPECIAL)).all()
        assert (np.isin(ids[text], (BOS, EOS)) == (roles[text] == Role.BOUNDARY)).all()
        # What was put in: separators after each document, a BOS a row, padding at the very end only.
        assert (roles == Role.SEPARATOR).sum() == (0 if separator is None else len(own))
        assert (ids[roles == Role.SEPARATOR] == (separator or 0)).all()
        assert document[roles == Role.SEPARATOR].tolist() == ([] if separator is None else [n for n, _ in own])
        at_bos = np.zeros(rows.roles.shape, bool)
        at_bos[:, 0] = row_bos is not None
        assert ((rows.roles == Role.BOS) == at_bos).all()
        assert (document[(roles == Role.BOS) | (roles == Role.PAD)] == -1).all()
        padded = int((roles == Role.PAD).sum())
        assert padded < length
        assert (roles[len(roles) - padded :] == Role.PAD).all()
        assert figures[split]["roles"] == {role.name.lower(): int((roles == role).sum()) for role in Role}
        assert figures[split]["tokens"] == len(roles) - padded
        assert figures[split]["documents"] == len(own)


@settings(max_examples=30, deadline=None)
@given(chunk=st.lists(documents.filter(lambda d: len(d.ids) > 0), min_size=1, max_size=8))
def test_segments_say_where_in_its_document_a_token_is(
    tmp_path_factory: pytest.TempPathFactory, chunk: list[Document]
) -> None:
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("rows")
    pack(folder, [chunk], spec(BOS, EOS), settings_of(9))
    for path in folder.glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            assert set(row) == {"input_ids", "roles", "segments", "split"}
            assert row["segments"][0]["start"] == 1
            bounds = [s["start"] for s in row["segments"]] + [9]
            for segment, end in zip(row["segments"], bounds[1:]):
                document = chunk[segment["doc"]]
                assert document.split == row["split"]
                whole = [*document.ids, EOS]
                here = [i for i, r in zip(row["input_ids"], row["roles"]) if r != Role.PAD][segment["start"] : end]
                assert here == whole[segment["offset"] : segment["offset"] + len(here)]


def test_the_same_shuffle_for_the_same_seed_and_split() -> None:
    first = row_order("train", 1000, 0)
    assert sorted(first.tolist()) == list(range(1000))
    assert first[:5].tolist() == EXPECTED  # a change here changes every tokens artifact: raise the stage's VERSION
    assert first.tolist() != row_order("test", 1000, 0).tolist()
    assert first.tolist() != row_order("train", 1000, 1).tolist()


def test_unique_tokens_are_those_of_the_text(tmp_path: Path) -> None:
    chunks = [[Document("train", [5, 5, 7])], [Document("test", [7, 49])]]
    packed = pack(tmp_path, chunks, spec(BOS, EOS), settings_of(8))
    assert seen_ids(packed.counts, VOCAB) == [5, 7, 49]
    statistics = load_info(LocalFiles(tmp_path)).statistics
    assert (statistics["unique_tokens"], statistics["unique_percent"]) == (3, 6.0)
    assert statistics["excluded"] == {"bos": 2, "special": 0, "separator": 2, "pad": 7, "boundary": 0, "repeated": 0}
    assert statistics["data_tokens"] == 5
    assert statistics["split_percent"] == {"train": 50.0, "test": 50.0}
