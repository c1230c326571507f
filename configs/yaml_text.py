"""YAML text to plain values, with what YAML would let pass refused."""

from __future__ import annotations

import re
from typing import Any

import yaml

from configs.validation_errors import shortened


class InvalidYaml(Exception):
    """The text is no YAML, or one that would silently lose something. The message names line and column."""


def parse_yaml(text: str) -> Any:
    """The value that the text stands for. Raises InvalidYaml, for a key that is given twice too."""
    try:
        return yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise InvalidYaml(_problem(error)) from None
    except RecursionError:
        raise InvalidYaml("it is nested too deep") from None


_BOOL = "tag:yaml.org,2002:bool"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is given twice in one mapping, of which YAML would keep the last.

    Of words, true and false alone are no text, as in YAML 1.2: `packing: off` and `classes: [yes, no]` name what they say. An
    option that is true or false takes on, off, yes and no all the same.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in lines:
                    problem = f"key {shortened(key.value)!r} is given twice, in lines {lines[key.value]} and {line}"
                    raise yaml.constructor.ConstructorError(problem=problem)
                lines[key.value] = line
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _problem(error: yaml.YAMLError) -> str:
    """What YAML found, and where."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return shortened(str(error), 200)
    mark = error.problem_mark
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return shortened(f"{error.problem or error.context}{where}", 200)
