"""Local sources: a client names a path below an allowed folder, never a path of the server's machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serve_app.errors import ApiError


def with_absolute_paths(raw: Any, roots: Sequence[Path]) -> Any:
    """A config as the stages take it: the `path` of each local source, at any depth, made absolute. Raises ApiError."""
    return _walk(raw, lambda path: str(resolve(path, roots)))


def shown_paths(config: Any, roots: Sequence[Path]) -> Any:
    """A recorded config as clients may see it: each local path as it stands below its root, else its last part."""
    return _walk(config, lambda path: _shown(path, roots))


def resolve(path: str, roots: Sequence[Path]) -> Path:
    """The file or folder that `path` names below one of the roots. Raises ApiError (422).

    Neither it nor anything in it may lead out of that root, by `..`, by a symbolic link or otherwise.
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
    raise ApiError(422, "source_not_found", f"none of the server's data folders holds {path!r}")


def _outside(folder: Path, root: Path) -> Iterator[bool]:
    """True for each link below a folder that leads out of the root."""
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink():
                yield not path.resolve().is_relative_to(root)


def _walk(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        changed = {key: _walk(inner, change) for key, inner in value.items()}
        if changed.get("type") == "local" and isinstance(changed.get("path"), str):
            changed["path"] = change(changed["path"])
        return changed
    if isinstance(value, list | tuple):
        return [_walk(inner, change) for inner in value]
    return value


def _shown(path: str, roots: Sequence[Path]) -> str:
    for root in roots:
        for form in (root, root.resolve()):
            if Path(path).is_relative_to(form):
                return Path(path).relative_to(form).as_posix()
    return Path(path).name
