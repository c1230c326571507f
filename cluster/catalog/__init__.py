"""The catalog: jobs, attempts, events and artifacts as rows. Knows no Ray and no store."""

from cluster.catalog.artifact_tables import ArtifactRow, FeatureAnnotation
from cluster.catalog.catalog import Catalog, open_catalog
from cluster.catalog.errors import (
    CancelPending,
    CatalogError,
    CatalogUnreachable,
    IllegalMove,
    InUse,
    NameTaken,
    NotFound,
    StaleAttempt,
)
from cluster.catalog.index_fields import Field, filters_of
from cluster.catalog.job_tables import AttemptRow, EventRow, JobRow
from cluster.catalog.leases import DISPATCHER, Lease
from cluster.catalog.states import ENDED, LIVE, MOVES, State, check_move
from cluster.catalog.submission import Submission

__all__ = [
    "DISPATCHER",
    "ENDED",
    "LIVE",
    "MOVES",
    "ArtifactRow",
    "AttemptRow",
    "CancelPending",
    "CatalogUnreachable",
    "EventRow",
    "FeatureAnnotation",
    "Field",
    "IllegalMove",
    "InUse",
    "JobRow",
    "Lease",
    "NameTaken",
    "NotFound",
    "Catalog",
    "CatalogError",
    "StaleAttempt",
    "State",
    "Submission",
    "check_move",
    "filters_of",
    "open_catalog",
]
