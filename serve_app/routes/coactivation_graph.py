"""The graph of all features of an SAE that are active together."""

from __future__ import annotations

from threading import Lock
from typing import Annotated, Any

import numpy as np
from cachetools import LRUCache, cached
from fastapi import APIRouter, Query, Response
from pydantic import Field

from cluster.store import ArtifactFiles
from sae.features.coactivation_graph import CoactivationGraph, Measure, cut_features, strengths
from sae.formats.coactivation import COACTIVATION, read_graph
from sae.formats.labels import LabelsReader
from serve_app import artifact_requests
from serve_app.dependencies import ApiDep
from serve_app.openapi.responses import problems
from serve_app.paging import Cursor, StrictQuery, decode, encode
from serve_app.routes.feature_relations import files_with
from serve_app.schemas.common import HexId
from serve_app.schemas.feature_relations import CoactivationGraphPage, GraphEdge, GraphNode

router = APIRouter(prefix="/v1/labels/{id}", tags=["labels"])
_BYTES = 256 << 20  # of graphs in memory; that of 100,000 features has 50 MB


class GraphQuery(StrictQuery):
    """Query parameters of the graph."""

    measure: Measure = Field("npmi", description="What an edge's strength is.")
    min_strength: float = Field(0.3, ge=-1, le=50, description="Smallest strength of an edge.")
    min_joint: int = Field(1, ge=1, description="Smallest number of positions where both are active.")
    limit: int = Field(1000, ge=1, le=5000, description="Edges of a page, at most.")
    cursor: Cursor = None


@router.get(
    "/coactivation",
    summary="Get the graph of features that are active together",
    responses=problems(404),
    response_model=CoactivationGraphPage,
)
def get_coactivation_graph(api: ApiDep, id: HexId, query: Annotated[GraphQuery, Query()]) -> Response:
    """Pairs of features of some strength with exact counts, from the lists of all features, the strongest first.

    Each list has as many features as the labels were made with (`coactive`): `cut` says where some may be missing.
    """
    files = files_with(api, id, COACTIVATION)
    graph: CoactivationGraph = _graph(files)
    strength = strengths(graph, query.measure)
    chosen = np.flatnonzero((strength >= query.min_strength) & (graph.joint >= query.min_joint))
    chosen = chosen[np.lexsort((graph.b[chosen], graph.a[chosen], -strength[chosen]))]
    degree = np.bincount(np.concatenate([graph.a[chosen], graph.b[chosen]]), minlength=len(graph.counts))
    start = max(0, decode(query.cursor, int)[0]) if query.cursor else 0
    page = chosen[start : start + query.limit]
    after = start + len(page)
    answer = CoactivationGraphPage(
        positions=graph.positions,
        total_nodes=int((degree > 0).sum()),
        total_edges=len(chosen),
        cut=cut_features(graph, query.measure, query.min_strength),
        nodes=_nodes(files, graph, np.unique(np.concatenate([graph.a[page], graph.b[page]])), degree),
        edges=[
            GraphEdge(a=a, b=b, joint=joint, strength=one, npmi=npmi)
            for a, b, joint, one, npmi in zip(
                *(values[page].tolist() for values in (graph.a, graph.b, graph.joint, strength, graph.npmi)),
                strict=True,
            )
        ],
        next=encode(after) if after < len(chosen) and len(page) else None,
    )
    return artifact_requests.json_response(answer)


def _nodes(files: ArtifactFiles, graph: CoactivationGraph, latents: Any, degree: Any) -> list[GraphNode]:
    table = LabelsReader(files).features().select(["type", "label"]).take(latents).to_pylist()
    return [
        GraphNode(latent=latent, count=int(graph.counts[latent]), degree=int(degree[latent]), **row)
        for latent, row in zip(latents.tolist(), table, strict=True)
    ]


def _bytes(graph: CoactivationGraph) -> int:
    parts = (graph.counts, graph.a, graph.b, graph.joint, graph.npmi, graph.lowest)
    return sum(int(part.nbytes) for part in parts)


@cached(LRUCache(_BYTES, _bytes), key=lambda files: (files.ref.id, files.manifest.attempt), lock=Lock())
def _graph(files: ArtifactFiles) -> CoactivationGraph:
    info = LabelsReader(files).info
    return read_graph(files, info.coactivation_positions, int(info.settings["coactive"]))
