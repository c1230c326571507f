"""Near misses of a feature, found by the interactive language model while the request waits."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from configs.artifact_ids import parse_ref
from configs.sae_origin import sae_origin
from sae.formats.features import FeaturesReader
from sae.formats.tokens import TokensReader
from sae.report.token_text import TokenText
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError, not_found
from serve_app.language_models.admission import check_capacity, naming_jobs
from serve_app.near_misses import NearMiss, Piece, active_forms, find_near_misses, pieces_with, run_by
from serve_app.openapi.responses import problems
from serve_app.paging import StrictQuery
from serve_app.schemas.common import HexId, Latent
from serve_app.schemas.features import Example, NearMisses

router = APIRouter(prefix="/v1/features/{id}/latents/{latent}", tags=["features"])


class NearMissQuery(StrictQuery):
    """Query parameters of near misses."""

    limit: int = Field(8, ge=1, le=16, description="Near misses, at most.")


class _Search(NamedTuple):
    key: str
    sae: str
    forms: list[int]
    pieces: list[Piece]
    text: TokenText


@router.get(
    "/near-misses",
    summary="Find near misses of a feature",
    responses=problems(404, s503="Memory or GPU is not free for the model: `blocked_by` are the jobs that use it."),
)
async def find_latent_near_misses(
    api: ApiDep, id: HexId, latent: Latent, query: Annotated[NearMissQuery, Query()]
) -> NearMisses:
    """Positions with a token that its examples are active on, where it is silent.

    The language model runs up to 8 rows of the tokens again, for at most 8 seconds and the same rows each time. The first request
    loads the model.
    """
    search = await run_in_threadpool(_search, api, id, latent)
    async with naming_jobs(api):
        run = run_by(lambda request: api.interactive_models(search.key, request), search.sae, latent)
        found = await find_near_misses(search.pieces, search.forms, run, query.limit)
    return NearMisses(
        items=[_example(one, rank, search.text) for rank, one in enumerate(found.misses)],
        tokens=search.text.strings(found.forms),
        rows=found.rows,
        positions=found.positions,
        silent=found.silent,
    )


def _search(api: Api, id: str, latent: int) -> _Search:
    reader = FeaturesReader(artifact_requests.files_of(api, "features", id))
    if latent >= reader.info.n_features:
        raise not_found(f"latent {latent} in features/{id}: they are 0 to {reader.info.n_features - 1}")
    sae, model = (parse_ref(reader.info.inputs[role]).id for role in ("sae", "model"))
    origin = sae_origin(artifact_requests.files_of(api, "saes", sae).manifest.config)
    if origin.planted:
        raise ApiError(
            422, "invalid_request", f"saes/{sae} was trained on planted activations: it has no language model"
        )
    tokens = TokensReader(api.store.files(parse_ref(reader.info.inputs["tokens"])), reader.info.split)
    forms = active_forms(reader, tokens, latent)
    check_capacity(api, model, origin.lm_dtype)
    pieces = pieces_with(tokens, forms, latent) if forms else []
    return _Search(f"{model}:{origin.lm_dtype}", sae, forms, pieces, api.model_summaries.pieces(model))


def _example(found: NearMiss, rank: int, text: TokenText) -> Example:
    return Example(
        kind="near", part=None, rank=rank, row=found.row, position=found.position, activation=0.0,
        tokens=text.strings(found.ids), activations=found.acts, at=found.at, excluded=found.excluded,
    )  # fmt: skip
