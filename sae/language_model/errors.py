"""What can go wrong with a language model, said in one sentence each."""

from __future__ import annotations


class ModelError(ValueError):
    """A model cannot be converted, loaded or run as asked; the message says why and what would be right."""


class HookNotFound(ModelError):
    """The model has no such hook point; the message names those that exist."""


class CannotRun(ModelError):
    """A model's forward pass fails on rows of token ids alone."""
