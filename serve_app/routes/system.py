"""Is it alive, and can it work? The only answers without a token, beside the documentation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from cluster.records import DISPATCHER, RecordsError
from cluster.store import StoreError
from serve_app.dependencies import ApiDep

router = APIRouter(prefix="/v1", tags=["system"])


class Health(BaseModel):
    """The server answers."""

    status: str = Field(description="`ok`.", examples=["ok"])
    version: str = Field(description="RayLens' version.", examples=["0.1.0"])


class Ready(BaseModel):
    """What the server stands on. It is ready with a catalog and a store; jobs wait without a dispatcher."""

    ready: bool = Field(description="Whether requests can be served.")
    catalog: bool = Field(description="Whether the catalog answers.")
    store: bool = Field(description="Whether the store answers.")
    dispatcher: bool = Field(description="Whether jobs are granted.")


@router.get("/health", summary="Is it alive?")
async def health() -> Health:
    """Answers as long as the process does. It looks at nothing."""
    return Health(status="ok", version=_version())


@router.get("/ready", summary="Can it work?", responses={503: {"model": Ready, "description": "Not now."}})
def ready(api: ApiDep, response: Response) -> Ready:
    """Looks at the catalog and the store."""
    catalog = store = dispatcher = False
    try:
        lease = api.records.lease_row(DISPATCHER)
        catalog, dispatcher = True, lease is not None and lease.held
    except (RecordsError, SQLAlchemyError):
        pass
    try:
        api.store.free_bytes()
        store = True
    except (StoreError, OSError):
        pass
    response.status_code = 200 if catalog and store else 503
    return Ready(ready=catalog and store, catalog=catalog, store=store, dispatcher=dispatcher)


def _version() -> str:
    try:
        return version("raylens")
    except PackageNotFoundError:
        return "checkout"
