"""`import` and `export` with options in place of a config file, and an export's files copied to a folder."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.artifact_ids import parse_ref
from configs.base import StageConfig
from configs.load import ConfigError, config_of
from configs.sae_formats import EXPORT_FORMATS, IMPORT_FORMATS

if TYPE_CHECKING:
    from cluster.store import Store

_REPOSITORY = re.compile(r"^([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.+))?$")


class Shortcut(NamedTuple):
    """Options of a stage's command, the keys of its config that they give, and those that are needed without `--config`."""

    arguments: Callable[[argparse.ArgumentParser], None]
    values: Callable[[argparse.Namespace], dict[str, Any]]
    needed: tuple[str, ...]


def config_given(given: argparse.Namespace) -> StageConfig | None:
    """The config that the options of a shortcut make; None if a config file was given. Raises ConfigError."""
    shortcut = SHORTCUTS.get(given.command)
    if shortcut is None:
        return None
    values = shortcut.values(given)
    if given.config is not None:
        if values:
            raise ConfigError(f"give --config or {', '.join(_option(name) for name in values)}, not both")
        return None
    if missing := [_option(name) for name in shortcut.needed if name not in values]:
        raise ConfigError(f"{', '.join(missing)} missing: give it, or a config file with --config")
    return config_of(given.command, values, given.set)


def deliver(given: argparse.Namespace, artifacts: Sequence[str], store: Store) -> None:
    """Copies the files of an export to the folder of `--to`. Raises ConfigError if it cannot take them."""
    to = getattr(given, "to", None)
    if to is None:
        return
    folder = Path(to).expanduser()
    files = store.files(parse_ref(artifacts[0]))
    for name in files.names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files.path(name), folder / name)


def empty_folder(text: str) -> str:
    """A folder for `--to`, which does not exist or is empty: an argparse type."""
    folder = Path(text).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise argparse.ArgumentTypeError(f"{text} exists and is not an empty folder: name another one")
    return text


def _option(name: str) -> str:
    return {"source": "--from"}.get(name, f"--{name.replace('_', '-')}")


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PATH_OR_HUB",
        help="a file or folder, or ORGANISATION/NAME[@REVISION][/FOLDER] on the hub",
    )
    parser.add_argument("--format", choices=IMPORT_FORMATS, help="whose files they are")
    parser.add_argument("--part", metavar="FOLDER", help="the SAE's folder or file, if the source has several")
    parser.add_argument("--model", metavar="ID_OR_FILE.yaml", help="the language model that it reads")
    parser.add_argument("--tokens", metavar="ID_OR_FILE.yaml", help="tokens that calibrate it, and to evaluate it on")
    parser.add_argument("--hook", help="its hook, if its files do not name it")


def _import_values(given: argparse.Namespace) -> dict[str, Any]:
    values = _given(given, "format", "part", "model", "tokens", "hook")
    if given.source is None:
        return values
    path = Path(given.source).expanduser()
    match = _REPOSITORY.match(given.source)
    if path.exists() or match is None:
        return {"source": {"type": "local", "path": str(path.absolute())}, **values}
    repository, revision, part = match.groups()
    if part and "part" in values:
        raise ConfigError(f"--from {given.source} names the folder {part} already: leave --part out")
    source = {"type": "hub", "repo": repository, **({"revision": revision} if revision else {})}
    return {"source": source, **({"part": part} if part else {}), **values}


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sae", metavar="ID_OR_FILE.yaml", help="the SAE")
    parser.add_argument("--format", choices=EXPORT_FORMATS, help="whose format")
    parser.add_argument("--features", metavar="ID_OR_FILE.yaml", help="neuronpedia: the features of the SAE")
    parser.add_argument("--labels", metavar="ID_OR_FILE.yaml", help="neuronpedia: labels of these features")
    parser.add_argument("--rows", type=int, help="delphi: rows of tokens (default: 512)")
    parser.add_argument(
        "--to", type=empty_folder, metavar="FOLDER", help="where the files are copied to; a new or empty folder"
    )


def _export_values(given: argparse.Namespace) -> dict[str, Any]:
    return _given(given, "sae", "format", "features", "labels", "rows")


def _given(given: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


SHORTCUTS = {
    "import": Shortcut(_import_arguments, _import_values, ("source", "format", "model", "tokens")),
    "export": Shortcut(_export_arguments, _export_values, ("sae", "format")),
}
