"""Leases: of several processes that would do one thing, the one that may, and its data for the others."""

from __future__ import annotations

import os
import socket
from typing import Any, NamedTuple

from cluster.catalog.common_tables import LeaseRow
from cluster.catalog.transactions import Transactions

DISPATCHER = "dispatcher"  # the lease of whoever grants jobs and watches over them


class Lease(NamedTuple):
    """The process that took a lease last, and its data; `held`: whether it, or one that is about to write so, has it now."""

    name: str
    holder: str
    data: dict[str, Any]
    host: str
    pid: int
    held: bool


class Leases(Transactions):
    """Leases end with their holder's process, or when its Catalog is closed; no clock decides."""

    def lease(self, name: str, holder: str, data: dict[str, Any] | None = None) -> bool:
        """Takes a lease, or finds that the caller has it; True if so. Call it again before each use.

        `holder` names the caller and nobody else. `data` can be read by all; None keeps the holder's data.
        """
        with self._explained():
            acquired = self._locks.acquire(name, holder)
        if not acquired:
            return False
        with self._write() as session:
            row = session.get(LeaseRow, name)
            if row is None:
                row = LeaseRow(name=name, holder=holder, data={})
                session.add(row)
            elif row.holder != holder:
                row.holder, row.data = holder, {}
            row.host, row.pid = socket.gethostname(), os.getpid()
            if data is not None:
                row.data = data
        return True

    def lease_row(self, name: str) -> Lease | None:
        """Who took a lease last; None if nobody did, or whoever did has released it."""
        with self._read() as session:
            row = session.get(LeaseRow, name)
            if row is None:
                return None
            return Lease(row.name, row.holder, row.data, row.host, row.pid, self._locks.is_held(name))

    def release(self, name: str, holder: str) -> None:
        """Gives a lease back. Does nothing if another holds it."""
        if not self._locks.has(name, holder):
            return
        with self._write() as session:
            row = session.get(LeaseRow, name)
            if row is not None and row.holder == holder:
                session.delete(row)
        self._locks.release(name)
