"""Where RayLens keeps what belongs to this machine."""

from __future__ import annotations

from pathlib import Path

from configs.settings import settings


def raylens_home() -> Path:
    """`$RAYLENS_HOME`, by default `~/.raylens`: catalog, logs, token. Created if it is not there."""
    home = settings().home
    home.mkdir(parents=True, exist_ok=True)
    return home


def code_root() -> Path:
    """The folder that holds RayLens' packages: a checkout, a Ray job's working directory, or site-packages."""
    return Path(__file__).resolve().parents[2]
