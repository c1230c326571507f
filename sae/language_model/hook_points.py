"""The names of a model's hook points: which exist, and which point a name or a module path means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from sae.language_model.block_submodules import INNER, Layouts
from sae.language_model.errors import HookNotFound
from sae.language_model.hooks import SUFFIXES, HookPoint, Kind, parse, tl_name

_KINDS: tuple[Kind, ...] = ("resid_pre", *INNER, "resid_post")


class HookPoints:
    """Hook points of a model whose block list is at `blocks` (a module path).

    `residual` is empty where the residual stream between the blocks can be hooked; else it says why not, and there are
    no named points at all. The layouts of blocks are found when a point inside a block is wanted.
    """

    def __init__(self, model: nn.Module, blocks: str, layouts: Layouts, d_model: int, residual: str) -> None:
        self._model = model
        self.blocks, self.layouts, self.residual = blocks, layouts, residual
        self._d = d_model

    def names(self) -> list[str]:
        """Stored names of all points in the blocks, in the order of computation."""
        # resid_pre of a later block is stored as the block before's resid_post.
        return [
            tl_name(layer, kind)
            for layer in range(len(self.layouts))
            for kind in _KINDS
            if self._has(layer, kind) and (kind != "resid_pre" or layer == 0)
        ]

    def find(self, name: str, shapes_of: Callable[[str], list[tuple[int, ...]]]) -> HookPoint:
        """The point called `name`; `shapes_of(path)` are the shapes [2, 4, ...] that a module gives in one pass.

        Raises HookNotFound.
        """
        parsed = parse(name)
        if parsed is None:
            return self._module(name, shapes_of)
        layer, kind = parsed
        if layer >= len(self.layouts):
            raise HookNotFound(f"no hook {name!r}: the model has blocks 0 to {len(self.layouts) - 1}")
        if kind == "resid_pre" and layer > 0:
            layer, kind = layer - 1, "resid_post"
        if not self._has(layer, kind):
            raise HookNotFound(f"no hook {name!r}: {self.why(layer, kind)}. {self._what_exists(kind)}")
        return HookPoint(tl_name(layer, kind), self._path(layer, kind), kind, layer, self._d)

    def is_flat(self, hook: HookPoint) -> bool:
        """Whether the module gives the point's value as [rows * tokens, d]."""
        layout = self.layouts[hook.layer] if hook.layer is not None and hook.kind in INNER else None
        return layout is not None and hook.kind in layout.flat

    def adds_to_residual(self, hook: HookPoint) -> bool:
        """Whether the point's value is the residual stream or is added to it, so that it has the stream's directions."""
        if self.residual or hook.layer is None or hook.kind == "ln2_normalized":
            return False
        if hook.kind != "module":
            return True
        layout = self.layouts[hook.layer]
        return layout is not None and hook.module_path.removeprefix(f"{self.blocks}.{hook.layer}.") in layout.added

    def why(self, layer: int, kind: Kind) -> str:
        """Why block `layer` has no point of this kind; empty if it has one."""
        if self.residual or not self.layouts.runs(layer):
            return self.residual or "the block does not run on text"
        layout = self.layouts[layer] if kind in INNER else None
        return next((text for inner, text in layout.why.items() if inner == kind), "") if layout else ""

    def _has(self, layer: int, kind: Kind) -> bool:
        return kind != "module" and not self.why(layer, kind)

    def _path(self, layer: int, kind: Kind) -> str:
        layout = self.layouts[layer] if kind in INNER else None
        inside = next((path for inner, path in layout.paths.items() if inner == kind), "") if layout else ""
        return f"{self.blocks}.{layer}" + (f".{inside}" if inside else "")

    def _module(self, path: str, shapes_of: Callable[[str], list[tuple[int, ...]]]) -> HookPoint:
        if not path or path not in dict(self._model.named_modules()):
            raise HookNotFound(f"no hook {path!r}. {self._what_exists()}")
        rest = path.removeprefix(f"{self.blocks}.") if path.startswith(f"{self.blocks}.") else ""
        layer = int(rest.partition(".")[0]) if rest else None
        outputs: tuple[Kind, ...] = ("resid_post", "attn_out", "mlp_out")
        if layer is not None:
            for kind in outputs:
                if self._has(layer, kind) and self._path(layer, kind) == path:
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

    def _what_exists(self, wanted: Kind | None = None) -> str:
        layers = range(len(self.layouts))
        having = [layer for layer in layers if wanted is not None and self._has(layer, wanted)]
        if having:
            return f"Blocks with this hook: {_ranges(having)}"
        named = ", ".join(
            suffix for suffix, kind in SUFFIXES.items() if any(self._has(layer, kind) for layer in layers)
        )
        paths = f"the path of a module such as {self.blocks + '.0'!r}"
        last = len(self.layouts) - 1
        return f"Hooks are blocks.L.{{{named}}} for L = 0 to {last}, or {paths}" if named else f"Hooks are {paths}"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them shortened: 0 to 3, 5, 7 (at most ten pieces)."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    pieces = [str(a) if a == b else f"{a} to {b}" for a, b in runs]
    return ", ".join(pieces[:10]) + (" and more" if len(pieces) > 10 else "")
