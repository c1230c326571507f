"""How the features of an SAE relate to each other: which are active together."""

from __future__ import annotations

from fastapi import Request, Response

from cluster.store import ArtifactFiles
from sae.formats.coactivation import COACTIVATION, read_partners
from sae.formats.labels import LabelsReader
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import not_found
from serve_app.openapi.responses import problems
from serve_app.routes.labels import router
from serve_app.schemas.common import HexId, Latent
from serve_app.schemas.feature_relations import CoactiveFeature, CoactiveFeatures


@router.get(
    "/{id}/latents/{latent}/coactivation",
    summary="Get the features that are active together with one",
    responses=problems(404),
    response_model=CoactiveFeatures,
)
def list_coactive(api: ApiDep, request: Request, id: HexId, latent: Latent) -> Response:
    """The other features with the highest NPMI, each with exact counts beside what independent features would have."""
    files = files_with(api, id, COACTIVATION)
    reader = LabelsReader(files)
    if latent >= reader.info.n_features:
        raise not_found(f"latent {latent} in labels/{id}: they are 0 to {reader.info.n_features - 1}")
    count, partners = read_partners(files, latent)
    positions = reader.info.coactivation_positions
    found = [
        CoactiveFeature(
            latent=one.feature,
            count=one.count,
            joint=one.joint,
            expected=count * one.count / positions,
            share=one.joint / count,
            share_of_other=one.joint / one.count,
            npmi=one.npmi,
        )
        for one in partners
    ]
    return artifact_requests.json_with_etag(
        request, CoactiveFeatures(latent=latent, positions=positions, count=count, coactive=found)
    )


def files_with(api: Api, id: str, name: str) -> ArtifactFiles:
    """The files of a labels artifact that has this one. Raises ApiError (404): earlier versions made fewer files."""
    files = artifact_requests.files_of(api, "labels", id)
    if name not in files.names:
        raise not_found(
            f"{name} in labels/{id}: an earlier version of the label stage made it; label the features again"
        )
    return files
