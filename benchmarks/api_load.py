"""Clients of the API, in a process of their own: python -m benchmarks.api_load URL TOKEN SECONDS RATE CLIENTS PATH...

Each client sends RATE requests a second over one connection (0: one after the other, as fast as they are answered). Prints
the seconds of each answer, counted from when it was due, and what went wrong, as one JSON object. It shares the machine's
cores with the server that it measures, so it takes as little of them as it can.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp


async def client(
    number: int, http: aiohttp.ClientSession, paths: list[str], rate: float, until: float
) -> dict[str, Any]:
    """One client's answers."""
    draw = random.Random(number)
    took: list[float] = []
    wrong: list[str] = []
    due = time.monotonic() + (draw.random() / rate if rate else 0)
    turn = number
    while due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        path = paths[turn % len(paths)]
        turn += 1
        try:
            async with http.get(path) as response:
                await response.read()
            if response.status != 200:
                wrong.append(f"{response.status} {path}")
        except (aiohttp.ClientError, TimeoutError) as error:
            wrong.append(f"{type(error).__name__} {path}")
        now = time.monotonic()
        took.append(now - due)
        due = due + draw.uniform(0.5, 1.5) / rate if rate else now
    return {"took": took, "wrong": wrong}


async def main() -> None:
    url, token, seconds, rate, clients, *paths = sys.argv[1:]
    headers = {"Authorization": f"Bearer {token}"}
    until = time.monotonic() + float(seconds)
    async with AsyncExitStack() as stack:
        https = [
            await stack.enter_async_context(
                aiohttp.ClientSession(url, headers=headers, timeout=aiohttp.ClientTimeout(60))
            )
            for _ in range(int(clients))
        ]
        ended = await asyncio.gather(*(client(i, http, paths, float(rate), until) for i, http in enumerate(https)))
    took = [t for one in ended for t in one["took"]]
    print(json.dumps({"took": took, "wrong": [w for one in ended for w in one["wrong"]]}))


if __name__ == "__main__":
    asyncio.run(main())
