"""The guard's limit of requests in progress, without a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from serve_app.security.guard import Guard
from serve_app.security.tokens import Tokens
from serve_app.settings import ApiSettings


def test_more_requests_than_a_replica_works_on(tmp_path: Path) -> None:
    """They get a problem with Retry-After, and a free place is used again. Serve's own full queue answers plain text."""
    tokens = Tokens(tmp_path)
    _, text = tokens.create("reader", ["read"])
    statuses: list[int] = []

    async def scenario() -> list[dict[str, Any]]:
        started, go = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            started.set()
            await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guard = Guard(app, ApiSettings(home=tmp_path, requests=1), tokens)
        first = asyncio.create_task(call(guard, "/v1/jobs"))
        await started.wait()
        refused = await call(guard, "/v1/jobs")
        go.set()
        return [refused, await first, await call(guard, "/v1/jobs")]

    async def call(guard: Guard, path: str) -> dict[str, Any]:
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {text}".encode())]
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b"", "client": None}
        answer: dict[str, Any] = {}

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            answer.update(message)

        await guard(scope, receive, send)
        statuses.append(answer["status"])
        return answer

    refused = asyncio.run(scenario())[0]
    assert statuses == [503, 200, 200]
    body = json.loads(refused["body"])
    assert (body["code"], body["status"]) == ("too_many_requests", 503)
    assert (b"retry-after", b"2") in refused["headers"]
    assert (b"content-type", b"application/problem+json") in refused["headers"]
