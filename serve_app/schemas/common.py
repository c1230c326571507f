"""Types that several resources share."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from configs.base import StageConfig
from configs.resource_profiles import PROFILES
from jobs.life.session import DISPATCHED_WAIT_S
from serve_app.paging import INT64
from serve_app.security.redaction import redact

T = TypeVar("T")

HexId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{16}$",
        description="Id of the artifact: 16 hexadecimal digits.",
        examples=["67d5273bd9611bd1"],
    ),
]
JobId = Annotated[
    str, Field(pattern=r"^[a-z]{1,32}-[0-9a-f]{10}$", description="Id of the job.", examples=["train-0f3c9a7b21"])
]
Latent = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="Number of the latent: 0 to the SAE's width - 1.", examples=[1207])
]
Profile = Literal["local", "gpu", "auto"]
assert Profile.__args__ == PROFILES  # type: ignore[attr-defined]


def artifact_ref(kind: str) -> Any:
    """The type of a reference to an artifact of a kind."""
    return Annotated[
        str,
        Field(
            pattern=rf"^{kind}/[0-9a-f]{{16}}$",
            description=f"Reference of an artifact: `{kind}/` and its id.",
            examples=[f"{kind}/67d5273bd9611bd1"],
        ),
    ]


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9 ._+@-]*[A-Za-z0-9._+@-])?$",
        description="A name, unique among its kind in the project.",
        examples=["smollm2 layer 7"],
    ),
]
Tag = Annotated[
    str, Field(min_length=1, max_length=50, pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9 ._:+@-]*[A-Za-z0-9._:+@-])?$")
]
Project = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9 ._+@-]*[A-Za-z0-9._+@-])?$",
        description="The project it belongs to.",
    ),
]
Tags = Annotated[list[Tag], Field(max_length=32, description="Tags.", examples=[["demo", "layer 7"]])]
Notes = Annotated[str, Field(max_length=10_000, description="Notes, for people.")]


class FromRow(BaseModel):
    """A schema whose values are the attributes of a row, by name or `validation_alias`. Seconds become times in UTC."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


Redacted = Annotated[str, AfterValidator(redact)]


class RequestBody(BaseModel):
    """A request body. Unknown keys are errors, and so is text that no database can store, at any depth."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        check_storable(value)
        return value


class SubmitRequest(RequestBody):
    """The options of every request for a job, beside its config."""

    profile: Profile = Field("auto", description="Resource profile: `auto` takes GPUs if the cluster has any.")
    wait_s: float = Field(
        DISPATCHED_WAIT_S,
        ge=0,
        le=604_800,
        description="Seconds that the job may wait for resources before it fails.",
        examples=[600.0],
    )
    project: Project = "default"
    name: Name | None = Field(None, description="A name for the job, unique in the project.")
    tags: Tags = []
    notes: Notes = ""

    def stage_config(self) -> StageConfig:
        """The config of the stage that is requested, with local paths as the client gave them."""
        raise NotImplementedError


class LabelUpdate(RequestBody):
    """Changes labels. A field that is not given stays; an empty name, list or text clears it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "smollm2 layer 7", "tags": ["demo"]}]})

    name: Name | Literal[""] | None = Field(None, description='The new name; `""` removes it.')
    tags: Tags | None = Field(None, description="The new tags; they replace the old ones.")
    notes: Notes | None = Field(None, description="The new notes.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.name is None and self.tags is None and self.notes is None:
            raise ValueError("give at least one of name, tags and notes")
        return self


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T] = Field(description="The items, in the order of the list.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.", examples=["WzQyXQ"])


class Problem(BaseModel):
    """An error (RFC 9457). Programs use `code`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:raylens:problem:cannot_fit",
                    "title": "Conflict",
                    "status": 409,
                    "code": "cannot_fit",
                    "detail": "train needs 1 worker x {1 CPU, 8 GPU, 2.0 GiB memory}; there is 1 node: ...",
                    "largest_workers": 0,
                }
            ]
        },
    )

    type: str = Field(description="`urn:raylens:problem:` and the code.")
    title: str = Field(description="Meaning of the status.")
    status: int = Field(description="The HTTP status.")
    code: str = Field(description="Stable name of the problem.")
    detail: str = Field(description="What is wrong, where, and what would be right. At most 500 characters.")
    errors: list[dict[str, str]] | None = Field(
        None, description="`invalid_request`: up to 20 faults with `where`, `code` and `detail`."
    )
    stage: str | None = Field(None, description="`cannot_fit`: the stage that does not fit.")
    requirement: dict[str, Any] | None = Field(None, description="`cannot_fit`: what the stage requires.")
    capacity: list[dict[str, Any]] | None = Field(None, description="`cannot_fit`: the nodes of the cluster.")
    largest_workers: int | None = Field(None, description="`cannot_fit`: number of such workers that can run at once.")
    largest_worker: dict[str, Any] | None = Field(
        None, description="`cannot_fit`: the largest worker that fits on a node."
    )
    blocked_by: list[str] | None = Field(None, description="`no_capacity`: the jobs that use the memory or GPU.")
    referrers: list[str] | None = Field(
        None, description="`in_use`: up to 100 artifacts made from it and live jobs that use it."
    )
    name_owner: str | None = Field(None, description="`name_taken`: the job or artifact that has the name.")


def check_storable(value: Any) -> None:
    """Raises ValueError for text with NUL or half a surrogate pair, and for whole numbers beyond 64 bits."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text must not hold the character NUL")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("text must be valid Unicode: it holds half of a surrogate pair")
    elif isinstance(value, int) and abs(value) > INT64:
        raise ValueError("whole numbers have at most 64 bits")
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_storable(key)
            check_storable(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_storable(inner)
