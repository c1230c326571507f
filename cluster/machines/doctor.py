"""Which cluster you have, what it offers, and what would stop a job before it starts."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.machines.discover import Place, PlaceError, discover
from cluster.machines.home import raylens_home
from cluster.machines.own import connected

LOW_BYTES = 5 << 30
_PACKAGES = ("ray", "torch", "transformers", "pyarrow", "pydantic", "sqlalchemy")


def checks(check_store: Callable[[], tuple[str, int | None]]) -> Iterator[tuple[bool, str]]:
    """One (fine, finding) for each check. The store's is passed in: the machines know nothing of it.

    It gives the store's URL and free bytes, and raises if the store cannot be written.
    """
    yield _place()
    yield _python()
    yield from (_package(name) for name in _PACKAGES)
    yield _writable("RAYLENS_HOME", raylens_home())
    free = shutil.disk_usage(raylens_home()).free
    yield free >= LOW_BYTES, f"RAYLENS_HOME has {free / 2**30:.1f} GiB free (5 GiB or more is comfortable)"
    try:
        url, store = check_store()
    except (OSError, RuntimeError, ValueError) as error:
        yield False, f"store: {error}"
    else:
        room = "free space unknown" if store is None else f"{store / 2**30:.1f} GiB free"
        yield store is None or store >= LOW_BYTES, f"store {url}: writable, {room}"
    shm = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    yield shm >= 256 << 20, f"/dev/shm has {shm / 2**20:.0f} MiB free (Ray's object store lives there; 256 or more)"


def describe(place: Place) -> str:
    """One sentence on the cluster that a command would use."""
    if place.own:
        return f"each command starts a cluster of its own ({place.why}); nothing recovers a job unless it is asked for"
    return f"commands use the cluster at {place.address} ({place.why})"


def nodes(place: Place) -> str:
    """What the running cluster offers, or what one of its own would. Raises PlaceError if it does not answer."""
    from cluster.machines.offer import local_cpus, local_gpus, offer

    if place.own:
        return f"a cluster of its own would have {local_cpus()} CPU and {local_gpus()} GPU"
    with connected(place, bring_code=False):
        return str(offer())


def _place() -> tuple[bool, str]:
    try:
        place = discover()
        return True, f"{describe(place)}; {nodes(place)}"
    except PlaceError as error:
        return False, str(error)


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"Python {platform.python_version()} (3.11 or newer)"


def _package(name: str) -> tuple[bool, str]:
    try:
        return True, f"{name} {version(name)}"
    except PackageNotFoundError:
        return False, f"{name} is not installed: run `make`"


def _writable(what: str, folder: Path) -> tuple[bool, str]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return True, f"{what} is {folder}, writable"
    except OSError as error:
        return False, f"{what} is {folder}: {error.strerror or error} (user {os.getuid()})"
