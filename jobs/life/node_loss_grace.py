"""Whether a job fitted here before. Then a node that is away for a while is waited for, as long as the job may wait."""

from __future__ import annotations

import time

from cluster.records import JobRow
from configs.requirements import Fit, Offer, Requirement, fit

REJOIN_S = 30.0


class Fitted:
    """Knows it of a job by its row; of one that nobody has looked at yet, by the nodes that were there a moment ago."""

    def __init__(self) -> None:
        self._last: Offer | None = None
        self._before: Offer | None = None
        self._since = 0.0

    def look(self, offer: Offer, told: Offer | None) -> None:
        """Takes in an offer. `told`: what the dispatcher before this one had written of its own, at the first look.

        Where there were more nodes than now, those may rejoin: what fitted then counts for REJOIN_S. So nothing is
        refused because the head, started again, is the first node there; and on a cluster that has lost no node, what
        can never fit is told at once. How long ago the other dispatcher wrote does not matter: its clock may lie, and
        at worst a job waits, saying for what, that might have been refused.
        """
        last = self._last or told
        lost = last is not None and len(last.nodes) > len(offer.nodes)
        if lost and last is not None and (self._before is None or len(last.nodes) >= len(self._before.nodes)):
            self._before, self._since = last, time.monotonic()
        if self._before is not None and time.monotonic() - self._since >= REJOIN_S:
            self._before = None
        self._last = offer

    def ever(self, job: JobRow, need: Requirement, store_free: int | None) -> bool:
        """True if an attempt of the request was granted, or the job was found to fit: then its row says what it needs."""
        if job.tries > 0 or "need" in (job.blocked or {}):
            return True
        if self._before is None:
            return False
        return fit(need, self._before._replace(store_free=store_free)).fit is not Fit.NEVER
