"""Steering: a language model's answer with and without a change of features, side by side."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError, problem
from serve_app.language_models.admission import naming_jobs
from serve_app.language_models.steering_queries import SteeringQuery, steering_query
from serve_app.openapi.responses import problems
from serve_app.schemas.steering import Budget, SteerBody, SteeredAnswer, SteeringAnswer

router = APIRouter(prefix="/v1/text", tags=["text"])


@router.post(
    "/steer",
    operation_id="steer_text",
    summary="Steer a language model with features",
    response_model=SteeringAnswer,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **problems(404, s503="Memory or GPU is not free for the model: `blocked_by` are the jobs that use it."),
    },
)
async def steer(api: ApiDep, body: SteerBody) -> Any:
    """The model's answer without the change and with each dose of it, and what the change did: KL per token, |change| /
    |activation|, perplexity by the unsteered model, repetition, changed positions. Several `doses` give a dose-response curve.

    With `stream`, events `token` (`number` of the answer: 0 is the unsteered one) come as tokens are chosen, then one event
    `answers` with what is answered without `stream`, or `problem`.
    """
    query = await run_in_threadpool(steering_query, api, body)
    if body.stream:
        events = _events(api, query)
        first = await anext(events)  # what is wrong with the request has a status
        return StreamingResponse(
            _after(first, events), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )
    async with naming_jobs(api), aclosing(api.interactive_models.steer(query.key, query.query)) as items:
        async for item in items:
            if "answers" in item:
                return answer_of(query, item["answers"])
    raise ApiError(503, "no_answer", "the answer was not finished: try again", {"Retry-After": "5"})


def answer_of(query: SteeringQuery, found: dict[str, Any]) -> SteeringAnswer:
    """The answer from what the replica says."""
    return SteeringAnswer(
        model=f"models/{query.model}",
        prompt=found["prompt"],
        unsteered=SteeredAnswer.of(found["unsteered"]),
        steered=[SteeredAnswer.of(one) for one in found["steered"]],
        budget=None if found["budget"] is None else Budget(**found["budget"]),
    )


async def _after(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in events:
        yield event


async def _events(api: Api, query: SteeringQuery) -> AsyncIterator[bytes]:
    begun = False
    try:
        async with naming_jobs(api), aclosing(api.interactive_models.steer(query.key, query.query)) as items:
            async for item in items:
                begun = True
                if "token" in item:
                    yield format_sse_event(event="token", data_str=json.dumps(item["token"]))
                else:
                    yield format_sse_event(
                        event="answers", data_str=answer_of(query, item["answers"]).model_dump_json()
                    )
    except ApiError as error:
        if not begun:
            raise
        body = problem(error.status, error.code, error.detail).body
        yield format_sse_event(event="problem", data_str=bytes(body).decode())
