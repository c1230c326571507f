"""Fixed pieces of work over Ray Data: each done once, errors and stops passed on, a killed worker survived."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from actors.tokenize_tasks import run_tasks
from configs.requirements import Requirement
from sae.text.tokenizer_spec import TokenizeError

ONE = Requirement(workers=1, cpus=1)
TWO = Requirement(workers=2, cpus=1)
ITEMS = [{"name": f"p{i}", "weight": i} for i in range(8)]


def mark(item: dict[str, Any], folder: str) -> dict[str, Any]:
    Path(folder, f"{item['name']}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return {"weight": item["weight"]}


def refuse(item: dict[str, Any]) -> dict[str, Any]:
    raise TokenizeError(f"{item['name']} is not to be had")


def die_once(item: dict[str, Any], folder: str) -> dict[str, Any]:
    """Kills its own process at the first try of item p3."""
    flag = Path(folder, "died")
    if item["name"] == "p3" and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark(item, folder)


def never() -> bool:
    return False


def test_every_item_is_done_once(ray_cluster: str, tmp_path: Path) -> None:
    weights: list[int] = []
    assert run_tasks(mark, ITEMS, TWO, weights.append, never, folder=str(tmp_path))
    assert sorted(weights) == list(range(8))
    assert sorted(p.name.split("-")[0] for p in tmp_path.iterdir()) == [item["name"] for item in ITEMS]
    assert run_tasks(mark, [], TWO, weights.append, never, folder=str(tmp_path))


def test_an_error_says_what_the_task_said(ray_cluster: str) -> None:
    with pytest.raises(TokenizeError, match=r"^p\d is not to be had$"):
        run_tasks(refuse, ITEMS, ONE, lambda weight: None, never)


def fill_the_disk(item: dict[str, Any]) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")


def test_a_full_disk_stays_one(ray_cluster: str) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        run_tasks(fill_the_disk, ITEMS[:1], ONE, lambda weight: None, never)
    assert caught.value.errno == errno.ENOSPC


def test_a_stop_ends_it_early(ray_cluster: str, tmp_path: Path) -> None:
    done: list[int] = []
    assert not run_tasks(mark, ITEMS * 20, ONE, done.append, lambda: len(done) >= 2, folder=str(tmp_path))
    assert len(done) == 2
    seen = len(list(tmp_path.iterdir()))
    time.sleep(1.0)
    assert len(list(tmp_path.iterdir())) <= seen + 8  # what was in flight; the rest is not begun


def test_a_killed_worker_has_its_item_done_again(ray_cluster: str, tmp_path: Path) -> None:
    weights: list[int] = []
    assert run_tasks(die_once, ITEMS, TWO, weights.append, never, folder=str(tmp_path))
    assert (tmp_path / "died").exists()
    assert sorted(weights) == list(range(8))
