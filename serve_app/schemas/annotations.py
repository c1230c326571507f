"""People's stars, labels and notes on features."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from cluster.catalog.feature_annotations import LABEL_CHARACTERS, NOTES_CHARACTERS
from serve_app.schemas.common import FromRow, RequestBody


class Annotation(FromRow):
    """What people wrote about one latent of an SAE. It is independent of any extraction of features."""

    sae: str = Field(description="The SAE.", examples=["saes/67d5273bd9611bd1"])
    latent: int = Field(description="Number of the latent, from 0.", examples=[1207])
    starred: bool = Field(description="Whether it is starred.")
    label: str = Field(description="A short name for the feature; empty if it has none.", examples=["units of length"])
    notes: str = Field(description="Notes.")
    updated_by: str = Field(description="Who changed it last.", examples=["api:ada"])
    updated_at: datetime = Field(description="When it was changed last.")


class AnnotationVersion(FromRow):
    """Label and notes of a latent as they were after one change."""

    version: int = Field(description="Number of the change, from 1.")
    label: str = Field(description="The label; empty if it had none.")
    notes: str = Field(description="Notes.")
    written_by: str = Field(description="Who made the change.", examples=["api:ada"])
    written_at: datetime = Field(description="When it was made.")


class AnnotationUpdate(RequestBody):
    """Changes label and notes. A field that is not given stays; an empty text clears it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "units of length", "notes": "km and miles"}]})

    label: str | None = Field(None, max_length=LABEL_CHARACTERS, description="The new label.")
    notes: str | None = Field(None, max_length=NOTES_CHARACTERS, description="The new notes.")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.label is None and self.notes is None:
            raise ValueError("give at least one of label and notes")
        return self
