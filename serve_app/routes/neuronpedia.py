"""Neuronpedia's addresses of features and activations: its public client reads RayLens with the base URL `/api`.

A model is the ID of `models/ID`, a source that of `saes/ID`. Features are those of the SAE's newest extraction.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from configs.artifact_ids import ArtifactRef
from configs.steering import Intervention, Op, Turn
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError, not_found
from serve_app.openapi.responses import problems
from serve_app.routes.features import ExampleQuery, get_feature, list_latent_examples
from serve_app.routes.steering import steer
from serve_app.routes.text_queries import find_active_features
from serve_app.schemas.common import HexId, Latent
from serve_app.schemas.features import ActivationsRequest, Example, Logit
from serve_app.schemas.neuronpedia import (
    NpActivation,
    NpActivationAnswer,
    NpActivationRequest,
    NpChatMessage,
    NpExplanation,
    NpFeature,
    NpSteerAnswer,
    NpSteerChatAnswer,
    NpSteerChatRequest,
    NpSteeredChat,
    NpSteering,
    NpSteerRequest,
    NpTopFeature,
    NpTopKAnswer,
    NpTopKRequest,
    NpTopToken,
    NpTurn,
)
from serve_app.schemas.steering import SteerBody, SteeringAnswer

_SEEDS = 2**32  # Neuronpedia's seeds may be negative, ours not

router = APIRouter(prefix="/api", tags=["text"])


@router.get(
    "/feature/{model}/{source}/{index}", summary="Get one feature in Neuronpedia's form", responses=problems(404)
)
def neuronpedia_feature(api: ApiDep, model: HexId, source: HexId, index: Latent) -> NpFeature:
    """Density, promoted and suppressed tokens, the label that a person gave, and examples."""
    _check(api, model, source)
    newest = api.catalog.artifacts("features", 1, filters={"sae": f"saes/{source}"})
    if not newest:
        raise not_found(f"features of saes/{source}: extract them")
    id = newest[0].id
    feature, edges = get_feature(api, id, index)
    examples = list_latent_examples(api, id, index, ExampleQuery(kind=None, limit=500))
    intervals = max(1, len(edges) - 1)
    labels = [
        row.label
        for row in api.catalog.feature_annotations(ArtifactRef("saes", source), None, index - 1, 1)
        if row.latent == index and row.label
    ]
    return NpFeature(
        modelId=model,
        layer=source,
        index=str(index),
        frac_nonzero=feature.density,
        maxActApprox=feature.max,
        **_logits("pos", feature.promoted),
        **_logits("neg", feature.suppressed),
        explanations=[
            NpExplanation(modelId=model, source=source, index=str(index), description=label, typeName="human")
            for label in labels
        ],
        activations=[_activation(one, model, source, index, edges, intervals) for one in examples],
    )


@router.post(
    "/activation/new", summary="A feature's activation on a text, in Neuronpedia's form", responses=problems(404)
)
async def neuronpedia_activation(api: ApiDep, body: NpActivationRequest) -> NpActivationAnswer:
    """The language model is run on the text; the first request loads it."""
    name = body.feature
    _check(api, name.modelId, name.layer)
    latent = int(name.index)
    request = ActivationsRequest(sae=f"saes/{name.layer}", text=body.customText, top=1, latents=(latent,))
    found = await find_active_features(api, request)
    values = found.latents[str(latent)]
    largest = max(range(len(values)), key=values.__getitem__)
    tokens = [token.text for token in found.tokens]
    return NpActivationAnswer(tokens=tokens, values=values, maxValue=values[largest], maxValueTokenIndex=largest)


@router.post(
    "/search-topk-by-token/",
    summary="The most active features of each token, in Neuronpedia's form",
    responses=problems(404),
)
async def neuronpedia_topk(api: ApiDep, body: NpTopKRequest) -> NpTopKAnswer:
    """The language model is run on the text; the first request loads it."""
    _check(api, body.modelId, body.source)
    request = ActivationsRequest(sae=f"saes/{body.source}", text=body.text, top=body.numResults)
    found = await find_active_features(api, request)
    return NpTopKAnswer(
        results=[
            NpTopToken(
                position=token.position,
                token=token.text,
                topFeatures=[
                    NpTopFeature(featureIndex=one.latent, activationValue=one.activation) for one in token.top
                ],
            )
            for token in found.tokens
            if not (body.ignoreBos and token.role == "bos")
        ]
    )


@router.post("/steer/", summary="Steer a language model, in Neuronpedia's form", responses=problems(404))
async def neuronpedia_steer(api: ApiDep, body: NpSteerRequest) -> NpSteerAnswer:
    """As Neuronpedia, it changes all positions, BOS among them. `/v1/text/steer` does more, and measures what the change does."""
    found = await _steered(api, body, True, text=body.prompt)
    return NpSteerAnswer(
        DEFAULT=body.prompt + found.unsteered.text, STEERED=body.prompt + "".join(one.text for one in found.steered)
    )


@router.post(
    "/steer-chat/", summary="Steer a language model's answer to a chat, in Neuronpedia's form", responses=problems(404)
)
async def neuronpedia_steer_chat(api: ApiDep, body: NpSteerChatRequest) -> NpSteerChatAnswer:
    """The model needs a tokenizer with a chat template. Two chats that differ are two requests to steer."""
    plain, changed = body.defaultChatMessages, body.steeredChatMessages
    steered = await _steered(api, body, body.steer_special_tokens, messages=_turns(changed))
    other = steered
    if plain != changed:
        other = await _steered(api, body, body.steer_special_tokens, messages=_turns(plain))
    (answer,) = steered.steered
    return NpSteerChatAnswer(
        DEFAULT=_answered(plain, other.prompt, other.unsteered.text),
        STEERED=_answered(changed, steered.prompt, answer.text),
    )


async def _steered(api: Api, body: NpSteering, special_tokens: bool, **prompt: Any) -> SteeringAnswer:
    """Steers with the features of a request. `prompt`: `text` or `messages`."""
    for feature in body.features:
        if feature.modelId != body.modelId:
            raise ApiError(422, "invalid_request", f"a feature of model {feature.modelId} cannot steer {body.modelId}")
        await run_in_threadpool(_check, api, body.modelId, feature.layer)
    op: Op = "add" if body.steer_method == "SIMPLE_ADDITIVE" else "project"
    changes = [
        Intervention(
            sae=f"saes/{one.layer}",
            latent=int(one.index),
            op=op,
            value=one.strength * body.strength_multiplier,
            special_tokens=special_tokens,
        )
        for one in body.features
    ]
    request = SteerBody(
        interventions=tuple(changes),
        max_tokens=body.n_tokens,
        temperature=body.temperature,
        frequency_penalty=body.freq_penalty,
        seed=body.seed % _SEEDS,
        **prompt,
    )
    found: SteeringAnswer = await steer(api, request)
    return found


def _turns(messages: list[NpChatMessage]) -> tuple[Turn, ...]:
    return tuple(Turn(role="assistant" if one.role == "model" else one.role, content=one.content) for one in messages)


def _answered(chat: list[NpChatMessage], prompt: list[str], answer: str) -> NpSteeredChat:
    messages = [*(NpTurn(role=one.role, content=one.content) for one in chat), NpTurn(role="assistant", content=answer)]
    return NpSteeredChat(raw="".join(prompt) + answer, chatTemplate=messages)


def _check(api: Api, model: str, source: str) -> None:
    """Raises ApiError (404) unless the SAE is there and was trained on the model."""
    row = artifact_requests.row_of(api, "saes", source)
    if row.inputs.get("model") != f"models/{model}":
        raise not_found(f"SAE {source} of models/{model}: it was trained on {row.inputs.get('model')}")


def _logits(name: str, logits: list[Logit] | None) -> dict[str, Any]:
    found = logits or []
    return {f"{name}_str": [one.token for one in found], f"{name}_values": [one.logit for one in found]}


def _activation(one: Example, model: str, source: str, latent: int, edges: list[float], intervals: int) -> NpActivation:
    part = one.part if one.kind == "quantile" else None
    return NpActivation(
        modelId=model,
        source=source,
        layer=source,
        index=str(latent),
        tokens=one.tokens,
        values=one.activations,
        maxValue=one.activation,
        maxValueTokenIndex=one.at,
        binMin=None if part is None else edges[part],
        binMax=None if part is None else edges[part + 1],
        binContains=None if part is None else 1 / intervals,
    )
