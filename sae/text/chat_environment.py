"""Where chat templates run: Jinja in a sandbox as transformers sets it up, with texts that remember who said them.

Jinja joins what a template writes by a few functions of its own; here they are the ones that keep roles. A filter or
method through which roles would be lost is refused when somebody's words go through it, and only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from threading import Lock
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from sae.text.chat_traced_json import TracedJson
from sae.text.chat_traced_text import UntraceableError, joined
from sae.text.chat_traced_values import as_text, has_bare_values, is_traced

# They give back what they are given, or numbers that no template writes in place of a text.
_KEEP_ROLES = frozenset({
    "attr", "batch", "capitalize", "count", "d", "default", "dictsort", "first", "groupby", "items", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort",
    "trim", "unique", "upper",
})  # fmt: skip


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """An environment of templates. What follows is set before rendering, under `lock`.

    `bare_values`: whether messages hold true, false or null. `now`: the time that a template may write; None if it may
    write none. `wrote_time` says afterwards whether it did.
    """

    intercepted_binops = frozenset({"%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], finalize=self.written
        )
        self.lock = Lock()
        self.bare_values = False
        self.now: datetime | None = None
        self.wrote_time = False
        own: dict[str, Callable[..., Any]] = {
            "tojson": self._tojson, "join": self._join, "replace": self._replace, "string": self.written,
            "safe": self.written,
        }  # fmt: skip
        self.filters = {
            name: own.get(name) or (function if name in _KEEP_ROLES else _refusing(name, function))
            for name, function in self.filters.items()
        }
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = self._strftime_now

    def concat(self, texts: Iterable[str]) -> str:
        """Joins what a template writes."""
        parts = list(texts)
        if any(isinstance(text, Markup) for text in parts):
            raise UntraceableError("it escapes texts for HTML")
        return joined(parts)

    def written(self, value: Any) -> Any:
        """A value as a template writes it. Raises UntraceableError if nobody can say whose it is."""
        self._check_bare(value)
        return as_text(value) if is_traced(value) else value

    def _check_bare(self, value: Any) -> None:
        if self.bare_values and has_bare_values(value):
            raise UntraceableError("it writes true, false or null, which may be its own or stand in a message")

    def concatenated(self, values: Iterable[Any]) -> str:
        """What `a ~ b` gives."""
        return joined(str(self.written(value)) for value in values)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`%` of a text and values; the other operators need no help."""
        if is_traced(right) and isinstance(left, str):
            raise UntraceableError("it puts a message into a text by `%`")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls a function or method. A method of a plain text that is given somebody's words keeps their roles."""
        name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
        if any(is_traced(value) for value in (*args, *kwargs.values())):
            if name in ("format", "format_map"):
                raise UntraceableError(f"it puts a message into a text by `{name}`")
            if type(owner) is str and name in ("join", "replace"):
                called = getattr(joined((owner,)), name)
        return super().call(context, called, *args, **kwargs)

    def _strftime_now(self, form: str) -> str:
        if self.now is None:
            raise UntraceableError(
                "it writes today's date, so that equal requests would give other texts another day: give the date to "
                "write (on_date)"
            )
        self.wrote_time = True
        return self.now.strftime(form)

    def _tojson(
        self, x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        self._check_bare(x)
        return TracedJson(ensure_ascii, indent, separators, sort_keys).write(x)

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        if attribute is not None:
            value = map(make_attrgetter(self, attribute), value)
        return joined((str(d),)).join(str(self.written(one)) for one in value)

    def _replace(self, s: Any, old: str, new: str, count: int | None = None) -> str:
        return joined((str(self.written(s)),)).replace(str(old), new, -1 if count is None else count)


class _Code(CodeGenerator):
    """Code in which `a ~ b` goes through the environment, as all other joins do."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


ChatEnvironment.code_generator_class = _Code


class _Generation(Extension):
    """`{% generation %}`, by which a template says what the assistant wrote: for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as its base class declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """What is between the tags, called as transformers calls it, so that names inside stay inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


def _refusing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)  # keeps Jinja's mark of a filter that takes the environment or context
    def checked(*args: Any, **kwargs: Any) -> Any:
        if any(is_traced(value) for value in (*args, *kwargs.values())):
            raise UntraceableError(f"it uses the filter `{name}` on a message")
        return function(*args, **kwargs)

    return checked


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(str.__str__(message))
