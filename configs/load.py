"""Reads a stage config from YAML, with nested files and `--set` overrides, and says exactly what is wrong with it.

A string that ends in `.yaml` where a stage config is expected is the path of another config, relative to the file it
stands in. It is read in place, so `--set tokens.context_length=256` reaches into it. One stage's config may stand in
several places of a pipeline; `--set tokenize:context_length=256` reaches all configs of that stage, at every depth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.base import StageConfig
from configs.stages import STAGES
from configs.validation_errors import fault_lines, nested_models, shortened
from configs.yaml_text import InvalidYaml, parse_yaml

STANDARD_INPUT = ("-", "/dev/stdin")


class ConfigError(ValueError):
    """A config that cannot be used. The message names the file, the key and what would be right."""


def load_config(stage: str, path: str | Path, overrides: Sequence[str] = ()) -> StageConfig:
    """Reads `path` as a config of `stage`; `-` is standard input, whose relative paths start here. Raises ConfigError."""
    raw = _read(Path(path), ())
    found = raw.get("stage", stage)
    if found != stage:
        raise ConfigError(
            f"{_named(path)} is a config of stage {found!r}, not of {stage!r}: run `python -m jobs {found} --config {path}`"
        )
    for override in overrides:
        _set(raw, override)
    return parse_config(stage, raw, _named(path))


def config_of(stage: str, raw: dict[str, Any], overrides: Sequence[str] = ()) -> StageConfig:
    """A config of `stage` from values that a command line gives: paths are relative to this folder. Raises ConfigError."""
    expanded = _expand(raw, Path.cwd() / "command line", ())
    for override in overrides:
        _set(expanded, override)
    return parse_config(stage, expanded, "command line")


def parse_config(stage: str, raw: dict[str, Any], where: str = "config") -> StageConfig:
    """Validates a mapping as a config of `stage`. Raises ConfigError with one line for each fault."""
    if stage not in STAGES:
        raise ConfigError(f"there is no stage {stage!r}; the stages are {', '.join(STAGES)}")
    try:
        return STAGES[stage].config.model_validate({**raw, "stage": stage})
    except ValidationError as error:
        raise ConfigError(fault_lines(error, STAGES[stage].config, where)) from None


def _read(path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    path = path.expanduser()
    is_stream = str(path) == "-" or path.is_fifo() or str(path).startswith("/dev/")
    path = path if is_stream else path.resolve()
    if path in parents:
        raise ConfigError(f"{path} refers to itself through {' -> '.join(p.name for p in parents)}")
    name = _named(path)
    try:
        raw = parse_yaml(sys.stdin.read() if str(path) in STANDARD_INPUT else path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read config file {name}: {error}") from None
    except InvalidYaml as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{name} must hold a mapping of keys to values, not {type(raw).__name__}")
    return _expand(raw, Path.cwd() / path.name if is_stream else path, (*parents, path))


def _named(path: str | Path) -> str:
    return "standard input" if str(path) in STANDARD_INPUT else str(path)


def _expand(raw: dict[str, Any], path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    out = dict(raw)
    for key in _input_keys():
        out[key] = _nested(out[key], path, parents) if key in out else None
        if key not in raw:
            del out[key]
    if isinstance(out.get("stages"), list):
        out["stages"] = _nested(out["stages"], path, parents)
    source = out.get("source")
    if isinstance(source, dict) and source.get("type") == "local" and isinstance(source.get("path"), str):
        local = Path(source["path"]).expanduser()
        out["source"] = {**source, "path": str(local if local.is_absolute() else (path.parent / local).resolve())}
    return out


@cache
def _input_keys() -> frozenset[str]:
    """The keys under which some stage's config may hold another stage's config."""
    fields = [item for entry in STAGES.values() for item in entry.config.model_fields.items()]
    return frozenset(
        key
        for key, field in fields
        if key != "stages" and any(issubclass(one, StageConfig) for one in nested_models(field.annotation))
    )


def _nested(value: Any, path: Path, parents: tuple[Path, ...]) -> Any:
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return _read(path.parent / value, parents)
    if isinstance(value, dict):
        return _expand(value, path, parents)
    return [_nested(item, path, parents) for item in value] if isinstance(value, list) else value


def _set(raw: dict[str, Any], override: str) -> None:
    key, eq, text = override.partition("=")
    if not eq or not key:
        raise ConfigError(f"--set {override!r}: expected key.path=value, for example --set saes.0.k=64")
    stage, colon, path = key.partition(":")
    if not colon:
        return _set_one(raw, key, text)
    configs = list(_of_stage(raw, stage))
    if not configs:
        raise ConfigError(
            f"--set {override}: there is no config of stage {stage!r} here; the stages are {', '.join(STAGES)}"
        )
    for config in configs:
        _set_one(config, path, text)


def _of_stage(node: Any, stage: str) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("stage") == stage:
            yield node
        for value in node.values():
            yield from _of_stage(value, stage)
    elif isinstance(node, list):
        for value in node:
            yield from _of_stage(value, stage)


def _set_one(raw: dict[str, Any], key: str, text: str) -> None:
    node: Any = raw
    parts = key.split(".")
    for depth, part in enumerate(parts[:-1]):
        node = _child(node, part, ".".join(parts[: depth + 1]))
    try:
        value = parse_yaml(text)
    except InvalidYaml as error:
        raise ConfigError(f"--set {key}: {shortened(text)!r} is not a YAML value: {error}") from None
    if isinstance(node, list):
        node[_index(node, parts[-1], key)] = value
    else:
        node[parts[-1]] = value


def _child(node: Any, part: str, where: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, where)]
    if node.get(part) is None:
        node[part] = {}
    child = node[part]
    if not isinstance(child, dict | list):
        raise ConfigError(f"--set: {where} is {shortened(repr(child))}, which has no keys")
    return child


def _index(node: list[Any], part: str, where: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"--set {where}: expected a number from 0 to {len(node) - 1}, got {part!r}")
    return int(part)
