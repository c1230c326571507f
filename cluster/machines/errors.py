"""What can go wrong with a cluster."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """The cluster that a command names cannot be used or started. The message says what would be right."""
