"""The catalog: jobs, their attempts and events, and what they published. The row is the truth; what runs follows it."""

from __future__ import annotations

from cluster.records.artifacts import Artifacts
from cluster.records.database import open_engine
from cluster.records.dispatcher_api import DispatcherApi
from cluster.records.driver_api import DriverApi
from cluster.records.feature_annotations import FeatureAnnotations
from cluster.records.idempotency_keys import IdempotencyKeys
from cluster.records.job_queries import JobQueries
from cluster.records.leases import Leases
from cluster.records.submission import Submissions


def open_records(url: str | None = None) -> Records:
    """The catalog at an SQLAlchemy URL, by default sqlite:///$RAYLENS_HOME/catalog.db. Raises RecordsError."""
    return Records(open_engine(url))


class Records(
    Submissions, DriverApi, DispatcherApi, Leases, Artifacts, FeatureAnnotations, IdempotencyKeys, JobQueries
):
    """The catalog, for submitters, drivers, the dispatcher and everybody who reads.

    Every call is one transaction. Threads may share a value of this class; processes open their own.
    """
