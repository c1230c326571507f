"""What can go wrong with stored files. Each carries one message that a person can act upon."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT)


class StoreError(RuntimeError):
    """A store cannot be reached, or does not hold what was asked of it."""


class CorruptFile(StoreError):
    """A stored file is not what its manifest says: changed, cut short or missing."""


class StoreFull(StoreError):
    """There is no room left. What was being written has been removed again; what was there before stays."""


def translated(verb: str, advice: str = "") -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: an OSError of the function becomes StoreFull or StoreError, which say what was tried and where."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                raise explain(verb, str(args[1] if len(args) > 1 else ""), error, str(args[0]), advice) from error

        return call

    return decorate


def explain(verb: str, path: str, error: OSError, place: str, advice: str = "") -> StoreError:
    """The StoreError for an OSError met while doing `verb` to `path` in `place`."""
    what = f"cannot {verb} {path!r} in {place}" if path else f"cannot {verb} {place}"
    if error.errno in FULL:
        return StoreFull(
            f"{what}: no space is left ({error.strerror}). Nothing half-written stays behind; "
            "make room there (or set RAYLENS_STORE to a larger place) and run the job again: finished parts are kept"
        )
    return StoreError(f"{what}: {error}{advice}")
