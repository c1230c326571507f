"""People's named lists of features."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from serve_app.schemas.common import Latent, Name, RequestBody, artifact_ref

MOST_AT_ONCE = 1000


class FeatureList(BaseModel):
    """A named list of features, of any SAEs."""

    id: str = Field(description="Its id: 16 hexadecimal digits.", examples=["67d5273bd9611bd1"])
    name: str = Field(description="Its name; no other list has it.", examples=["units of length"])
    features: int = Field(description="Number of features on it.", examples=[12])
    created_by: str = Field(description="Who made it.", examples=["api:ada"])
    created_at: datetime = Field(description="When it was made.")


class ListedFeature(BaseModel):
    """A feature of a list, with what people wrote about it."""

    sae: str = Field(description="The SAE.", examples=["saes/67d5273bd9611bd1"])
    latent: int = Field(description="Number of its latent, from 0.", examples=[1207])
    features: str | None = Field(
        description="The newest features of that SAE, where the feature can be looked at; null if there are none.",
        examples=["features/67d5273bd9611bd1"],
    )
    starred: bool = Field(description="Whether it is starred.")
    label: str = Field(description="The label that people gave it; empty if it has none.", examples=["units of length"])
    added_by: str = Field(description="Who put it on the list.", examples=["api:ada"])
    added_at: datetime = Field(description="When.")


class FeatureListRequest(RequestBody):
    """The name of a list of features."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "units of length"}]})

    name: Name


class OneFeature(RequestBody):
    """One latent of an SAE."""

    sae: artifact_ref("saes")  # type: ignore[valid-type]
    latent: Latent


class ListedFeaturesRequest(RequestBody):
    """Features to put on a list."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"features": [{"sae": "saes/67d5273bd9611bd1", "latent": 1207}]}]}
    )

    features: list[OneFeature] = Field(min_length=1, max_length=MOST_AT_ONCE, description="The features.")
