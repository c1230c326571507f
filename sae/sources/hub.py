"""A repository of the Hugging Face hub: the commit that a revision stands for, and the files that are taken of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from huggingface_hub import HfApi

from configs.download import HubSource
from sae.quoting import listed, quoted
from sae.sources.dataset_card import CardConfig, card_configs, choose_config, config_files
from sae.sources.file_selection import Selection, SourceError, folders_with_splits, select_files
from sae.sources.hub_files import HubFile, HubRevision
from sae.sources.hub_requests import call_hub, hub_credentials, hub_endpoint
from sae.sources.quantised import check_not_quantised
from sae.sources.resolved_source import ResolvedSource


def resolve_hub(source: HubSource, what: str) -> ResolvedSource:
    """The commit that `revision` stands for, and its files. Raises SourceError."""
    info = _repo_info(source, what)
    files = {file.rfilename: HubFile(file.size or 0, _hash(file)) for file in info.siblings or ()}
    revision = HubRevision(source, what, info.sha, files)
    where = f"{what} {source.repo} at {info.sha[:12]}"
    splits: dict[str, str] | None = None
    if what == "dataset" and not source.files:
        selection, splits = _dataset_files(revision, where)
    else:
        selection = select_files(list(files), source.files, what, where)
    if what == "model" and "config.json" in selection.names:
        check_not_quantised(revision.fetch_one("config.json"), where)
    identity = {"repo": source.repo, "commit": info.sha, "patterns": list(source.files), "config": source.config}
    return ResolvedSource(
        f"{source.repo}@{info.sha[:7]}",
        identity,
        selection.names,
        sum(files[name].size for name in selection.names),
        revision.fetch,
        splits,
        selection.notes,
    )


def _hash(file: Any) -> str | None:
    return str(file.lfs.sha256) if file.lfs is not None else file.blob_id


def _repo_info(source: HubSource, what: str) -> Any:
    api = HfApi(endpoint=hub_endpoint(), token=hub_credentials())
    return call_hub(
        source,
        what,
        partial(api.repo_info, source.repo, revision=source.revision, repo_type=what, files_metadata=True),
    )


def _dataset_files(revision: HubRevision, where: str) -> tuple[Selection, dict[str, str] | None]:
    """The files of one config, with their splits if the card gives them. Raises SourceError."""
    source, names = revision.source, list(revision.files)
    configs = _card(revision) if "README.md" in names else []
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


def _card(revision: HubRevision) -> list[CardConfig]:
    return card_configs(revision.fetch_one("README.md").read_text(encoding="utf-8", errors="replace"))
