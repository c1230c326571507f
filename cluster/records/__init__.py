"""The catalog: jobs, attempts, events and artifacts as rows. Knows no Ray and no store."""

from cluster.records.artifact_tables import ArtifactRow, FeatureAnnotation
from cluster.records.errors import (
    CancelPending,
    CatalogUnreachable,
    IllegalMove,
    InUse,
    NameTaken,
    NotFound,
    RecordsError,
    StaleAttempt,
)
from cluster.records.index_fields import Field, filters_of
from cluster.records.job_tables import AttemptRow, EventRow, JobRow
from cluster.records.leases import DISPATCHER, Lease
from cluster.records.records import Records, open_records
from cluster.records.states import ENDED, LIVE, MOVES, State, check_move
from cluster.records.submission import Submission

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
    "Records",
    "RecordsError",
    "StaleAttempt",
    "State",
    "Submission",
    "check_move",
    "filters_of",
    "open_records",
]
