"""What can go wrong with stored files. Each carries one message that a person can act upon."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ANSWER = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ESTALE,
)
_NO_ANSWER_SIGNS = ("NETWORK_CONNECTION", "curlCode", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "REQUEST_TIMEOUT")


class StoreError(RuntimeError):
    """A store cannot be reached, or does not have what a caller needs."""


class CorruptFile(StoreError):
    """A stored file is not what its manifest says: changed, cut short or missing."""


class StoreUnreachable(StoreError):
    """The store did not answer. It may, in a while."""


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


def explain(verb: str, path: str, error: OSError, location: str, advice: str = "") -> StoreError:
    """The StoreError for an OSError met while doing `verb` to `path` in `location`."""
    what = f"cannot {verb} {path!r} in {location}" if path else f"cannot {verb} {location}"
    if error.errno in FULL:
        return StoreFull(
            f"{what}: no space is left ({error.strerror}). Nothing half-written stays behind; "
            "make room there (or set RAYLENS_STORE to a larger place) and run the job again: finished parts are kept"
        )
    kind = StoreUnreachable if _no_answer(error) else StoreError
    return kind(f"{what}: {error}{advice}")


def _no_answer(error: OSError) -> bool:
    """pyarrow tells what its S3 client met in words alone."""
    return error.errno in _NO_ANSWER or any(sign in str(error) for sign in _NO_ANSWER_SIGNS)
