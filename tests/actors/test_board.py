"""The board of a training run: what is written on it is seen elsewhere, runs do not mix, and nothing stays behind."""

from __future__ import annotations

import ray
from ray.experimental.internal_kv import _internal_kv_list

from actors.progress_channel import Board


@ray.remote(num_cpus=0)
def _work(board: Board) -> bool:
    for rows in (10, 30, 20):  # a run that goes on from a checkpoint is behind what was told before
        board.report("rows", rows)
    board.report("checkpoint", 2)
    return board.stop_requested()


def test_a_worker_and_its_driver_see_the_same(ray_cluster: str) -> None:
    board, other = Board.open("run"), Board.open("run")
    assert board != other
    assert board.latest() == {}
    assert not ray.get(_work.remote(board))
    assert board.latest() == {"rows": 20, "checkpoint": 2}
    assert other.latest() == {}

    board.request_stop()
    assert ray.get(_work.remote(board))
    assert not other.stop_requested()

    other.report("rows", 1)
    board.clear()
    assert board.latest() == {}
    assert not board.stop_requested()
    assert other.latest() == {"rows": 1}
    other.clear()
    assert not _internal_kv_list("board/", namespace="raylens")
