"""How a job ended."""

from __future__ import annotations

from typing import NamedTuple

from jobs.life.failure import Failure


class Ended(NamedTuple):
    """How a job ended. `message` is for people, `failure` is None unless it FAILED."""

    job_id: str
    state: str
    artifacts: list[str]
    message: str = ""
    failure: Failure | None = None
