"""Keeps the C library from handing freed memory back to the kernel between steps."""

from __future__ import annotations

import ctypes
import sys

# The same as an environment, for processes that are about to start. It is needed where the work runs in a thread (Ray
# Train): glibc gives a thread an arena of its own, whose memory mallopt no longer keeps.
ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_MMAP_MAX_": "0", "MALLOC_ARENA_MAX": "1"}

_MALLOPT = {"M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_MMAP_MAX": (-4, 0), "M_ARENA_MAX": (-8, 1)}


def keep_freed_memory() -> bool:
    """Lets glibc reuse freed blocks, large ones too, instead of unmapping them. True if it took effect.

    A pass on the CPU frees and asks again for the same buffers in every layer and step. By default each is mapped
    anew and its pages are faulted in one by one. Measured on one thread: SmolLM2-135M, 8 rows of 128 tokens, from 71%
    to 87% of the matrix-multiply rate; filling a fresh 150 MB buffer, from 97 ms to 28 ms. For worker processes, as
    early as possible; the price is that a process keeps its peak memory. Without glibc: no effect, returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    taken = [mallopt(parameter, value) == 1 for parameter, value in _MALLOPT.values()]
    return all(taken)
