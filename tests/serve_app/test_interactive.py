"""The replica of the language models, without Ray: what a client that gives up leaves to those after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sae.language_model import ModelError
from serve_app.language_models.interactive import LanguageModelReplica
from serve_app.language_models.pool import NotEnoughMemory

QUERY: dict[str, Any] = {"sae": "0" * 16, "ids": [1], "roles": [0], "top": 1, "latents": []}


class Pool:
    """Stands for the models: the first load waits for `go`."""

    def __init__(self) -> None:
        self.loads = self.answers = 0
        self.loading, self.go = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def load(self, key: str) -> str:
        self.loads += 1
        self.loading.set()
        await self.go.wait()
        if self.fails:
            raise NotEnoughMemory("models/x needs 9.00 GiB of memory and 1.00 GiB are free")
        return key

    def answer(self, lm: Any, query: Any) -> dict[str, Any]:
        self.answers += 1
        return {"sae": query["sae"]}


def replica(pool: Pool) -> LanguageModelReplica:
    made = LanguageModelReplica.__new__(LanguageModelReplica)
    made._models, made._one, made._work = pool, asyncio.Lock(), set()  # type: ignore[assignment]
    made.model = pool.load  # type: ignore[method-assign]
    return made


def test_a_client_that_gives_up_leaves_the_load_to_those_after_it() -> None:
    async def scenario() -> Pool:
        pool = Pool()
        served = replica(pool)
        given_up = [asyncio.create_task(served(QUERY)) for _ in range(3)]
        await pool.loading.wait()
        for task in given_up:
            task.cancel()
        assert all(
            isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*given_up, return_exceptions=True)
        )
        patient = asyncio.create_task(served(QUERY))
        await asyncio.sleep(0)
        assert pool.loads == 1, "one load at a time"
        pool.go.set()
        assert await patient == {"sae": QUERY["sae"]}
        return pool

    assert asyncio.run(scenario()).answers == 1, "nobody computes what nobody waits for"


def test_too_little_memory_is_an_answer() -> None:
    async def scenario() -> dict[str, Any]:
        pool = Pool()
        pool.fails = True
        pool.go.set()
        return await replica(pool)(QUERY)

    status, code, detail = asyncio.run(scenario())["problem"]
    assert (status, code) == (503, "no_capacity")
    assert "9.00 GiB" in detail


def test_an_expected_error_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> dict[str, Any]:
        pool = Pool()
        pool.go.set()

        def fail(lm: Any, query: Any) -> dict[str, Any]:
            raise ModelError("the row has 200 tokens, and the model takes 128")

        monkeypatch.setattr(pool, "answer", fail)
        return await replica(pool)(QUERY)

    assert asyncio.run(scenario())["problem"] == [422, "model_error", "the row has 200 tokens, and the model takes 128"]
