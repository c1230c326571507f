"""Requests to the Hugging Face hub, or to whatever HF_ENDPOINT points to: repeated where that can help, one clear message
where it cannot."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tenacity import RetryCallState, Retrying, retry_if_exception

from configs.download import HubSource
from sae.quoting import quoted, shortened
from sae.sources.file_selection import SourceError, SourceUnreachable
from sae.sources.hub_token import HOW, hub_token

ATTEMPTS = 5  # that bring nothing new
LONGEST_DELAY_S = 60.0
_TEMPORARY_STATUS = (408, 429, 500, 502, 503, 504)
_UNREACHABLE = (httpx2.TransportError, LocalEntryNotFoundError, OSError)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def hub_endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_credentials() -> str | bool:
    """The token for a request; False for none: the library would look for one itself."""
    token = hub_token()
    return token.text if token is not None else False


def call_hub(source: HubSource, what: str, call: Callable[[], Any], bytes_so_far: Callable[[], int] = lambda: 0) -> Any:
    """Calls the hub, and again after a while where that can help. Raises SourceError with one clear message.

    It gives up after ATTEMPTS calls in turn that failed without bringing a byte, which `bytes_so_far` counts.
    """
    hub, repo = hub_endpoint(), f"{what} {quoted(source.repo)}"
    stop = _WithoutProgress(bytes_so_far)
    try:
        return Retrying(retry=retry_if_exception(_is_temporary), stop=stop, wait=stop.delay, reraise=True)(call)
    except GatedRepoError:
        raise SourceError(_gated(hub, repo, source.repo, what)) from None
    except RepositoryNotFoundError:
        raise SourceError(_not_found(hub, repo)) from None
    except RevisionNotFoundError:
        raise SourceError(f"{repo} on {hub} has no revision {quoted(source.revision)}") from None
    except HFValidationError as error:
        raise SourceError(f"{quoted(source.repo)} cannot name a repository: {_first_line(error)}") from None
    except HfHubHTTPError as error:
        status, token = error.response.status_code, hub_token()
        if status == 401 and token is not None:
            raise SourceError(f"{hub} does not accept the token of {token.place}: it may have expired") from None
        kind = SourceUnreachable if status in _TEMPORARY_STATUS else SourceError
        raise kind(f"{hub} answers {status} for {repo}: {_first_line(error)}") from error
    except OfflineModeIsEnabled as error:
        raise SourceError(f"cannot get {repo} from {hub}: {_first_line(error)}") from error
    except _UNREACHABLE as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise SourceError(
                f"the disk that {repo} is fetched to is full: make room, or set HF_HOME to another"
            ) from error
        raise SourceUnreachable(f"cannot get {repo} from {hub}: {_first_line(error)}") from error


def _gated(hub: str, repo: str, name: str, what: str) -> str:
    token = hub_token()
    if token is None:
        return f"{repo} on {hub} is gated: accept its terms there and give your token: {HOW}"
    page = f"{hub}/{'datasets/' if what == 'dataset' else ''}{shortened(name)}"
    return f"{repo} is gated, and the token of {token.place} has no access to it: accept its terms at {page}"


def _not_found(hub: str, repo: str) -> str:
    token = hub_token()
    if token is None:
        return f"there is no {repo} on {hub}; if it is private, {HOW}"
    return f"there is no {repo} on {hub}, or the token of {token.place} has no access to it"


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TEMPORARY_STATUS
    return isinstance(error, httpx2.TransportError)


class _WithoutProgress:
    """Ends the attempts when ATTEMPTS of them in turn brought nothing."""

    def __init__(self, bytes_so_far: Callable[[], int]) -> None:
        self._bytes_so_far = bytes_so_far
        self._best = bytes_so_far()
        self._failures = 0

    def __call__(self, state: RetryCallState) -> bool:
        now = self._bytes_so_far()
        self._failures = 0 if now > self._best else self._failures + 1
        self._best = max(self._best, now)
        return self._failures >= ATTEMPTS

    def delay(self, state: RetryCallState) -> float:
        """Seconds: the hub's own Retry-After, else 1, 2, 4, ...; a minute at most."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, HfHubHTTPError):
            after = retry_after_s(error.response.headers.get("Retry-After", ""), time.time())
            if after is not None:
                return min(LONGEST_DELAY_S, after)
        return min(LONGEST_DELAY_S, 2.0**self._failures)


def retry_after_s(header: str, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None if it holds neither."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, TypeError):
        return None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return shortened(text.splitlines()[0], 200) if text else type(error).__name__
