"""Errors that workers raise in tests, and who raises them. Workers import this module, so it imports little."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from configs.resource_profiles import load_profile


class Odd(Exception):
    """Cannot be unpickled: its __init__ takes other arguments than Exception's."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"odd: {first} and {second}")


def make(fault: str) -> Exception:
    """An error by the name of its kind."""
    if fault == "own":
        from cluster.store import StoreError

        return StoreError("the shard is gone")
    if fault == "gpu":
        import torch

        return torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB"
        )
    if fault == "disk":
        return OSError(errno.ENOSPC, "No space left on device", "/x")
    if fault == "json":
        return json.JSONDecodeError("no value", "x", 0)
    return Odd(1, 2)


class Worker:
    """Raises what it is given the name of, and writes down each call."""

    def __init__(self, calls: Path) -> None:
        self._calls = calls

    def work(self, fault: str) -> None:
        with self._calls.open("a") as file:
            file.write(f"{fault}\n")
        if fault == "plain":
            load_profile("tpu", False)
        raise make(fault)
