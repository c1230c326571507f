"""Reads the log of a job as clients may see it, in parts that begin and end with lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from serve_app.redact import clean_lines

LOOK_S = 0.5
_PART = 1 << 18
_BEFORE = 1 << 14  # looked at to see whether a part begins inside a traceback


def read_log(home: Path, job_id: str, offset: int | None, most: int) -> tuple[str, int]:
    """The text from `offset` on (the last `most` bytes if not given), and where the next part begins."""
    path = home / "logs" / f"{job_id}.log"
    try:
        size = path.stat().st_size
        start = max(0, size - most) if offset is None else min(offset, size)
        with path.open("rb") as file:
            file.seek(max(0, start - _BEFORE))
            before = file.read(min(start, _BEFORE))
            data = file.read(most)
    except FileNotFoundError:
        return "", 0
    if before and not before.endswith(b"\n"):  # begin with a whole line
        cut = data.find(b"\n") + 1
        before, data, start = before + data[:cut], data[cut:], start + cut
    data = data[: data.rfind(b"\n") + 1] or (data if len(data) == most else b"")  # end with one: the rest comes later
    return "".join(clean_lines(_lines(data), _lines(before))), start + len(data)


async def tail_log(home: Path, job_id: str, offset: int, over: Callable[[], bool]) -> AsyncIterator[str]:
    """What stands in the log from `offset` on, and what is added, until `over()` and no more is there."""
    while True:
        last = await asyncio.to_thread(over)
        while True:
            text, after = await asyncio.to_thread(read_log, home, job_id, offset, _PART)
            if after == offset:
                break
            offset = after
            if text:
                yield text
        if last:
            return
        await asyncio.sleep(LOOK_S)


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines(keepends=True)
