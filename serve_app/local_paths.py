"""Local sources: a client names a path below a data folder, never a path of the server's machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from configs.base import Config
from configs.download import LocalSource
from serve_app.errors import ApiError


def with_absolute_paths(value: Any, roots: Sequence[Path]) -> Any:
    """A config whose local sources, at any depth, have absolute paths. Raises ApiError."""
    if isinstance(value, LocalSource):
        return LocalSource(path=str(resolve(value.path, roots)), files=value.files)
    if isinstance(value, tuple):
        return tuple(with_absolute_paths(item, roots) for item in value)
    if not isinstance(value, Config):
        return value
    before = {name: getattr(value, name) for name in type(value).model_fields}
    after = {name: with_absolute_paths(item, roots) for name, item in before.items()}
    return value.model_copy(update={name: item for name, item in after.items() if item is not before[name]})


def shown_paths(config: Any, roots: Sequence[Path]) -> Any:
    """A recorded config (JSON) for clients: each local path relative to its data folder, or its last part alone."""
    if isinstance(config, dict):
        shown = {key: shown_paths(value, roots) for key, value in config.items()}
        if shown.get("type") == "local" and isinstance(shown.get("path"), str):
            shown["path"] = _shown(shown["path"], roots)
        return shown
    return [shown_paths(item, roots) for item in config] if isinstance(config, list | tuple) else config


def resolve(path: str, roots: Sequence[Path]) -> Path:
    """The file or folder that `path` names below one of the roots. Raises ApiError (422).

    It and everything in it must lie in that root: no `..`, and no symbolic link that leads out of it.
    """
    wrong = (
        not path
        or any(ord(c) < 32 for c in path)
        or "\\" in path
        or path.startswith(("/", "~"))
        or ".." in path.split("/")
    )
    if wrong:
        raise ApiError(
            422,
            "path_not_allowed",
            "`path` must be relative, below one of the server's data folders (RAYLENS_DATA_ROOTS), without `..`",
        )
    for root in roots:
        try:
            real_root = root.resolve(strict=True)
            found = (real_root / path).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        if not found.is_relative_to(real_root) or any(_outside(found, real_root)):
            raise ApiError(422, "path_not_allowed", f"{path!r} leads out of the server's data folder")
        return found
    raise ApiError(422, "source_not_found", f"there is no {path!r} in the server's data folders (RAYLENS_DATA_ROOTS)")


def _outside(folder: Path, root: Path) -> Iterator[bool]:
    """True for each link below a folder that leads out of the root."""
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink():
                yield not path.resolve().is_relative_to(root)


def _shown(path: str, roots: Sequence[Path]) -> str:
    for root in roots:
        for form in (root, root.resolve()):
            if Path(path).is_relative_to(form):
                return Path(path).relative_to(form).as_posix()
    return Path(path).name
