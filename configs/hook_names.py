"""Names of hook points, as configs and artifacts store them."""

from __future__ import annotations

import re

_RESID_PRE = re.compile(r"^blocks\.(\d+)\.hook_resid_pre$")


def stored_hook(name: str) -> str:
    """The name under which a hook is stored: the input of block L > 0 is the output of block L - 1."""
    match = _RESID_PRE.match(name)
    return f"blocks.{int(match[1]) - 1}.hook_resid_post" if match and int(match[1]) else name
