"""Errors of workers travel as text: a class with its own __init__, of a library perhaps, need not survive unpickling."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_PACKAGES = ("sae", "cluster", "configs", "actors", "jobs")


class WorkerError(Exception):
    """What a worker's code raised: the module and name of its class, its message, its traceback, and errno if it has one.

    `for_people`: a ValueError or RuntimeError of RayLens, whose message says what is wrong with what was requested.
    """

    def __init__(self, module: str, name: str, message: str, trace: str, for_people: bool, errno: int = 0) -> None:
        super().__init__(module, name, message, trace, for_people, errno)  # unpickling calls this class with these
        self.module, self.name, self.message, self.trace = module, name, message, trace
        self.for_people, self.errno = for_people, errno

    def __str__(self) -> str:
        return self.message

    @classmethod
    def of(cls, error: BaseException) -> WorkerError:
        """The error as text; a WorkerError, or what `original` made of one, as it was."""
        if isinstance(error, cls):
            return getattr(error, "cause", error)  # out of Ray's wrapping, which is of both classes
        if isinstance(error.__cause__, cls):
            return error.__cause__
        message = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
        number = error.errno if isinstance(error, OSError) else None
        name, trace = type(error).__name__, "".join(traceback.format_exception(error))
        return cls(type(error).__module__, name, message or name, trace, _is_for_people(error), number or 0)

    def original(self) -> BaseException:
        """The error in its own class, if that is one of RayLens or of Python that takes a message; else this one."""
        if self.errno:
            error: Any = OSError(self.errno, self.message)
        elif self.module.split(".")[0] in (*_PACKAGES, "builtins"):
            try:
                error = getattr(import_module(self.module), self.name)(self.message)
            except Exception:  # noqa: BLE001 - a class of another signature: the text says all that is needed
                return self
        else:
            return self
        error.__cause__ = self
        return error if isinstance(error, BaseException) else self


def _is_for_people(error: BaseException) -> bool:
    if not isinstance(error, ValueError | RuntimeError):
        return False
    if type(error) not in (ValueError, RuntimeError):
        return type(error).__module__.split(".")[0] in _PACKAGES
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__", "")).split(".")[0] in _PACKAGES


def errors_as_text(work: Callable[P, R]) -> Callable[P, R]:
    """The function, with each Exception that it raises as a WorkerError. Errors of Ray stay as they are."""

    @functools.wraps(work)
    def working(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - all travel alike
            raise _to_send(error) from None

    return working


def stream_errors_as_text(work: Callable[P, Generator[R, None, None]]) -> Callable[P, Generator[R, None, None]]:
    """The same for a generator."""

    @functools.wraps(work)
    def working(*args: P.args, **kwargs: P.kwargs) -> Generator[R, None, None]:
        try:
            yield from work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - all travel alike
            raise _to_send(error) from None

    return working


def call_method(worker: Any, method: str, *args: Any) -> Any:
    """Runs a method inside an actor (through Ray's `__ray_call__`), with its errors as text."""
    return errors_as_text(getattr(worker, method))(*args)


def result_of(reference: Any) -> Any:
    """ray.get, which raises what the worker raised in its own class where that can be (WorkerError.original)."""
    import ray

    try:
        return ray.get(reference)
    except WorkerError as error:
        raise WorkerError.of(error).original()  # noqa: B904 - its cause is the text that was sent


def _to_send(error: Exception) -> Exception:
    return error if type(error).__module__.startswith("ray.") else WorkerError.of(error)
