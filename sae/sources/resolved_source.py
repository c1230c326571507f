"""What is known of a source once its files have been found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class ResolvedSource(NamedTuple):
    """The files of a source.

    `identity` (plain JSON) changes whenever the content may; `names` are sorted, with `/` between folders; `size` is in
    bytes, 0 where unknown. `fetch(names, progress)` makes these files local, calls `progress(bytes done)` on the way and
    gives the folder that holds them under their names; raises SourceError. `splits`: the split of each file, where something
    better than its name says it. `notes` are for people.
    """

    label: str
    identity: dict[str, Any]
    names: list[str]
    size: int
    fetch: Callable[[Sequence[str], Callable[[int], None]], Path]
    splits: dict[str, str] | None = None
    notes: tuple[str, ...] = ()
