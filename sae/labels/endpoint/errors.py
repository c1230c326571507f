"""What can be wrong with a model server."""

from __future__ import annotations


class EndpointError(ValueError):
    """A model server that cannot be used as it is configured; the message says what would be right."""


class QuestionRefused(EndpointError):
    """One question that the server does not take: too long for the model, or against the server's own rules."""


class EndpointUnreachable(RuntimeError):
    """A model server that does not answer now. Another attempt may find it; answers so far are kept."""


class EndpointBudget(ValueError):
    """A bound on requests or tokens was reached. Answers so far are kept."""
