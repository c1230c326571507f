"""The language models as a Serve application of their own, so that a GPU fault cannot end the API.

Its replica starts with the first query, keeps one model in memory, and ends after IDLE_S without a query.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.concurrency import run_in_threadpool

from cluster.store import Store
from serve_app.errors import ApiError, to_api_error

NAME = "LanguageModels"
ANSWER_S = 120.0
IDLE_S = 300.0
MOST_STEERED = 4  # answers that are made at the same time, token by token in turns


class LanguageModelReplica:
    """One replica. A query names its model, and Serve routes it to the replica that has it."""

    def __init__(self, store_url: str, device: str) -> None:
        from serve_app.language_models.pool import LanguageModelPool

        self._models = LanguageModelPool(Store.open(store_url), device)
        self._one = asyncio.Lock()
        self._work: set[asyncio.Task[dict[str, Any]]] = set()
        self._steered = 0

    @serve.multiplexed(max_num_models_per_replica=1)  # type: ignore[untyped-decorator]
    async def model(self, key: str) -> Any:
        """Loads a model; Serve keeps it until another one is needed."""
        return await asyncio.to_thread(self._models.load, key)

    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, or `{"problem": [status, code, detail]}`, because Ray wraps exceptions.

        A thread cannot be stopped: a load continues when its client disconnects, and the next query waits for it.
        Otherwise each retry would load the model once more.
        """
        disconnected = asyncio.Event()
        work = asyncio.ensure_future(self._answer(request, disconnected))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            disconnected.set()
            raise

    async def steer(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What a steered model says (see LanguageModelPool.steer), or `{"problem": ...}` as the last item.

        Other questions are answered between two tokens, or between two passes over a long prompt or in search of a dose (then
        `{}` comes). It ends with its client's connection, after the token or pass at work.
        """
        if self._steered >= MOST_STEERED:
            detail = f"{MOST_STEERED} answers are being made here: try again later"
            yield {"problem": [503, "too_many_streams", detail]}
            return
        self._steered += 1
        stopped = threading.Event()
        try:
            async with self._one:
                lm = await self.model(serve.get_multiplexed_model_id())
            key = serve.get_multiplexed_model_id()
            items = await asyncio.to_thread(self._models.steer, lm, key, request, stopped.is_set)
            while True:
                async with self._one:
                    item = await asyncio.to_thread(next, items, None)
                if item is None:
                    return
                yield item
        except Exception as error:
            if (problem := _problem(error)) is None:
                raise
            yield {"problem": problem}
        finally:
            stopped.set()
            self._steered -= 1

    async def _answer(self, request: dict[str, Any], disconnected: asyncio.Event) -> dict[str, Any]:
        try:
            async with self._one:
                if disconnected.is_set():
                    return {}
                lm = await self.model(serve.get_multiplexed_model_id())
                if disconnected.is_set():
                    return {}
                return await asyncio.to_thread(self._models.answer, lm, request)
        except Exception as error:
            if (problem := _problem(error)) is None:
                raise
            return {"problem": problem}


def _problem(error: Exception) -> list[Any] | None:
    """[status, code, detail] of an error that is expected."""
    from serve_app.language_models.pool import NotEnoughMemory

    if isinstance(error, NotEnoughMemory):
        return [503, "no_capacity", str(error)]
    known = to_api_error(error)
    return None if known is None else [known.status, known.code, known.detail]


def application(store_url: str, device: str, gpus: float, options: dict[str, Any]) -> serve.Application:
    """The application. `gpus`: GPUs of its replica, which reserves no CPU."""
    deployment = serve.deployment(
        LanguageModelReplica,
        name=NAME,
        ray_actor_options={"num_cpus": 0, "num_gpus": gpus, **options},
        max_ongoing_requests=100,
        autoscaling_config={
            "min_replicas": 0,
            "initial_replicas": 0,
            "max_replicas": 1,
            "target_ongoing_requests": 50,
            "downscale_delay_s": IDLE_S,
            "upscale_delay_s": 0.0,
        },
        max_constructor_retry_count=3,
    )
    return deployment.bind(store_url, device)


class Client:
    """Sends queries to the application from a replica of the API."""

    def __init__(self, application_name: str) -> None:
        self._name = application_name
        self._handle: Any = None

    async def __call__(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises ApiError."""
        with _faults():
            async with asyncio.timeout(ANSWER_S):
                handle = await self._application()
                answer: dict[str, Any] = await handle.options(multiplexed_model_id=key).remote(request)
        return checked(answer)

    async def steer(self, key: str, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """See InteractiveModels."""
        response = None
        try:
            with _faults():
                async with asyncio.timeout(ANSWER_S):
                    handle = await self._application()
                response = handle.options(multiplexed_model_id=key, stream=True).steer.remote(request)
                items = aiter(response)
                while True:
                    try:
                        async with asyncio.timeout(ANSWER_S):
                            item: dict[str, Any] = await anext(items)
                    except StopAsyncIteration:
                        response = None
                        return
                    if checked(item):
                        yield item
        finally:
            if response is not None:
                response.cancel()

    async def _application(self) -> Any:
        if self._handle is None:  # a call to Serve's controller, which may be restarting
            self._handle = await run_in_threadpool(serve.get_app_handle, self._name)
        return self._handle


@contextmanager
def _faults() -> Iterator[None]:
    """Faults of Serve and silence become an ApiError (503)."""
    try:
        yield
    except TimeoutError:
        raise ApiError(
            503, "no_answer", f"the language model did not answer in {ANSWER_S:.0f} s", {"Retry-After": "30"}
        ) from None
    except (RayServeException, RayError) as error:
        raise ApiError(
            503, "no_language_model", f"the language model does not answer now ({type(error).__name__})",
            {"Retry-After": "30"},
        ) from None  # fmt: skip


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises ApiError if it is a problem."""
    if "problem" in answer:
        status, code, detail = answer["problem"]
        raise ApiError(status, code, detail, {"Retry-After": "30"} if status == 503 else None)
    return answer
