"""The configs of a hub dataset, as the YAML at the head of its card (README.md) lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from sae.quoting import listed, quoted
from sae.sources.file_selection import SourceError, matches
from sae.text.splits import complete_splits, split_in_name


class CardConfig(NamedTuple):
    """One config: its name, and the patterns of its files with the name of their split ("" where none is given)."""

    name: str
    patterns: list[tuple[str, str]]
    default: bool


def card_configs(readme: str) -> list[CardConfig]:
    """The configs of a card; none if it lists none, or is not written as the hub asks."""
    head, _, rest = readme.lstrip("\ufeff").partition("---\n")
    if head.strip():
        return []
    try:
        content = yaml.safe_load(rest.partition("\n---")[0])
    except (yaml.YAMLError, RecursionError):
        return []
    configs = content.get("configs") if isinstance(content, dict) else None
    return [_config(one) for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []


def _config(entry: dict[str, Any]) -> CardConfig:
    name = str(entry.get("config_name", "default"))
    folder = str(entry.get("data_dir") or "").strip("/")
    prefix = f"{folder}/" if folder else ""
    files = entry.get("data_files")
    listed_files = files if isinstance(files, list) else [files] if files else [f"{prefix}**"]
    patterns: list[tuple[str, str]] = []
    for one in listed_files:
        split, paths = (str(one.get("split", "")), one.get("path")) if isinstance(one, dict) else ("", one)
        every = paths if isinstance(paths, list) else [paths]
        patterns += [(prefix + str(path) if files else str(path), split) for path in every if path]
    return CardConfig(name, patterns, entry.get("default") is True or name == "default")


def choose_config(configs: Sequence[CardConfig], wanted: str | None, where: str) -> CardConfig:
    """The wanted config, else the default, else the only one. Raises SourceError that lists them."""
    names = [config.name for config in configs]
    if wanted is not None:
        for config in configs:
            if config.name == wanted:
                return config
        raise SourceError(f"{where} has no config {quoted(wanted)}; its card lists {listed(names)}")
    defaults = [config for config in configs if config.default]
    if defaults or len(configs) == 1:
        return (defaults or list(configs))[0]
    raise SourceError(f"{where} has {len(configs)} configs: set source.config to one of {listed(names, 12)}")


def config_files(config: CardConfig, names: Sequence[str], where: str) -> tuple[list[str], dict[str, str]]:
    """The files of a config, sorted, and their splits (none if the card gives train alone). Raises SourceError."""
    splits: dict[str, str | None] = {}
    for pattern, split in config.patterns:
        found = [name for name in names if _matches(name, pattern)]
        if not found:
            raise SourceError(
                f"{where}: no file matches {quoted(pattern)} of config {quoted(config.name)} of its card; name files in "
                "source.files"
            )
        splits.update(dict.fromkeys(found, split_in_name(split)))
    return sorted(splits), complete_splits(splits) or {}


def _matches(name: str, pattern: str) -> bool:
    """A pattern of a card; unlike one of a config, it means files at the top if it has no `/`."""
    pattern = pattern.removeprefix("./")
    return ("/" in pattern or "/" not in name) and matches(name, pattern)
