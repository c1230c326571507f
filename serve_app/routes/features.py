"""Features of an SAE: filtered, sorted and paged; one of them; its examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import Field

from configs.artifact_ids import parse_ref
from sae.formats.features import FeaturesReader, hook_shares
from sae.formats.tokens import TokensReader
from sae.report.shown_example import shown_example
from sae.report.sources import speakers_of
from sae.report.token_text import TokenText
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import not_found
from serve_app.feature_tables import TABLES, Selection, Sort
from serve_app.openapi.responses import problems
from serve_app.paging import Paged, StrictQuery, decode, encode
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.common import HexId, Latent
from serve_app.schemas.features import Bin, Example, Feature, FeaturePage, FeatureSummary, Logit, Neighbour

router = artifact_routes("features")


class FeatureQuery(Paged):
    """Query parameters of the list of features."""

    sort: Sort = Field("latent", description="Column to sort by.")
    order: Literal["asc", "desc"] = Field("asc", description="`asc`: the smallest first; `desc`: the largest first.")
    alive: bool | None = Field(
        None, description="true: only features that were active; false: only those that never were."
    )
    min_density: float | None = Field(None, ge=0, le=1, description="Smallest density.")
    max_density: float | None = Field(None, ge=0, le=1, description="Largest density.")
    min_max: float | None = Field(None, ge=0, le=1e9, description="Smallest value of the largest activation.")
    token: str | None = Field(
        None, min_length=1, max_length=50, description="Only features that promote a token with this text in it."
    )

    def selection(self) -> Selection:
        """The filter and order."""
        own = ("min_density", "max_density", "min_max", "alive", "token")
        return Selection(self.sort, self.order == "desc", **{name: getattr(self, name) for name in own})


class ExampleQuery(StrictQuery):
    """Query parameters of the examples of a feature."""

    kind: Literal["top", "quantile", "uniform"] | None = Field(None, description="Only examples of this kind.")
    limit: int = Field(50, ge=1, le=500, description="Examples, at most.")


@router.get("/{id}/latents", summary="List features", responses=problems(404), response_model=FeaturePage)
def list_latents(api: ApiDep, id: HexId, query: Annotated[FeatureQuery, Query()]) -> Response:
    """Filtered and sorted; ties by latent. Get the next page with `cursor` and the same parameters."""
    table = TABLES.get(artifact_requests.files_of(api, "features", id))
    rows = table.select(query.selection())
    start = decode(query.cursor, int)[0] if query.cursor else 0
    shown = rows[max(0, start) : max(0, start) + query.limit]
    after = start + len(shown)
    items = [FeatureSummary(**row) for row in table.show(shown)]
    more = encode(after) if after < len(rows) and items else None
    return artifact_requests.json_response(FeaturePage(items=items, next=more, total=len(rows)))


@router.get("/{id}/latents/{latent}", summary="Get one feature", responses=problems(404), response_model=Feature)
def get_latent(api: ApiDep, request: Request, id: HexId, latent: Latent) -> Response:
    """Its statistics, histogram, logit lens and neighbours."""
    return artifact_requests.json_with_etag(request, get_feature(api, id, latent)[0])


def get_feature(api: Api, id: str, latent: int) -> tuple[Feature, list[float]]:
    """One feature, and the edges of the parts that its quantile examples are drawn from."""
    reader = _reader(api, id, latent)
    row = reader.feature(latent)
    return _feature(reader, row), [float(edge) for edge in row["part_edges"]]


@router.get("/{id}/latents/{latent}/examples", summary="Get the examples of a feature", responses=problems(404))
def list_latent_examples(
    api: ApiDep, id: HexId, latent: Latent, query: Annotated[ExampleQuery, Query()]
) -> list[Example]:
    """Positions where it is active, with the text around them: the largest activations, some of each quantile, some at random."""
    reader = _reader(api, id, latent)
    rows = [row for row in reader.examples([latent]).to_pylist() if query.kind in (None, row["kind"])]
    inputs = {role: parse_ref(ref) for role, ref in reader.info.inputs.items()}
    speakers = speakers_of(api.store.files(inputs["sae"]))
    tokens = TokensReader(api.store.files(inputs["tokens"]), reader.info.split, speakers)
    pieces = api.model_summaries.pieces(inputs["model"].id)
    return [_example(row, tokens, pieces) for row in rows[: query.limit]]


def _reader(api: Api, id: str, latent: int) -> FeaturesReader:
    reader = FeaturesReader(artifact_requests.files_of(api, "features", id))
    if latent >= reader.info.n_features:
        raise not_found(f"latent {latent} in features/{id}: they are 0 to {reader.info.n_features - 1}")
    return reader


def _feature(reader: FeaturesReader, row: dict[str, Any]) -> Feature:
    octave = reader.info.histogram["per_octave"]
    edges = [(2 ** (i / octave), 2 ** ((i + 1) / octave)) for i in row["histogram_bins"]]
    count = row["count"]
    return Feature(
        latent=row["feature"],
        sae=reader.info.inputs["sae"],
        hook=reader.info.hook,
        hook_shares=hook_shares(reader.info, row),
        count=count,
        density=row["density"],
        max=row["max"],
        mean=row["sum"] / count if count else 0.0,
        quantiles=row["quantiles"],
        quantile_probabilities=list(reader.info.quantile_probabilities),
        histogram=[
            Bin(start=low, stop=high, count=n) for (low, high), n in zip(edges, row["histogram_counts"], strict=True)
        ],
        no_logit_lens=reader.info.no_logit_lens,
        promoted=_logits(row, "promoted"),
        suppressed=_logits(row, "suppressed"),
        neighbours=[
            Neighbour(latent=other, cosine=cosine)
            for other, cosine in zip(row["neighbours"], row["neighbour_cosines"], strict=True)
        ],
    )


def _logits(row: dict[str, Any], side: str) -> list[Logit] | None:
    if row[f"{side}_tokens"] is None:
        return None
    pairs = zip(row[f"{side}_tokens"], row[f"{side}_logits"], strict=True)
    return [Logit(token=token, logit=logit) for token, logit in pairs]


def _example(row: dict[str, Any], tokens: TokensReader, pieces: TokenText) -> Example:
    read, position = tokens.read(row["row"], row["row"] + 1), row["position"]
    shown = shown_example(read, tokens.attention, position, row["start"], row["acts"], pieces)
    own = ("kind", "part", "rank", "row", "position", "activation")
    return Example(
        **{name: row[name] for name in own},
        tokens=shown.texts,
        activations=shown.acts,
        at=position - shown.first,
        excluded=shown.outside,
    )
