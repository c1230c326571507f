"""The language models as a Serve application of its own, so that trouble with a GPU cannot take the API down.

It starts with the first question, holds one model at a time, and ends when nobody has asked for a while.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.concurrency import run_in_threadpool

from cluster.store import Store
from serve_app.errors import ApiError, to_api_error

NAME = "LanguageModelPool"
ANSWER_S = 120.0
IDLE_S = 300.0


class LanguageModelReplica:
    """One replica. A question names its model, and Serve brings it to the replica that has it."""

    def __init__(self, store_url: str, device: str) -> None:
        from serve_app.language_models.pool import LanguageModelPool

        self._models = LanguageModelPool(Store.open(store_url), device)
        self._one = asyncio.Lock()
        self._work: set[asyncio.Task[dict[str, Any]]] = set()

    @serve.multiplexed(max_num_models_per_replica=1)  # type: ignore[untyped-decorator]
    async def model(self, key: str) -> Any:
        """Loads a model; Serve keeps it until another one is asked for."""
        return await asyncio.to_thread(self._models.load, key)

    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, or `{"problem": [status, code, detail]}`: Ray would wrap an exception beyond recognition.

        A thread cannot be stopped. So what a client that gives up has begun goes on, one at a time: else each who tries
        again would load the model once more beside it.
        """
        gone = asyncio.Event()
        work = asyncio.ensure_future(self._answer(request, gone))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            gone.set()
            raise

    async def _answer(self, request: dict[str, Any], gone: asyncio.Event) -> dict[str, Any]:
        from serve_app.language_models.pool import ActivationsQuery, NotEnoughMemory

        try:
            async with self._one:
                if gone.is_set():
                    return {}
                lm = await self.model(serve.get_multiplexed_model_id())
                if gone.is_set():
                    return {}
                return await asyncio.to_thread(self._models.answer, lm, ActivationsQuery(**request))
        except NotEnoughMemory as error:
            return {"problem": [503, "no_capacity", str(error)]}
        except Exception as error:
            known = to_api_error(error)
            if known is None:
                raise
            return {"problem": [known.status, known.code, known.detail]}


def application(store_url: str, device: str, gpus: float, options: dict[str, Any]) -> serve.Application:
    """The application. `gpus`: what its replica asks for while it is there; a standing service asks for no CPU."""
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
    """Asks the application, from a replica of another one."""

    def __init__(self, application_name: str) -> None:
        self._name = application_name
        self._handle: Any = None

    async def __call__(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises ApiError."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._handle is None:  # asks Serve's controller, which may be starting again
                    self._handle = await run_in_threadpool(serve.get_app_handle, self._name)
                answer: dict[str, Any] = await self._handle.options(multiplexed_model_id=key).remote(request)
        except TimeoutError:
            raise ApiError(
                503, "no_answer", f"the language model gave no answer in {ANSWER_S:.0f} s", {"Retry-After": "30"}
            ) from None
        except (RayServeException, RayError) as error:
            raise ApiError(
                503, "no_language_model", f"the language model cannot be asked now ({type(error).__name__})",
                {"Retry-After": "30"},
            ) from None  # fmt: skip
        if "problem" in answer:
            status, code, detail = answer["problem"]
            raise ApiError(status, code, detail, {"Retry-After": "30"} if status == 503 else None)
        return answer
