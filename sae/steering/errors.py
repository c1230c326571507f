"""What is wrong with a request to steer."""

from __future__ import annotations


class SteeringError(ValueError):
    """Steering that cannot be done; the message says why and what would be right."""
