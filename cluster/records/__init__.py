"""The catalog: jobs, attempts, events and artifacts as rows. Knows no Ray and no store."""

from cluster.records.errors import CancelPending, IllegalMove, RecordsError, StaleAttempt
from cluster.records.records import Records, open_records
from cluster.records.rows import ArtifactRow, AttemptRow, EventRow, JobRow, Submission
from cluster.records.states import ENDED, LIVE, MOVES, State, check_move

__all__ = [
    "ENDED",
    "LIVE",
    "MOVES",
    "ArtifactRow",
    "AttemptRow",
    "CancelPending",
    "EventRow",
    "IllegalMove",
    "JobRow",
    "Records",
    "RecordsError",
    "StaleAttempt",
    "State",
    "Submission",
    "check_move",
    "open_records",
]
