"""Python runs this at its start where this folder is on PYTHONPATH: each config option that is read goes into a file.

$OPTIONS_READ names the folder: one file a process, one line `Class.option` for each. It works in Ray's workers too.
What a config's own validators read does not count, nor what the planner reads of every option alike.
"""

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

NOT_COUNTED = ("/jobs/life/planner.py",)


class _Finder(importlib.abc.MetaPathFinder):
    """Changes configs.base as soon as it is imported; most processes of a cluster never do."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "configs.base":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            record(module.Config, _writer())

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _writer() -> Callable[[str], None]:
    file = open(os.path.join(os.environ["OPTIONS_READ"], str(os.getpid())), "a")  # noqa: SIM115 - as long as the process

    def write(line: str) -> None:
        file.write(line + "\n")
        file.flush()  # workers are killed, not ended

    return write


def record(config: Any, write: Callable[[str], None]) -> Callable[[], None]:
    """Has each first read of an option written; gives what undoes it."""
    seen: set[tuple[type, str]] = set()
    plain = config.__getattribute__

    def recording(self: Any, name: str) -> Any:
        if name[0] != "_" and (type(self), name) not in seen and name in type(self).model_fields:
            code = sys._getframe(1).f_code
            own = "/configs/" in code.co_filename and code.co_name.startswith("_")
            if not own and not code.co_filename.endswith(NOT_COUNTED):
                seen.add((type(self), name))
                write(f"{type(self).__name__}.{name}")
        return plain(self, name)

    config.__getattribute__ = recording

    def undo() -> None:
        config.__getattribute__ = plain

    return undo


if "OPTIONS_READ" in os.environ:
    sys.meta_path.insert(0, _Finder())
