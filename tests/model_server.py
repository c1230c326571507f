"""A model server of our own with OpenAI's routes: it answers by a rule, and with the faults that are set.

Faults are taken by the next chat completions, one each: a status (429, 503, ...; with `retry_after`), "cut" (the connection
ends in the middle), "slow" (no answer for half a minute), "not json", "no choices", or "text:..." (an answer with that content).
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

Rule = Callable[[dict[str, Any], str], str]  # the JSON of the question and its system message -> the answer's content


class ModelServer:
    """A running server. `asked` are the bodies of all chat completions, in order of arrival."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.authorizations: set[str | None] = set()
        self.faults: list[int | str] = []  # "": none
        self.every: str | None = None  # a fault of all completions
        self.models: list[str] | None = ["judge"]  # None: there is no list
        self.key: str | None = None
        self.retry_after = "0"
        self.pause_s = 0.0
        self.over = False  # nobody waits for slow answers any more
        self.at_once = self.most_at_once = 0
        self.url = ""

    def questions(self) -> list[dict[str, Any]]:
        """The JSON of each question."""
        return [question_of(body["messages"]) for body in self.asked]


def _app(server: ModelServer) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def watched(request: Request, call_next: Any) -> Response:
        server.paths.append(request.url.path)
        server.authorizations.add(request.headers.get("Authorization"))
        if server.key is not None and request.headers.get("Authorization") != f"Bearer {server.key}":
            shown = request.headers.get("Authorization", "none")
            return JSONResponse({"error": {"message": f"wrong key: {shown}"}}, 401)
        response: Response = await call_next(request)
        return response

    @app.get("/v1/models")
    async def models() -> Response:
        if server.models is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in server.models]})

    @app.post("/elsewhere/chat/completions")
    async def redirected() -> Response:
        return RedirectResponse("http://198.51.100.1/v1/chat/completions")

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        server.asked.append(body)
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            await asyncio.sleep(server.pause_s)
            fault = server.faults.pop(0) if server.faults else server.every
            return await _answer(server, body, fault)
        finally:
            server.at_once -= 1

    return app


async def _answer(server: ModelServer, body: dict[str, Any], fault: int | str | None) -> Response:
    if server.models is not None and body["model"] not in server.models:
        return JSONResponse({"error": {"message": f"The model {body['model']} does not exist"}}, 404)
    if isinstance(fault, int):
        return JSONResponse({"error": {"message": "busy"}}, fault, {"Retry-After": server.retry_after})
    if fault == "slow":
        for _ in range(600):
            if server.over:
                break
            await asyncio.sleep(0.05)
    if fault == "not json":
        return Response("<html>", media_type="text/html")
    if fault == "no choices":
        return JSONResponse({"error": "overloaded"})
    if fault == "cut":
        return StreamingResponse(_cut(), headers={"Content-Length": "1000"}, media_type="application/json")
    user = body["messages"][-1]["content"]
    content = fault.removeprefix("text:") if fault else _content(server, body["messages"])
    usage = {"prompt_tokens": len(user) // 4, "completion_tokens": len(content) // 4}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return JSONResponse({"object": "chat.completion", "choices": [choice], "usage": usage})


def _content(server: ModelServer, messages: list[dict[str, str]]) -> str:
    if len(messages) == 1:  # not a question about features
        return "yes"
    return server.rule(question_of(messages), messages[0]["content"])


def question_of(messages: list[dict[str, str]]) -> dict[str, Any]:
    """The JSON that the last message begins with."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(messages[-1]["content"])[0]
    return found


async def _cut() -> Any:
    yield b'{"choices": ['
    raise ConnectionResetError


@contextmanager
def model_server(rule: Rule) -> Iterator[ModelServer]:
    """A server on loopback, in a thread."""
    server = ModelServer(rule)
    config = uvicorn.Config(_app(server), host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join(10)
