"""The catalog: jobs, their attempts and events, and what they published. The row is the truth; what runs follows it."""

from __future__ import annotations

from cluster.catalog.artifact_api import Artifacts
from cluster.catalog.database import open_engine
from cluster.catalog.dispatcher_api import DispatcherApi
from cluster.catalog.driver_api import DriverApi
from cluster.catalog.feature_annotations import FeatureAnnotations
from cluster.catalog.feature_lists import FeatureLists
from cluster.catalog.idempotency_keys import IdempotencyKeys
from cluster.catalog.job_queries import JobQueries
from cluster.catalog.leases import Leases
from cluster.catalog.sessions import Sessions
from cluster.catalog.submission import Submissions


def open_catalog(url: str | None = None) -> Catalog:
    """The catalog at an SQLAlchemy URL, by default sqlite:///$RAYLENS_HOME/catalog.db. Raises CatalogError."""
    return Catalog(open_engine(url))


class Catalog(
    Submissions,
    DriverApi,
    DispatcherApi,
    Leases,
    Artifacts,
    FeatureAnnotations,
    FeatureLists,
    IdempotencyKeys,
    Sessions,
    JobQueries,
):
    """The catalog, for submitters, drivers, the dispatcher and everybody who reads.

    Every call is one transaction. Threads may share a value of this class; processes open their own.
    """
