"""Names of hook points, as configs and artifacts store them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAMED_TOGETHER = 3
_NAMED = re.compile(r"^blocks\.\d+\.")
_MODEL_WIDTHS = ("hidden_size", "n_embd", "d_model")
_INNER_WIDTHS = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "moe_intermediate_size")
_RESID_PRE = re.compile(r"^blocks\.(\d+)\.hook_resid_pre$")
# Module paths of whole decoder blocks in transformers' language models; a block's output is its hook_resid_post.
_BLOCK = re.compile(
    r"^(?:model|model\.decoder|model\.language_model|transformer|gpt_neox|backbone)\.(?:layers|h|blocks)\.(\d+)$"
)


def stored_hook(name: str) -> str:
    """The one name under which a hook is stored, where it has several.

    The input of block L > 0 is the output of block L - 1, and so is the module path of that block.
    """
    if match := _RESID_PRE.match(name):
        return f"blocks.{int(match[1]) - 1}.hook_resid_post" if int(match[1]) else name
    match = _BLOCK.match(name)
    return f"blocks.{int(match[1])}.hook_resid_post" if match else name


def joint_name(hooks: Sequence[str]) -> str:
    """What several hooks together are called, in labels and messages. It is the name of no hook of a model."""
    first, *others = hooks
    return " + ".join(hooks) if len(hooks) <= _NAMED_TOGETHER else f"{first} + {len(others)} more"


def hook_width(summary: Mapping[str, Any], config: Mapping[str, Any], hook: str) -> int:
    """Numbers in the value of a hook, from a model's manifest summary and its config.json.

    Exact for names `blocks.L....`, which have the model's width; for the output of any module at most about so many.
    """
    text = config.get("text_config", {})
    named = (node[key] for node in (text, config) for key in _MODEL_WIDTHS if node.get(key))
    width = int(summary.get("d_model") or next(named, 0))
    return width if _NAMED.match(hook) else max(4 * width, *_inner_widths(config), 0)


def _inner_widths(node: Any) -> Iterator[int]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _inner_widths(value)
        elif key in _INNER_WIDTHS and isinstance(value, int):
            yield value
