"""Who is signed in, API tokens, and what the server consists of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from serve_app.schemas.common import FromRow, RequestBody

Scope = Literal["read", "write"]
_Secret = Annotated[str, Field(min_length=1, max_length=200)]


class SignIn(RequestBody):
    """Signs in this browser: with the code of a link, or with an API token."""

    code: _Secret | None = Field(None, description="The code in the link that `python -m cluster up` printed.")
    token: _Secret | None = Field(None, description="An API token.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.code is None) == (self.token is None):
            raise ValueError("give either code or token")
        return self


class Session(FromRow):
    """Who sends this request."""

    name: str = Field(description="The name of the token, or `studio` for a browser that used a link.")
    scopes: list[str] = Field(description="What it may do: `read`, `write`.")
    expires_at: datetime | None = Field(description="When the session ends; null for a token.")


class AccessToken(FromRow):
    """An API token. Its text is shown only when it is made."""

    id: str = Field(description="Its id.")
    name: str = Field(description="Who it is for.")
    scopes: list[str] = Field(description="What it may do: `read`, `write`.")
    created_at: datetime = Field(description="When it was made.")
    expires_at: datetime | None = Field(description="When it expires; null for never.")
    revoked_at: datetime | None = Field(description="When it was revoked; null if it was not.")
    valid: bool = Field(description="Whether it can be used now.")


class NewAccessToken(AccessToken):
    """A token that was just made."""

    token: str = Field(description="The token itself. It is stored nowhere: copy it now.")


class AccessTokenRequest(RequestBody):
    """A new API token."""

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[\w .@+-]{1,64}$",
        description="Who it is for.",
        examples=["ada"],
    )
    scope: Scope = Field("read", description="`read`: look at everything. `write`: also change things.")
    days: float | None = Field(
        None, gt=0, le=3650, description="Days until it expires; if not given, it is valid until it is revoked."
    )


class Library(BaseModel):
    """A library that the server, or its web pages, consist of."""

    name: str = Field(description="Its name.")
    version: str = Field(description="Its version.")
    license: str = Field(description="Its licence, as its package says it.")


class About(BaseModel):
    """The server's versions and licences."""

    version: str = Field(description="RayLens' version.")
    license: str = Field(description="RayLens' licence.")
    python: str = Field(description="Python's version.")
    libraries: list[Library] = Field(description="The Python packages that are installed there, by name.")


class Preset(BaseModel):
    """A config that is ready to be submitted with `POST /v1/jobs`."""

    name: str = Field(description="Its name.", examples=["demo"])
    title: str = Field(description="What it does.")
    config: dict[str, Any] = Field(description="The config of its stage.")
