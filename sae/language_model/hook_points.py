"""The names of a model's hook points: which exist, and which point a name or a module path stands for."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sae.language_model.block_layout import Layout
from sae.language_model.errors import HookNotFound
from sae.language_model.hook_capture import SUFFIXES, HookPoint, Kind, parse, tl_name


class Points:
    """`model` is the whole language model, `base` the part of it without the output matrix, `blocks` the path of the
    block list inside `base`, of `n_layers` blocks with `layout`.
    """

    def __init__(
        self, model: nn.Module, base: nn.Module, blocks: str, n_layers: int, d_model: int, layout: Layout
    ) -> None:
        self._model = model
        self._n_layers, self._d, self._layout = n_layers, d_model, layout
        self._prefix = next(name for name, module in model.named_modules() if module is base)
        self._blocks = f"{self._prefix}.{blocks}" if self._prefix else blocks
        inside: dict[Kind, str | None] = {
            "attn_out": layout.attn_out,
            "resid_mid": layout.resid_mid,
            "ln2_normalized": layout.ln2,
            "mlp_out": layout.mlp_out,
        }
        # Where each kind lies inside a block, in the order of computation; "" is the block itself.
        self._inside: dict[Kind, str] = {"resid_pre": ""}
        self._inside |= {kind: path for kind, path in inside.items() if path is not None}
        self._inside["resid_post"] = ""

    def names(self) -> list[str]:
        """Stored names of all points in the blocks."""
        # resid_pre of a later block is stored as the block before's resid_post.
        return [tl_name(n, k) for n in range(self._n_layers) for k in self._inside if k != "resid_pre" or n == 0]

    def find(self, name: str, shapes_of: Callable[[str], list[tuple[int, ...]]]) -> HookPoint:
        """The point called `name`; `shapes_of(path)` are the shapes [2, 4, ...] that a module gives in one pass.

        Raises HookNotFound.
        """
        parsed = parse(name)
        if parsed is None:
            return self._module(name, shapes_of)
        layer, kind = parsed
        if layer >= self._n_layers:
            raise HookNotFound(f"no hook {name!r}: the model has blocks 0 to {self._n_layers - 1}")
        if kind == "resid_pre" and layer > 0:
            layer, kind = layer - 1, "resid_post"
        if kind not in self._inside:
            why = self._layout.why.get("ln2" if kind == "ln2_normalized" else kind, "this model has no such point")
            raise HookNotFound(f"no hook {name!r}: {why}. {self._what_exists()}")
        return HookPoint(tl_name(layer, kind), self._path(layer, kind), kind, layer, self._d)

    def _path(self, layer: int, kind: Kind) -> str:
        return f"{self._blocks}.{layer}" + (f".{self._inside[kind]}" if self._inside[kind] else "")

    def _module(self, path: str, shapes_of: Callable[[str], list[tuple[int, ...]]]) -> HookPoint:
        modules = dict(self._model.named_modules())
        if path not in modules or not path.startswith(f"{self._prefix}." if self._prefix else "") or not path:
            raise HookNotFound(f"no hook {path!r}. {self._what_exists()}")
        rest = path.removeprefix(f"{self._blocks}.") if path.startswith(f"{self._blocks}.") else ""
        number, _, inside = rest.partition(".")
        layer = int(number) if number else None
        outputs: tuple[Kind, ...] = ("resid_post", "attn_out", "mlp_out")
        if layer is not None:
            for kind in outputs:
                if self._inside.get(kind) == inside:
                    return HookPoint(tl_name(layer, kind), path, kind, layer, self._d)
        return HookPoint(path, path, "module", layer, self._width(path, shapes_of(path)))

    def _width(self, path: str, shapes: list[tuple[int, ...]]) -> int:
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][:2] == (2, 4):
            return shapes[0][2]
        seen = "no tensor" if not shapes else f"{len(shapes)} of them" if len(shapes) > 1 else f"shape {shapes[0]}"
        raise HookNotFound(
            f"module {path!r} is no hook point: in a pass over 2 rows of 4 tokens its output must be one tensor "
            f"[2, 4, width], but it gives {seen}. {self._what_exists()}"
        )

    def _what_exists(self) -> str:
        suffixes = ", ".join(suffix for suffix, kind in SUFFIXES.items() if kind in self._inside)
        return (
            f"Hooks are blocks.L.{{{suffixes}}} for L = 0 to {self._n_layers - 1}, "
            f"or the path of a module such as {self._blocks + '.0'!r}"
        )
