"""Templates that join columns to one text: `{title}\\n\\n{meta.body}`."""

from __future__ import annotations

from string import Formatter


def template_parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """A template as (text, the column named behind it), the column None where there is none behind.

    A column is written in braces, by name or path; a brace itself is doubled. Raises ValueError for another template.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{error}: a column is written as {{name}}, and a brace itself is doubled") from None
    for _, name, format_spec, conversion in parsed:
        if name is not None and (not name.strip() or format_spec or conversion):
            raise ValueError("a column is written as {name} or {a.b[0].c}, with nothing else between the braces")
    parts = tuple((text, name) for text, name, _, _ in parsed)
    if not any(name for _, name in parts):
        raise ValueError("the template names no column; write columns in braces, for example {title}")
    return parts
