"""How features relate to each other and to a query: which are active together, which are near, and where all are on a plane."""

from __future__ import annotations

from pydantic import BaseModel, Field

from serve_app.schemas.labels import FeatureType, LabelledFeature


class CoactiveFeature(BaseModel):
    """A feature that is active together with another."""

    latent: int = Field(description="Number of the SAE's latent, from 0.")
    count: int = Field(description="Positions where it is active.")
    joint: int = Field(description="Positions where both are active.")
    expected: float = Field(description="What `joint` would be on average if the two were independent.")
    share: float = Field(description="Share of the first feature's active positions where this one is active too.")
    share_of_other: float = Field(description="Share of this one's active positions where the first is active too.")
    npmi: float = Field(
        description="Normalised pointwise mutual information: 1 always together, 0 as if independent, towards -1 apart."
    )


class CoactiveFeatures(BaseModel):
    """The features that are active together with one: those that share at least 5 positions with it."""

    latent: int = Field(description="Number of the SAE's latent.")
    positions: int = Field(description="Data positions that were counted.")
    count: int = Field(description="Positions among them where the latent is active.")
    coactive: list[CoactiveFeature] = Field(description="The highest NPMI first.")


class GraphNode(BaseModel):
    """A feature of the graph."""

    latent: int = Field(description="Number of the SAE's latent.")
    count: int = Field(description="Positions where it is active.")
    degree: int = Field(description="Its edges in the whole graph, on all pages.")
    type: FeatureType = Field(description="Its type.")
    label: str | None = Field(description="Its best label, if it has one.")


class GraphEdge(BaseModel):
    """Two features that are active together."""

    a: int = Field(description="One latent, the smaller number.")
    b: int = Field(description="The other.")
    joint: int = Field(description="Positions where both are active.")
    strength: float = Field(description="The measure that was asked for.")
    npmi: float = Field(description="Normalised pointwise mutual information.")


class CoactivationGraphPage(BaseModel):
    """One page of the edges of the graph, and their features."""

    positions: int = Field(description="Data positions that were counted.")
    total_nodes: int = Field(description="Features with an edge, on all pages.")
    total_edges: int = Field(description="Edges, on all pages.")
    cut: int = Field(
        description="Features whose list was full, so that further edges of this strength may exist between two of them; by a "
        "measure other than npmi all full lists. 0: the graph is complete."
    )
    nodes: list[GraphNode] = Field(description="The features of this page's edges, by latent.")
    edges: list[GraphEdge] = Field(description="The strongest first; ties by `a` and `b`.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class FoundFeature(LabelledFeature):
    """A feature that a search found, with its best label."""

    cosine: float = Field(description="How near it is to the query: 1 at most.")
    density: float = Field(description="Share of the data positions, of the text of the labels, where it is active.")


class SearchAnswer(BaseModel):
    """The features nearest to a query."""

    chance: float = Field(
        description="The best cosine that 95% of queries of as many random tokens stay below: nearer features mean something."
    )
    items: list[FoundFeature] = Field(description="The nearest first.")


class SearchedSae(BaseModel):
    """An SAE whose labels can be searched."""

    sae: str = Field(description="The SAE.")
    hook: str | None = Field(description="Where in the language model it reads; null if that is not known.")
    labels: str = Field(description="Its newest labels, or those that were asked for.")
    features: str = Field(description="The features that are labelled.")


class FeatureOfSae(LabelledFeature):
    """A feature that a search of several SAEs found, with its best label."""

    sae: str = Field(description="The SAE.")
    hook: str | None = Field(description="Where in the language model it reads.")
    labels: str = Field(description="The labels that it was found in.")
    features: str = Field(description="The features that it is one of.")
    cosine: float | None = Field(description="How near it is to `q`: 1 at most; null without `q`.")
    density: float = Field(description="Share of the data positions, of the text of the labels, where it is active.")


class FeatureSearchAnswer(BaseModel):
    """The features of several SAEs that are nearest to a query, or whose labels have some text."""

    chance: float | None = Field(
        description="The best cosine, with a feature of any of the searched SAEs, that 95% of queries of as many random tokens "
        "stay below; null without `q`."
    )
    items: list[FeatureOfSae] = Field(
        description="The nearest first; without `q` the highest score of the label first."
    )
    saes: list[SearchedSae] = Field(description="The SAEs that `labels` or `model` name, before `sae` and `hook`.")
    left_out: int = Field(description="Further SAEs, not searched: too many, or labelled by an earlier version.")


class FeatureMap(BaseModel):
    """Places of all features on a plane, in the order of their latents."""

    x: list[float] = Field(description="First coordinate. Only nearness has a meaning.")
    y: list[float] = Field(description="Second coordinate.")
    types: list[FeatureType] = Field(description="Names of the types.")
    type: list[int] = Field(description="Type of each feature: an index into `types`.")
