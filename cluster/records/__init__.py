"""The catalog: jobs, attempts, events and artifacts as rows. Knows no Ray and no store."""

from cluster.records.artifact_rows import ArtifactRow
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
from cluster.records.feature_annotations import MarkRow
from cluster.records.leases import DISPATCHER, LeaseRow
from cluster.records.records import Records, open_records
from cluster.records.rows import AttemptRow, EventRow, JobRow, Submission
from cluster.records.states import ENDED, LIVE, MOVES, State, check_move

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
    "IllegalMove",
    "InUse",
    "JobRow",
    "LeaseRow",
    "MarkRow",
    "NameTaken",
    "NotFound",
    "Records",
    "RecordsError",
    "StaleAttempt",
    "State",
    "Submission",
    "check_move",
    "open_records",
]
