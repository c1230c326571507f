"""Quick work: answered at once, never behind a job."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from configs.requirements import Capacity, Fit, Requirement, fit
from configs.tokenize import TokenizeConfig
from configs.train import TrainConfig
from jobs.life.submit import capacity_of
from sae.formats.tokens import Role
from sae.text import preview as previews
from serve_app import artifacts
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError
from serve_app.language_models.model_memory import process_bytes
from serve_app.openapi.responses import problems
from serve_app.routes.cluster import granted
from serve_app.schemas.features import (
    ActivationsRequest,
    Active,
    Preview,
    PreviewRequest,
    PreviewToken,
    TextActivations,
    TokenActivations,
    TopFeature,
)

router = APIRouter(prefix="/v1", tags=["quick work"])
_NOBODY = "0" * 16  # a preview is of no dataset


@router.post("/text/tokens", summary="Tokenize a short text", responses=problems(404))
def preview_tokens(api: ApiDep, body: PreviewRequest) -> Preview:
    """What a short text becomes: the tokens with ids, text, roles and positions, by the tokenize stage's own rules.

    Of a model that nobody has asked about, the first answer takes some seconds.
    """
    bos, separator = (body.bos, body.separator) if body.add_special_tokens else ("never", "none")
    model = body.model.removeprefix("models/")
    tokens = _tokens(api, model, body.text, bos, separator)
    special = sum(token.role != "data" for token in tokens)
    return Preview(
        tokens=[
            PreviewToken(**token._asdict(), special=token.role != "data", position=position)
            for position, token in enumerate(tokens)
        ],
        attention_mask=[1] * len(tokens) if body.return_attention_mask else None,
        counts={
            "tokens": len(tokens),
            "special": special,
            "regular": len(tokens) - special,
            "characters": len(body.text),
        },
    )


@router.post(
    "/text/features",
    summary="See which features fire on a text",
    responses=problems(404, s503="There is no room for the model now: `blocked_by` has what it needs."),
)
async def activations(api: ApiDep, body: ActivationsRequest) -> TextActivations:
    """Runs the text through the SAE's language model: for each token and over the text, what is active.

    The model is loaded when it is first asked for. BOS, special tokens and attention sinks are left out as in training.
    """
    # In the routes' own threads: the default ones are those of the streams.
    question = await run_in_threadpool(_question, api, body)
    try:
        answer = await api.query_model(question.key, question.request)
    except ApiError as error:
        if error.code == "no_room":  # it knows of no jobs
            error.extra.setdefault("blocked_by", list(await run_in_threadpool(granted, api)))
        raise
    tokens = [
        TokenActivations(
            id=token.id, text=token.text, position=i, role=token.role, left_out=found["left_out"], active=found["active"],
            top=[Active(feature=feature, activation=value) for feature, value in found["top"]],
        )
        for i, (token, found) in enumerate(zip(question.tokens, answer["tokens"], strict=True))
    ]  # fmt: skip
    names = ("feature", "max", "at", "tokens")
    return TextActivations(
        sae=body.sae,
        model=f"models/{question.model}",
        hook=answer["hook"],
        tokens=tokens,
        top=[TopFeature(**dict(zip(names, one, strict=True))) for one in answer["top"]],
        features=answer["features"],
    )


class _TextQuery:
    """What the language model is asked, and what its answer is about."""

    def __init__(self, model: str, key: str, tokens: list[previews.PreviewToken], request: dict[str, Any]) -> None:
        self.model, self.key, self.tokens, self.request = model, key, tokens, request


def _question(api: Api, body: ActivationsRequest) -> _TextQuery:
    id = body.sae.removeprefix("saes/")
    manifest = artifacts.files_of(api, "saes", id).manifest
    train = TrainConfig.model_validate(manifest.config)
    model, tokens_ref = (manifest.inputs[role].partition("/")[2] for role in ("model", "tokens"))
    packed = artifacts.files_of(api, "tokens", tokens_ref).manifest.config
    tokens = _tokens(api, model, body.text, packed["bos"], "none")
    _check_room(api, model, train.lm_dtype)
    roles = [int(Role[token.role.upper()]) for token in tokens]
    request = {
        "sae": id,
        "ids": [token.id for token in tokens],
        "roles": roles,
        "top": body.top,
        "features": list(body.features),
    }
    return _TextQuery(model, f"{model}:{train.lm_dtype}", tokens, request)


def _tokens(api: Api, model: str, text: str, bos: str, separator: str) -> list[previews.PreviewToken]:
    artifacts.row_of(api, "models", model)
    summary = api.model_summaries.get(model)
    config = TokenizeConfig.model_validate(
        {"dataset": f"datasets/{_NOBODY}", "model": f"models/{model}", "bos": bos, "separator": separator}
    )
    found = previews.preview(summary.tokenizer, config, text, summary.embeddings)
    strings = api.model_summaries.pieces(model).strings([token.id for token in found])
    return [token._replace(text=string) for token, string in zip(found, strings, strict=True)]


def _check_room(api: Api, model: str, dtype: str) -> None:
    """Raises ApiError (503), with who holds it, if the cluster has no room for the model beside its jobs."""
    capacity = capacity_of(api.records)
    if capacity is None:
        return
    parameters = int(artifacts.row_of(api, "models", model).summary.get("parameters") or 0)
    gpus = 1.0 if api.settings.device == "cuda" else 0.0
    requirement = Requirement(workers=1, cpus=0, gpus=gpus, memory=0 if gpus else process_bytes(parameters, dtype))
    # What the language models themselves hold is theirs: only jobs stand in their way.
    empty = Capacity(
        tuple(n._replace(free_cpus=n.cpus, free_gpus=n.gpus, free_memory=n.memory) for n in capacity.nodes), None
    )
    verdict = fit(requirement, empty, granted(api))
    if verdict.fit is not Fit.NOW:
        raise ApiError(
            503,
            "no_room",
            f"the language model {verdict.reason}",
            {"Retry-After": "30"},
            blocked_by=list(verdict.blocked_by),
        )
