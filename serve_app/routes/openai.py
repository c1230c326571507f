"""OpenAI's completion routes: its clients work with the base URL `/v1`, and `interventions` steer the answer."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from serve_app import artifact_requests, errors
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError
from serve_app.language_models.admission import naming_jobs
from serve_app.language_models.steering_queries import SteeringQuery, steering_query
from serve_app.openapi.responses import problems
from serve_app.schemas.artifacts import ArtifactItem
from serve_app.schemas.common import HexId
from serve_app.schemas.models import OpenAiModel
from serve_app.schemas.openai import ChatRequest, CompletionRequest, OpenAiRequest


class _OpenAiRoute(APIRoute):
    """Problems also have `error`, where OpenAI's clients look for the message."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except (ApiError, RequestValidationError, ValueError, RuntimeError) as error:
                problem = await errors.answer(request, error)
                body = json.loads(bytes(problem.body))
                body["error"] = {"message": body["detail"], "type": body["code"], "code": body["code"], "param": None}
                kept = {
                    name: value
                    for name, value in problem.headers.items()
                    if name not in ("content-length", "content-type")
                }
                return JSONResponse(body, problem.status_code, kept, errors.MEDIA_TYPE)

        return answered


router = APIRouter(prefix="/v1", tags=["text"], route_class=_OpenAiRoute)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    **problems(404, s503="Memory or GPU is not free for the model: `blocked_by` are the jobs that use it."),
}


@router.post(
    "/completions", operation_id="complete_text", summary="Complete a text, as OpenAI's route", responses=_STREAM
)
async def complete(api: ApiDep, body: CompletionRequest) -> Response:
    """OpenAI's `/v1/completions` on a registered model, steered by `interventions` (in `extra_body` of its Python client).

    With interventions the choice also has `interventions_applied`: positions that were changed, mean |change| / |activation|,
    KL per token, the dose, and `baseline`, the answer without them.
    """
    return await _answered(api, body, _Form("cmpl", "text_completion", chat=False))


@router.post(
    "/chat/completions", operation_id="complete_chat", summary="Answer a chat, as OpenAI's route", responses=_STREAM
)
async def complete_chat(api: ApiDep, body: ChatRequest) -> Response:
    """OpenAI's `/v1/chat/completions`, likewise. The model needs a tokenizer with a chat template."""
    return await _answered(api, body, _Form("chatcmpl", "chat.completion", chat=True))


@router.get("/models/models/{id}", summary="Get one model in OpenAI's form", responses=problems(404))
def get_openai_model(api: ApiDep, id: HexId) -> OpenAiModel:
    """What `client.models.retrieve("models/ID")` asks for. The list of models has OpenAI's form in `data`."""
    return OpenAiModel.of(ArtifactItem.from_row(artifact_requests.row_of(api, "models", id)))


class _Form:
    """How one route writes its answers."""

    def __init__(self, prefix: str, name: str, chat: bool) -> None:
        self._name, self._chat = name, chat
        self._common: dict[str, Any] = {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time())}

    def whole(self, model: str, found: dict[str, Any]) -> dict[str, Any]:
        """A whole answer."""
        chosen = _chosen(found)
        part = {"message": {"role": "assistant", "content": chosen["text"]}} if self._chat else {"text": chosen["text"]}
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": _reason(chosen), **_applied(found)}
        return {**self._common, "object": self._name, "model": model, "choices": [choice], "usage": usage(found)}

    def chunk(self, model: str, text: str, found: dict[str, Any] | None = None, first: bool = False) -> dict[str, Any]:
        """A part of an answer; with `found` the last one."""
        role = {"role": "assistant"} if first else {}
        part = {"delta": {**role, "content": text}} if self._chat else {"text": text}
        end = (
            {"finish_reason": None} if found is None else {"finish_reason": _reason(_chosen(found)), **_applied(found)}
        )
        choice = {"index": 0, **part, "logprobs": None, **end}
        return {
            **self._common,
            "object": f"{self._name}.chunk" if self._chat else self._name,
            "model": model,
            "choices": [choice],
        }

    def last(self, model: str, found: dict[str, Any]) -> dict[str, Any]:
        """The chunk with the usage."""
        return {**self.chunk(model, ""), "choices": [], "usage": usage(found)}


async def _answered(api: Api, body: CompletionRequest | ChatRequest, form: _Form) -> Response:
    query = await run_in_threadpool(_query, api, body)
    if body.stream:
        chunks = _chunks(api, query, body, form)
        first = await anext(chunks)  # what is wrong with the request has a status
        return StreamingResponse(
            _after(first, chunks), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )
    async with naming_jobs(api), aclosing(api.interactive_models.steer(query.key, query.query)) as items:
        async for item in items:
            if "answers" in item:
                return JSONResponse(form.whole(body.model, item["answers"]))
    raise ApiError(503, "no_answer", "the answer was not finished: try again", {"Retry-After": "5"})


def _query(api: Api, body: CompletionRequest | ChatRequest) -> SteeringQuery:
    try:
        request = body.request()
    except ValidationError as error:
        raise ApiError(422, "invalid_request", error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    kind, _, id = body.model.partition("/")
    if kind == "saes":
        manifest = artifact_requests.files_of(api, "saes", id).manifest
        id = manifest.inputs["model"].removeprefix("models/")
    artifact_requests.row_of(api, "models", id)
    return steering_query(api, request, id)


async def _chunks(api: Api, query: SteeringQuery, body: OpenAiRequest, form: _Form) -> AsyncIterator[bytes]:
    """Server-Sent Events of the answer that was asked for: the steered one, if there are interventions."""
    wanted, sent = (1 if body.interventions else 0), ""
    begun = False
    try:
        async with naming_jobs(api), aclosing(api.interactive_models.steer(query.key, query.query)) as items:
            async for item in items:
                if "answers" in item:
                    found = item["answers"]
                    rest = _chosen(found)["text"][len(sent) :]
                    yield _event(form.chunk(body.model, rest, found, first=not begun))
                    if body.stream_options is not None and body.stream_options.include_usage:
                        yield _event(form.last(body.model, found))
                elif item["token"]["number"] == wanted and (text := item["token"]["text"]):
                    yield _event(form.chunk(body.model, text, first=not begun))
                    begun, sent = True, sent + text
    except ApiError as error:
        if not begun:
            raise
        yield _event({"error": {"message": error.detail, "type": error.code, "code": error.status}})
    yield b"data: [DONE]\n\n"


async def _after(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in events:
        yield event


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _chosen(found: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = found["steered"][0] if found["steered"] else found["unsteered"]
    return answer


def _reason(answer: dict[str, Any]) -> str:
    return "stop" if answer["ended"] else "length"


def _applied(found: dict[str, Any]) -> dict[str, Any]:
    if not found["steered"]:
        return {}
    chosen = found["steered"][0]
    return {
        "interventions_applied": {
            "positions": chosen["positions"],
            "mean_change_over_activation": chosen["change"],
            "kl_per_token": chosen["kl"],
            "dose": chosen["dose"],
            "baseline": found["unsteered"]["text"],
        }
    }


def usage(found: dict[str, Any]) -> dict[str, int]:
    """Tokens that were read and made."""
    prompt, made = len(found["prompt"]), len(_chosen(found)["ids"])
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
