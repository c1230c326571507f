"""Questions about a short text, answered at once: its tokens, and the features that are active on it."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from configs.sae_origin import sae_origin
from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role
from sae.text import tokenization_preview as previews
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError
from serve_app.language_models.admission import check_capacity, naming_jobs
from serve_app.openapi.responses import problems
from serve_app.schemas.features import (
    WHOLE_TEXT,
    ActivationsRequest,
    ContrastAnswer,
    Contrasted,
    ContrastRequest,
    Preview,
    PreviewRequest,
    PreviewToken,
    TextActivations,
    TokenActivations,
    TopFeature,
)

router = APIRouter(prefix="/v1/text", tags=["text"])
_REGULAR = ("data", "repeated")
_NO_DATASET = "datasets/" + "0" * 16


@router.post("/tokens", operation_id="tokenize_text", summary="Tokenize a short text", responses=problems(404))
def tokenize_text(api: ApiDep, body: PreviewRequest) -> Preview:
    """The tokens of a text with ids, text, roles and positions, by the rules of the tokenize stage.

    The first answer about a model takes some seconds.
    """
    rows = _rows(api, body.model.removeprefix("models/"), body.text, body.tokenize_config())
    tokens = [
        PreviewToken(**token._asdict(), special=token.role not in _REGULAR, row=row, position=position)
        for row, tokens in enumerate(rows)
        for position, token in enumerate(tokens)
    ]
    special = sum(token.special for token in tokens)
    return Preview(
        tokens=tokens,
        attention_mask=[int(token.role != "pad") for token in tokens] if body.return_attention_mask else None,
        counts={
            "rows": len(rows), "tokens": len(tokens), "special": special, "regular": len(tokens) - special,
            "characters": len(body.text),
        },
    )  # fmt: skip


@router.post(
    "/features",
    operation_id="find_active_features",
    summary="Find the features that are active on a short text",
    responses=problems(404, s503="Memory or GPU is not free for the model: `blocked_by` are the jobs that use it."),
)
async def find_active_features(api: ApiDep, body: ActivationsRequest) -> TextActivations:
    """Runs the SAE's language model on the text. Answers for each token, and for the whole text.

    The first request loads the model. BOS, special tokens and attention sinks are excluded as in training.
    """
    # In the thread pool of the routes: streams use the default one.
    query = await run_in_threadpool(_model_query, api, body)
    async with naming_jobs(api):
        answer = await api.interactive_models(f"{query.model}:{query.dtype}", query.request)
    tokens = [
        TokenActivations(id=token.id, text=token.text, position=position, role=token.role, **found)
        for position, (token, found) in enumerate(zip(query.tokens, answer["tokens"], strict=True))
    ]
    top = [TopFeature(**found) for found in answer["top"]]
    model = f"models/{query.model}"
    return TextActivations(
        sae=body.sae, model=model, hook=answer["hook"], tokens=tokens, top=top, latents=answer["latents"]
    )


@router.post(
    "/contrast",
    operation_id="contrast_texts",
    summary="Find the features that tell two groups of texts apart",
    responses=problems(404, s503="Memory or GPU is not free for the model: `blocked_by` are the jobs that use it."),
)
async def contrast_texts(api: ApiDep, body: ContrastRequest) -> ContrastAnswer:
    """Each text counts by the largest activation of a feature. The effect is the probability that a text of `b` has a larger one
    than a text of `a` (0.5: no difference), with a 95% interval over the texts.

    `chance` is the control: in 95% of random divisions of the same texts no feature at all is as far from 0.5.
    """
    key, request = await run_in_threadpool(_contrast_query, api, body)
    async with naming_jobs(api):
        answer = await api.interactive_models(key, request)
    return ContrastAnswer(
        sae=body.sae, chance=answer["chance"], features=[Contrasted(**one) for one in answer["features"]]
    )


def _contrast_query(api: Api, body: ContrastRequest) -> tuple[str, dict[str, Any]]:
    groups = []
    for texts in (body.a, body.b):
        found = [_model_query(api, ActivationsRequest(sae=body.sae, text=text)) for text in texts]
        groups.append([(one.request["ids"], one.request["roles"]) for one in found])
    return f"{found[0].model}:{found[0].dtype}", {
        "sae": body.sae.removeprefix("saes/"), "groups": groups, "top": body.top, "seed": body.seed,
    }  # fmt: skip


class _ModelQuery(NamedTuple):
    """A request to the language model (an id and a dtype), and the tokens that it is about."""

    model: str
    dtype: str
    tokens: list[previews.PreviewToken]
    request: dict[str, Any]


def _model_query(api: Api, body: ActivationsRequest) -> _ModelQuery:
    id = body.sae.removeprefix("saes/")
    manifest = artifact_requests.files_of(api, "saes", id).manifest
    origin = sae_origin(manifest.config)
    if origin.planted:
        raise ApiError(
            422, "invalid_request", f"saes/{id} was trained on planted activations: it has no language model"
        )
    model, tokens_id = (manifest.inputs[role].partition("/")[2] for role in ("model", "tokens"))
    tokenize = artifact_requests.files_of(api, "tokens", tokens_id).manifest.config
    config = TokenizeConfig.model_validate(
        {
            "dataset": _NO_DATASET, "model": f"models/{model}", "bos": tokenize["bos"], "separator": "none",
            "special_strings": tokenize["special_strings"], "context_length": WHOLE_TEXT, "padding": "none",
        }
    )  # fmt: skip
    rows = _rows(api, model, body.text, config)
    tokens = rows[0] if rows else []
    check_capacity(api, model, origin.lm_dtype)
    request = {
        "sae": id,
        "ids": [token.id for token in tokens],
        "roles": [int(Role[token.role.upper()]) for token in tokens],
        "top": body.top,
        "latents": list(body.latents),
    }
    return _ModelQuery(model, origin.lm_dtype, tokens, request)


def _rows(api: Api, model: str, text: str, config: TokenizeConfig) -> list[list[previews.PreviewToken]]:
    artifact_requests.row_of(api, "models", model)
    summary = api.model_summaries.get(model)
    rows = previews.preview(summary.tokenizer, config, text, summary.embeddings)
    strings = iter(api.model_summaries.pieces(model).strings([token.id for row in rows for token in row]))
    return [[token._replace(text=next(strings)) for token in row] for row in rows]
