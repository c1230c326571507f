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
from sae.quoting import listed, quoted, shortened
from sae.sources.dataset_card import CardConfig, card_configs, choose_config, config_files
from sae.sources.file_selection import Selection, SourceError, SourceUnreachable, folders_with_splits, select_files
from sae.sources.quantised import check_not_quantised
from sae.sources.resolved_source import ResolvedSource

ATTEMPTS = 5
_PARALLEL_FILES = 4  # files
_TEMPORARY_STATUS = (408, 429, 500, 502, 503, 504)
_UNREACHABLE = (httpx2.TransportError, LocalEntryNotFoundError, OSError)


def resolve_hub(source: HubSource, what: str) -> ResolvedSource:
    """The commit that `revision` stands for, and its files. Raises SourceError."""
    info = _repo_info(source, what)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    where = f"{what} {source.repo} at {info.sha[:12]}"
    splits: dict[str, str] | None = None
    if what == "dataset" and not source.files:
        selection, splits = _dataset_files(source, info.sha, list(sizes), where)
    else:
        selection = select_files(list(sizes), source.files, what, where)
    if what == "model" and "config.json" in selection.names:
        check_not_quantised(Path(_fetch_one(source, what, info.sha, "config.json")), where)
    identity = {"repo": source.repo, "commit": info.sha, "patterns": list(source.files), "config": source.config}
    return ResolvedSource(
        f"{source.repo}@{info.sha[:7]}",
        identity,
        selection.names,
        sum(sizes[name] for name in selection.names),
        partial(_fetch, source, what, info.sha),
        splits,
        selection.notes,
    )


def _dataset_files(
    source: HubSource, commit: str, names: list[str], where: str
) -> tuple[Selection, dict[str, str] | None]:
    """The files of one config, with their splits if the card gives them. Raises SourceError."""
    configs = _card(source, commit) if "README.md" in names else []
    if configs:
        config = choose_config(configs, source.config, where)
        files, splits = config_files(config, names, where)
        # A card may take a whole folder by `**`: of that, data files only.
        named = any(split for _, split in config.patterns)
        return select_files(files, (), "dataset", f"config {config.name} of {where}"), splits if named else None
    folders = folders_with_splits(select_files(names, (), "dataset", where).names)
    if source.config is not None:
        if source.config not in {name.partition("/")[0] for name in names if "/" in name}:
            raise SourceError(f"{where} has no config {quoted(source.config)}{_choices(folders)}")
        names = [name for name in names if name.startswith(f"{source.config}/")]
    elif folders:
        raise SourceError(f"{where} holds several datasets, each with splits of its own{_choices(folders)}")
    return select_files(names, (), "dataset", where), None


def _choices(folders: Sequence[str]) -> str:
    return f": set source.config to one of {listed(folders, 12)}" if folders else "; it has no configs: remove it"


def _card(source: HubSource, commit: str) -> list[CardConfig]:
    path = _fetch_one(source, "dataset", commit, "README.md")
    return card_configs(Path(path).read_text(encoding="utf-8", errors="replace"))


def _repo_info(source: HubSource, what: str) -> Any:
    return _request(
        source,
        what,
        partial(_api().repo_info, source.repo, revision=source.revision, repo_type=what, files_metadata=True),
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
    """Calls the hub, and again after a while where that can help. Raises SourceError with one clear message."""
    hub, repo = _endpoint(), f"{what} {quoted(source.repo)}"
    try:
        return Retrying(
            retry=retry_if_exception(_is_temporary), stop=stop_after_attempt(ATTEMPTS), wait=_delay, reraise=True
        )(call)
    except GatedRepoError:
        raise SourceError(f"{repo} on {hub} is gated: accept its terms there and set HF_TOKEN to your token") from None
    except RepositoryNotFoundError:
        raise SourceError(f"there is no {repo} on {hub}; if it is private, set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise SourceError(f"{repo} on {hub} has no revision {quoted(source.revision)}") from None
    except HFValidationError as error:
        raise SourceError(f"{quoted(source.repo)} cannot name a repository: {_first_line(error)}") from None
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
    """The hub's own Retry-After, else 1, 2, 4, ... seconds; a minute at most."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, HfHubHTTPError):
        retry_after = error.response.headers.get("Retry-After", "")
        if retry_after.isdigit():
            return min(60.0, float(retry_after))
    return float(min(60, 2 ** (state.attempt_number - 1)))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return shortened(text.splitlines()[0], 200) if text else type(error).__name__
