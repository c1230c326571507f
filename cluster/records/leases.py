"""Leases: of several processes that would do one thing, the one that may. No wall clock decides who."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.process_identity import current_boot
from cluster.records.clock import boot_seconds
from cluster.records.process import ProcessId
from cluster.records.staleness import ChangeTimer
from cluster.records.tables import Lease
from cluster.records.transactions import Transactions

DISPATCHER = "dispatcher"  # the lease of whoever grants and watches jobs


@dataclass(frozen=True)
class LeaseRow:
    """Who holds a lease. `until` is for people: `held` says whether anyone must be believed to hold it still."""

    name: str
    holder: str
    until: float
    data: dict[str, Any]
    host: str
    pid: int
    held: bool


class Leases(Transactions):
    """lease, lease_row, release."""

    def lease(self, name: str, holder: str, ttl_s: float, data: dict[str, Any] | None = None) -> bool:
        """Takes a lease, or renews it; True if the caller holds it now. `data` can be read by all; None keeps it.

        `holder` names the caller and nobody else. Another's lease is free once it was released, once its process on
        this host is gone, or once it was not renewed for its own `ttl_s`: by the clock of this machine's boot if it was
        renewed on it, else as long as this value of Records has watched it. So ask again and again.
        """
        if ttl_s <= 0:
            raise ValueError(f"a lease must last longer than {ttl_s} s")
        return self._settled(lambda: self._take(name, holder, ttl_s, data))

    def lease_row(self, name: str) -> LeaseRow | None:
        """Who holds a lease; None if nobody took it, or it was released."""
        with self._read() as session:
            row = session.get(Lease, name)
            if row is None:
                return None
            held = not _free(row, self._changes)
            return LeaseRow(row.name, row.holder, row.until, row.data, row.host, row.pid, held)

    def release(self, name: str, holder: str) -> None:
        """Gives a lease back. Does nothing if another holds it."""
        with self._write() as session:
            row = _locked(session, name)
            if row is not None and row.holder == holder:
                session.delete(row)

    def _take(self, name: str, holder: str, ttl_s: float, data: dict[str, Any] | None) -> bool:
        with self._write() as session:
            row = _locked(session, name)
            if row is None:
                row = Lease(name=name, holder=holder, renewals=0, data={})
                session.add(row)
            elif row.holder != holder:
                if not _free(row, self._changes):
                    return False
                row.holder, row.data = holder, {}
            row.renewals += 1
            row.ttl_s, row.until = ttl_s, time.time() + ttl_s
            row.host, row.pid, row.process = ProcessId.current()
            row.boot, row.boot_seconds = current_boot(), boot_seconds()
            if data is not None:
                row.data = data
            return True


def is_held(session: Session, name: str, changes: ChangeTimer) -> bool:
    """True if somebody must be believed to hold a lease."""
    row = session.get(Lease, name)
    return row is not None and not _free(row, changes)


def _locked(session: Session, name: str) -> Lease | None:
    return session.scalars(select(Lease).where(Lease.name == name).with_for_update()).one_or_none()


def _free(row: Lease, changes: ChangeTimer) -> bool:
    """True if whoever holds a lease has lost it."""
    driver = ProcessId(row.host, row.pid, row.process)
    if driver.on_this_host() and driver.has_ended():
        return True
    if row.boot is not None and row.boot == current_boot():
        return boot_seconds() - row.boot_seconds > row.ttl_s
    return changes.unchanged_s(("lease", row.name), (row.holder, row.renewals)) > row.ttl_s
