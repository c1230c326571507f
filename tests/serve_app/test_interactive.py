"""The replica of the language models, without Ray: what a client that gives up leaves to those after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sae.language_model import ModelError
from serve_app.language_models import interactive
from serve_app.language_models.interactive import LanguageModelReplica
from serve_app.language_models.pool import LanguageModelPool, NotEnoughMemory
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts

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


def test_a_long_prompt_does_not_hold_up_the_questions_of_others(
    samples: SampleArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real models: a prompt of many passes, and a short question that comes while it is read."""
    monkeypatch.setattr("sae.steering.decoding.PASS_TOKENS", 4)
    pool = LanguageModelPool(samples.store, "cpu")
    lm = pool.load(f"{MODEL.id}:fp32")
    served = replica(pool)  # type: ignore[arg-type]
    served._steered = 0

    async def model(key: str) -> Any:
        return lm

    served.model = model  # type: ignore[method-assign]
    monkeypatch.setattr(interactive.serve, "get_multiplexed_model_id", lambda: f"{MODEL.id}:fp32")
    change = {"sae": str(samples.sae), "latent": 3, "op": "add", "value": 4.0}
    long = {
        "request": {"text": "the captain of the boat " * 8, "interventions": [change], "max_tokens": 4},
        "maxima": [],
        "bos": "always",
    }
    short = {"sae": samples.sae.id, "ids": [9, 17, 31], "roles": [0, 0, 0], "top": 2, "latents": []}

    async def steered(happened: list[str]) -> dict[str, Any]:
        async for item in served.steer(long):
            happened.append("token" if "token" in item else "pass" if item == {} else "end")
        return item

    async def asked(happened: list[str]) -> dict[str, Any]:
        while not happened:  # until the prompt is being read
            await asyncio.sleep(0.001)
        answer = await served(short)
        happened.append("question")
        return answer

    async def scenario() -> tuple[list[str], dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
        happened: list[str] = []
        first, second = await asyncio.gather(steered(happened), asked(happened))
        return happened, first, second, await steered([]), await served(short)

    happened, first, second, first_alone, second_alone = asyncio.run(scenario())
    assert happened.count("pass") > 5 and happened[-1] == "end"
    assert happened.index("question") < happened.index("token"), "it was answered before the prompt was read"
    assert (first, second) == (first_alone, second_alone)
