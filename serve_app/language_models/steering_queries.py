"""What the language models' replica needs of a request to steer, read from the catalog and the store."""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.catalog import ArtifactRow
from configs.artifact_ids import ArtifactRef
from configs.sae_origin import sae_origin
from configs.steering import SteeringRequest
from serve_app import artifact_requests
from serve_app.dependencies import Api
from serve_app.errors import ApiError
from serve_app.feature_tables import TABLES
from serve_app.language_models.admission import check_capacity


class SteeringQuery(NamedTuple):
    """A model (an id and a dtype), and the query for it."""

    model: str
    dtype: str
    query: dict[str, Any]

    @property
    def key(self) -> str:
        """As InteractiveModels takes it."""
        return f"{self.model}:{self.dtype}"


def steering_query(api: Api, request: SteeringRequest, model: str | None = None) -> SteeringQuery:
    """The model is that of the SAEs, which must be of one model, or `model` (an id) without interventions.

    Raises ApiError for SAEs of several models or none, and where memory is short.
    """
    found = [_model_of(api, ref.removeprefix("saes/")) for ref in request.sae_ids()]
    models = {one.model for one in found} | ({model} if model is not None else set())
    if len(models) > 1:
        names = ", ".join(f"models/{one}" for one in sorted(models))
        raise ApiError(422, "invalid_request", f"one request steers one model, and these SAEs and model are of {names}")
    (id,) = models
    dtype = found[0].dtype if found else ("bf16" if api.settings.device == "cuda" else "fp32")
    check_capacity(api, id, dtype)
    in_units_of_max = {(one.sae, one.latent) for one in request.interventions if one.unit == "max"}
    query = {
        "request": request.model_dump(mode="json", include=set(SteeringRequest.model_fields)),
        "maxima": [[sae, latent, _largest(api, sae, latent)] for sae, latent in in_units_of_max],
        "bos": found[0].bos if found else "tokenizer",
    }  # fmt: skip
    return SteeringQuery(id, dtype, query)


class _Trained(NamedTuple):
    """The model that an SAE was trained on, its dtype, and whether its rows began with BOS (as in a tokenize config)."""

    model: str
    dtype: str
    bos: str


def _model_of(api: Api, sae: str) -> _Trained:
    manifest = artifact_requests.files_of(api, "saes", sae).manifest
    origin = sae_origin(manifest.config)
    if origin.planted:
        raise ApiError(
            422, "invalid_request", f"saes/{sae} was trained on planted activations: it has no language model"
        )
    model, tokens = (manifest.inputs[role].partition("/")[2] for role in ("model", "tokens"))
    bos = artifact_requests.files_of(api, "tokens", tokens).manifest.config.get("bos", "tokenizer")
    return _Trained(model, origin.lm_dtype, str(bos))


def _largest(api: Api, sae: str, latent: int) -> float:
    """The feature's largest activation in the newest extraction of its SAE."""
    newest: list[ArtifactRow] = api.catalog.artifacts("features", 1, filters={"sae": sae})
    if not newest:
        raise ApiError(
            422, "invalid_request", f"the unit `max` needs the features of {sae}, which are not extracted: do that, or use "
            "the unit raw or norm",
        )  # fmt: skip
    ref = ArtifactRef("features", newest[0].id)
    table = TABLES.get(artifact_requests.files_of(api, "features", ref.id))
    if latent >= table.info.n_features:
        raise ApiError(
            422, "invalid_request", f"there is no latent {latent} in {sae}: they are 0 to {table.info.n_features - 1}"
        )
    largest = table.largest(latent)
    if not largest:
        raise ApiError(
            422, "invalid_request", f"latent {latent} of {sae} was never active in {ref}, so it has no largest activation: use "
            "the unit raw or norm",
        )  # fmt: skip
    return largest
