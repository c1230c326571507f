"""Checkpoints: what is kept, what is of use, and what a killed worker left."""

from __future__ import annotations

from pathlib import Path

import torch

from actors.checkpoints import Checkpoints
from cluster.store import Store


def _save(checkpoints: Checkpoints, block: int, *saes: str) -> None:
    checkpoints.commit(block, [checkpoints.put(block, sae, {"x": torch.tensor([block])}) for sae in saes])


def test_the_newest_two_of_use_are_kept(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    checkpoints = Checkpoints(store, "a" * 16, 1, tmp_path)
    for block in (20, 24):
        _save(checkpoints, block, "B")  # a run of B alone; then A is to be made anew with it, from the start
    for block in (4, 8, 12):
        _save(checkpoints, block, "A", "B")
        latest = checkpoints.latest(["A", "B"])
        assert latest is not None
        assert latest.block == block
    assert len(store.list("checkpoints")) == 2


def test_nothing_stays_behind(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    mine, other = (Checkpoints(store, run * 16, 1, tmp_path) for run in "ab")
    _save(mine, 1, "A")
    _save(other, 1, "A")
    mine.put(2, "A", {"x": torch.tensor([2])})  # killed before the commit
    assert len(store.list("checkpoints", unfinished=True)) == 3
    mine.clear()
    assert store.list("checkpoints", unfinished=True) == store.list("checkpoints")
    assert other.latest(["A"]) is not None
