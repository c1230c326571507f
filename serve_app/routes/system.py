"""Health and readiness. Only these and the documentation need no token."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from cluster.catalog import DISPATCHER, CatalogError
from cluster.store import StoreError
from serve_app.dependencies import ApiDep

router = APIRouter(prefix="/v1", tags=["system"])


class Health(BaseModel):
    """The server answers."""

    status: str = Field(description="`ok`.", examples=["ok"])
    version: str = Field(description="RayLens' version.", examples=["0.1.0"])


class Ready(BaseModel):
    """The parts that the server needs: a catalog and a store. Without a dispatcher, jobs wait."""

    ready: bool = Field(description="Whether requests can be served.")
    catalog: bool = Field(description="Whether the catalog answers.")
    store: bool = Field(description="Whether the store answers.")
    dispatcher: bool = Field(description="Whether a dispatcher admits jobs.")


@router.get("/health", summary="Check whether the server is alive")
async def health() -> Health:
    """Checks nothing but that the process answers."""
    return Health(status="ok", version=raylens_version())


@router.get(
    "/ready",
    summary="Check whether the server is ready",
    responses={503: {"model": Ready, "description": "It is not ready."}},
)
def ready(api: ApiDep, response: Response) -> Ready:
    """Checks the catalog and the store."""
    catalog = store = dispatcher = False
    try:
        lease = api.catalog.lease_row(DISPATCHER)
        catalog, dispatcher = True, lease is not None and lease.held
    except (CatalogError, SQLAlchemyError):
        pass
    try:
        api.store.free_bytes()
        store = True
    except (StoreError, OSError):
        pass
    response.status_code = 200 if catalog and store else 503
    return Ready(ready=catalog and store, catalog=catalog, store=store, dispatcher=dispatcher)


def raylens_version() -> str:
    """The installed version; `checkout` where RayLens runs from its folder."""
    try:
        return version("raylens")
    except PackageNotFoundError:
        return "checkout"
