"""A repository of the Hugging Face hub, or of whatever HF_ENDPOINT points to. The token comes from HF_TOKEN alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from configs.download import HubSource
from sae.sources.file_selection import SourceError, SourceUnreachable, select_files
from sae.sources.resolved_source import ResolvedSource

ATTEMPTS = 5
_PARALLEL_FILES = 4  # files
_TEMPORARY_STATUS = (408, 429, 500, 502, 503, 504)
_UNREACHABLE = (httpx2.TransportError, LocalEntryNotFoundError, OSError)


def resolve_hub(source: HubSource, what: str) -> ResolvedSource:
    """The commit that `revision` stands for, and its files. Raises SourceError."""
    where = f"{what} {source.repo}"
    info = _request(
        source,
        what,
        partial(_api().repo_info, source.repo, revision=source.revision, repo_type=what, files_metadata=True),
    )
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    names = select_files(list(sizes), source.files, what, f"{where} at {info.sha[:12]}")
    identity = {"repo": source.repo, "commit": info.sha, "patterns": list(source.files)}
    return ResolvedSource(
        f"{source.repo}@{info.sha[:7]}",
        identity,
        names,
        sum(sizes[name] for name in names),
        partial(_fetch, source, what, info.sha, names),
    )


def _fetch(source: HubSource, what: str, commit: str, names: Sequence[str], progress: Callable[[int], None]) -> Path:
    """Fetches files into the Hugging Face cache of this node. A download that was cut goes on where it ended."""
    disable_progress_bars()  # the job has its own
    with ThreadPoolExecutor(_PARALLEL_FILES) as threads:
        waiting = {threads.submit(_fetch_one, source, what, commit, name): name for name in names}
        folder = Path()
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                name = waiting[future]
                folder = Path(str(future.result()).removesuffix(name))
                progress(done)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return folder


def _fetch_one(source: HubSource, what: str, commit: str, name: str) -> str:
    fetch = partial(
        hf_hub_download,
        source.repo,
        name,
        repo_type=what,
        revision=commit,
        endpoint=_endpoint(),
        token=_token(),
    )
    return str(_request(source, what, fetch))


def _api() -> HfApi:
    return HfApi(endpoint=_endpoint(), token=_token())


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _token() -> str | bool:
    return os.environ.get("HF_TOKEN") or False  # False: none, not even one that a login left on the disk


def _request(source: HubSource, what: str, call: Callable[[], Any]) -> Any:
    """Calls the hub; waits and asks again where that can help. Raises SourceError with one clear message."""
    hub, repo = _endpoint(), f"{what} {source.repo!r}"
    try:
        return Retrying(
            retry=retry_if_exception(_is_temporary), stop=stop_after_attempt(ATTEMPTS), wait=_delay, reraise=True
        )(call)
    except GatedRepoError:
        raise SourceError(f"{repo} on {hub} is gated: accept its terms there and set HF_TOKEN to your token") from None
    except RepositoryNotFoundError:
        raise SourceError(f"there is no {repo} on {hub}; if it is private, set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise SourceError(f"{repo} on {hub} has no revision {source.revision!r}") from None
    except HFValidationError as error:
        raise SourceError(f"{source.repo!r} cannot name a repository: {error}") from None
    except HfHubHTTPError as error:
        kind = SourceUnreachable if error.response.status_code in _TEMPORARY_STATUS else SourceError
        raise kind(f"{hub} answers {error.response.status_code} for {repo}: {_first_line(error)}") from error
    except OfflineModeIsEnabled as error:
        raise SourceError(f"cannot get {repo} from {hub}: {_first_line(error)}") from error
    except _UNREACHABLE as error:
        raise SourceUnreachable(f"cannot get {repo} from {hub}: {_first_line(error)}") from error


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TEMPORARY_STATUS
    return isinstance(error, httpx2.TransportError)


def _delay(state: RetryCallState) -> float:
    """What the hub asks for (Retry-After), else 1, 2, 4, ... seconds; a minute at most."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
        if asked.isdigit():
            return min(60.0, float(asked))
    return float(min(60, 2 ** (state.attempt_number - 1)))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
