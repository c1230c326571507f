"""Reads the log of a job, redacted for clients, in parts of whole lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from serve_app.security.redaction import redact_log

POLL_S = 0.5
LONGEST = 1 << 16  # bytes of a line; the rest of a longer one is dropped
_PART = 1 << 18
_BEFORE = 1 << 14  # bytes before a part, to detect that it begins inside a traceback


def read_log(home: Path, job_id: str, offset: int | None, most: int, ended: bool) -> tuple[str, int]:
    """The text from `offset` on (the last `most` bytes if not given), and where the next part begins.

    Only whole lines are returned: in a piece of one, redaction would miss a path. So a part can be longer than `most` by
    the rest of a line, and a part that begins within a line begins after it. `ended`: nothing will be added, so that a
    last line without an end is whole.
    """
    try:
        with (home / "logs" / f"{job_id}.log").open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - most) if offset is None else min(offset, size)
            file.seek(max(0, start - _BEFORE))
            before = file.read(min(start, _BEFORE))
            data = _lines_from(file, most, ended)
    except FileNotFoundError:
        return "", 0
    if before and not before.endswith(b"\n"):  # begin with a whole line
        cut = (data.find(b"\n") + 1) or len(data)
        before, data, start = before + data[:cut], data[cut:], start + cut
    return "".join(redact_log(_text(data), _text(before))), start + len(data)


def _lines_from(file: BinaryIO, most: int, ended: bool) -> bytes:
    """From here on up to `most` bytes, but whole lines, and at least one if there is one."""
    data = file.read(most)
    end = data.rfind(b"\n") + 1
    if end and not (ended and len(data) < most):
        return data[:end]
    more = file.read(LONGEST) if len(data) == most else b""
    line = (more.find(b"\n") + 1) or (len(more) if ended or len(more) == LONGEST else 0)
    return data + more[:line] if line or ended else data[:end]


async def tail_log(
    home: Path, job_id: str, offset: int, over: Callable[[], bool], may_continue: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """The log from `offset` on, and what is added, until `over()` is true and all is read.

    It also ends when `may_continue()` is false.
    """
    while await may_continue():
        last = await asyncio.to_thread(over)
        while True:
            text, after = await asyncio.to_thread(read_log, home, job_id, offset, _PART, last)
            if after == offset:
                break
            offset = after
            if text:
                yield text
        if last:
            return
        await asyncio.sleep(POLL_S)


def _text(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines(keepends=True)
