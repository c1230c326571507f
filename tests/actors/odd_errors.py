"""Errors that workers raise in tests, made where workers can import this module."""

from __future__ import annotations

import errno
import json


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
