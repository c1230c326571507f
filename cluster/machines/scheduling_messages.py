"""Messages for work that Ray could not schedule."""

from __future__ import annotations

import re

from configs.requirements import Capacity, Fit, Requirement, fit

# Ray's ids, and its advice to itself, say nothing to people.
_NOISE = re.compile(r"\s*(lease_id=|job_id=|task_id=|actor_id=).*", re.DOTALL)
_LONGEST = 300


def explain(error: BaseException | str, requirement: Requirement, capacity: Capacity) -> str:
    """One message that names requirement, capacity and what would fit.

    Ray's own name the shape of one worker at most, `[{}]` if it is the labels that no node has, and never the capacity.
    `error`: what Ray raised, or the message of a Ray job or a Serve deployment that failed. It is quoted where
    requirement and capacity alone do not say why.
    """
    verdict = fit(requirement, capacity)
    if verdict.fit is Fit.NEVER:
        return f"it can never run here: it {verdict.reason}. {verdict.suggestion}"
    return f"Ray could not schedule it, though it {verdict.reason}. Ray says: {_gist(error)}"


def _gist(error: BaseException | str) -> str:
    """The line that says what could not be scheduled: Serve gives a traceback around it. Else the first one."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    line = next((line for line in lines if "not schedulable" in line), lines[0])
    return _NOISE.sub("", line)[:_LONGEST].rstrip(" ,.")
