"""Shards of rows, and the reader that gives them back by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sae.formats import tokens as module
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import Role, Segments, TokensError, TokensInfo, TokensReader, load_info, shard_name, write_shard

LENGTH = 8


def write(folder: Path, rows: int, per_shard: int) -> np.ndarray:
    """Rows of one document each, number 100 + row, behind a BOS, the last two places padded; returns the ids."""
    ids = np.arange(rows * LENGTH, dtype=np.int32).reshape(rows, LENGTH)
    roles = np.zeros((rows, LENGTH), np.uint8)
    roles[:, 0], roles[:, -2:] = Role.BOS, Role.PAD
    for number, first in enumerate(range(0, rows, per_shard)):
        part = slice(first, min(first + per_shard, rows))
        n = part.stop - part.start
        segments = Segments(
            np.arange(n + 1), np.arange(part.start, part.stop) + 100, np.ones(n, np.int32), np.zeros(n, np.int64)
        )
        write_shard(folder / shard_name("train", number), "train", ids[part], roles[part], segments)
    splits = {"train": {"rows": rows, "shards": -(-rows // per_shard)}, "test": {"rows": 0, "shards": 0}}
    TokensInfo(LENGTH, "row", "none", True, per_shard, 99, 0, 1, 1, splits).save(folder / "tokens.json")
    return ids


def test_reads_any_range_over_shards_and_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROW_GROUP", 3)
    ids = write(tmp_path, rows=17, per_shard=7)
    reader = TokensReader(LocalFiles(tmp_path), "train")
    assert (reader.n_rows, reader.context_length, reader.attention) == (17, LENGTH, "row")
    assert (reader.bos_id, reader.eos_id, reader.pad_id) == (0, 1, 1)
    for start in range(18):
        for stop in range(start, 18):
            rows = reader.read(start, stop)
            np.testing.assert_array_equal(rows.input_ids, ids[start:stop])
            assert rows.input_ids.dtype == np.int32
            assert rows.roles.dtype == np.uint8
            assert rows.document.shape == (stop - start, LENGTH)
            assert (rows.document[:, 0] == -1).all()
            assert (rows.document[:, -2:] == -1).all()
            assert (rows.document[:, 1:-2] == np.arange(start, stop)[:, None] + 100).all()


def test_lanes_that_read_a_block_in_turn_read_each_row_group_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROW_GROUP", 3)
    ids = write(tmp_path, rows=30, per_shard=7)
    reader = TokensReader(LocalFiles(tmp_path), "train")
    loaded: list[tuple[int, int]] = []
    load = reader._load
    monkeypatch.setattr(reader, "_load", lambda *group: loaded.append(group) or load(*group))
    for lane in range(3):
        for step in range(5):
            first = step * 6 + lane * 2
            np.testing.assert_array_equal(reader.read(first, first + 2).input_ids, ids[first : first + 2])
    assert sorted(loaded) == sorted({(row // 7, row % 7 // 3) for row in range(30)})
    monkeypatch.setattr(reader, "_most_groups", 2)
    reader.read(0, 30)
    assert len(reader._groups) == 2


def test_documents_change_at_segment_starts(tmp_path: Path) -> None:
    ids = np.zeros((2, LENGTH), np.int32)
    roles = np.zeros((2, LENGTH), np.uint8)
    segments = Segments(np.array([0, 2, 3]), np.array([4, 5, 5]), np.array([0, 3, 0], np.int32), np.array([9, 0, 5]))
    write_shard(tmp_path / "train-00000.parquet", "train", ids, roles, segments)
    TokensInfo(LENGTH, "document", "none", False, 10, 9, None, None, 0, {"train": {"rows": 2}}).save(
        tmp_path / "tokens.json"
    )
    rows = TokensReader(LocalFiles(tmp_path), "train").read(0, 2)
    assert rows.document.tolist() == [[4, 4, 4, 5, 5, 5, 5, 5], [5] * 8]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"no tokens\.json"):
        load_info(LocalFiles(tmp_path))
    write(tmp_path, rows=5, per_shard=4)
    with pytest.raises(TokensError, match="split 'validation'; there are train"):
        TokensReader(LocalFiles(tmp_path), "validation")
    with pytest.raises(TokensError, match="split 'test'; there are train"):  # it is named, but has no rows
        TokensReader(LocalFiles(tmp_path), "test")
    reader = TokensReader(LocalFiles(tmp_path), "train")
    with pytest.raises(IndexError, match="which has 5"):
        reader.read(0, 6)
    (tmp_path / "train-00001.parquet").write_bytes((tmp_path / "train-00000.parquet").read_bytes())
    with pytest.raises(TokensError, match=r"train-00001\.parquet: row group 0 does not hold 1 rows"):
        reader.read(4, 5)
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(TokensError, match=r"cannot read rows of train-00000\.parquet"):
        reader.read(0, 1)
    (tmp_path / "tokens.json").write_text("{}")
    with pytest.raises(TokensError, match="not a description of tokens"):
        load_info(LocalFiles(tmp_path))
