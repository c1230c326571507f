"""A language model with hook points: run it up to a hook, replace a hook's value, read its unembedding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sae.language_model.attention import use_products_for_attention
from sae.language_model.block_submodules import Layouts
from sae.language_model.decoder_blocks import check_causal, probe, residual_problem
from sae.language_model.document_positions import document_positions
from sae.language_model.errors import ModelError
from sae.language_model.flops import Counter
from sae.language_model.hook_points import HookPoints
from sae.language_model.hooks import HookPoint, Kind, Tap
from sae.language_model.loading import load_on_device, max_positions, text_config
from sae.language_model.unembedding import Unembedding, read_unembedding
from sae.linear import use_onednn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _Stop(Exception):
    """Ends a forward pass: every wanted hook has been read."""


class LanguageModel:
    """A Hugging Face causal language model, frozen, in evaluation mode, with sdpa attention and no KV cache.

    One forward pass at a time: concurrent calls wait for one another, since hooks sit on shared modules.
    """

    def __init__(self, model: Any) -> None:
        """`model` is a transformers causal language model; it is frozen here.

        A few tokens are run through it to find its blocks and to prove their hook points. Raises ModelError if it
        cannot be run on rows of tokens, has no list of decoder blocks, or is not causal.
        """
        self._model = model.eval().requires_grad_(False)
        use_onednn(self._model)
        use_products_for_attention()
        self._base: Any = self._model.base_model
        self._lock = threading.RLock()
        self._documents_checked = False
        self._config = text_config(self._model.config)
        _silence_padding_check(self._model)
        self._embeddings: Tensor = _embeddings(self._model)
        self.vocab_size: int = int(self._embeddings.shape[0])
        self.context_length: int = _context_length(self._base, self._config, self._embeddings)
        found = probe(self._base, self.vocab_size, self.device)
        check_causal(found, type(self._model).__name__)
        self._blocks = found.blocks
        self.n_layers: int = len(self._blocks)
        self.d_model: int = int(found.first.given.shape[-1])
        self._block_outputs = [calls[0].output if calls else None for calls in found.calls]
        residual = residual_problem(self._base, found)
        path = next(name for name, module in self._model.named_modules() if module is found.blocks)
        calls = [calls[0] if calls and not residual else None for calls in found.calls]
        self._points = HookPoints(self._model, path, Layouts(self._blocks, calls), self.d_model, residual)
        self._probe_rows = found.ids

    @classmethod
    def load(cls, directory: Path, dtype: str = "fp32", device: str | torch.device = "cpu") -> LanguageModel:
        """Loads a folder that `convert_model` wrote (or any Hugging Face folder with safetensors weights).

        `dtype` is fp32, bf16 or fp16; weights are quantized if the folder says so. Raises ModelError if the folder holds no
        complete causal language model.
        """
        if dtype not in DTYPES:
            raise ModelError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        return cls(load_on_device(Path(directory), DTYPES[dtype], torch.device(device)))

    @property
    def device(self) -> torch.device:
        """Where the weights lie; inputs are moved there."""
        return self._embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        """Element type of weights and activations."""
        return self._embeddings.dtype

    # -- hook points ---------------------------------------------------------------------------------------------

    def hook_names(self) -> list[str]:
        """Every hook point by its stored name, in the order in which the model computes them, block by block."""
        with self._lock:
            return self._points.names()

    def hook(self, name: str) -> HookPoint:
        """The hook point of a TransformerLens name or a Hugging Face module path.

        `blocks.L.hook_resid_pre` with L > 0 is the stored name `blocks.(L-1).hook_resid_post`, and a module path whose
        output is one of the named points gets that name. Raises HookNotFound, which says what exists.
        """
        with self._lock:
            return self._points.find(name, self._output_shapes)

    def why_no_hooks(self) -> str:
        """Why the residual stream between the blocks cannot be hooked; empty if it can."""
        return self._points.residual

    def why_no_hook(self, layer: int, kind: Kind) -> str:
        """Why block `layer` has no hook point of this kind; empty if it has one."""
        with self._lock:
            return self._points.why(layer, kind)

    def centres_residual(self, hook: HookPoint) -> bool:
        """Whether the mean over dimensions of the point's value has no effect: LayerNorms take it out of the residual stream."""
        with self._lock:
            norms = any(isinstance(module, nn.LayerNorm) for module in self._model.modules())
            return norms and self._points.adds_to_residual(hook)

    def _tap(self, hook: HookPoint, batch: torch.Size) -> Tap:
        """Where `hook` is read in a pass over input_ids of shape `batch`."""
        module = self._model.get_submodule(hook.module_path)
        norm = None
        if hook.kind == "ln2_normalized" and hook.layer is not None:
            layout = self._points.layouts[hook.layer]
            norm = layout.norm(self._blocks[hook.layer]) if layout else None
        return Tap(module, hook.kind, norm, (batch[0], batch[1]) if self._points.is_flat(hook) else None)

    # -- running -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def run_to(
        self, input_ids: Tensor, hooks: Sequence[HookPoint], document: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Activations at `hooks`: {hook.name: [B, L, hook.d]} in the model's dtype, on its device.

        `input_ids` is int64 [B, L]. The pass ends as soon as the last wanted hook has been read; logits are never
        computed. With `document` (int64 [B, L], see `document_positions`) attention stays inside each document and
        positions start at 0 in each, so that a document gives what it would give alone; without it attention crosses
        the whole row. Values are not checked for NaN. Raises ModelError for input that the model cannot take.
        """
        if not hooks:
            raise ValueError("run_to needs at least one hook")
        inputs = self._inputs(input_ids, document)
        found: dict[str, Tensor] = {}
        wanted = {hook.name: hook for hook in hooks}

        def keep(name: str) -> Callable[[Tensor], None]:
            def take(value: Tensor) -> None:
                # A model may change a tensor in place after it has been read; behind the last one nothing runs.
                last = len(found) + (name not in found) == len(wanted)
                found[name] = value if last else value.clone()
                if last:
                    raise _Stop

            return take

        with (
            self._reading([(self._tap(hook, input_ids.shape), keep(name)) for name, hook in wanted.items()]),
            suppress(_Stop),
        ):
            self._base(**inputs)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ModelError(f"the model never came past {', '.join(missing)}")
        return {hook.name: found[hook.name] for hook in hooks}

    @torch.no_grad()
    def logits(
        self,
        input_ids: Tensor,
        document: Tensor | None = None,
        replace: tuple[HookPoint, Callable[[Tensor], Tensor]] | None = None,
    ) -> Tensor:
        """Logits [B, L, V] of a whole pass, in the model's dtype.

        With `replace` = (hook, fn), the hook's value [B, L, d] becomes fn(value) for all that is computed after it.
        """
        inputs = self._inputs(input_ids, document)
        with self._lock, ExitStack() as stack:
            if replace is not None:
                hook, change = replace
                stack.callback(self._tap(hook, input_ids.shape).replace(change).remove)
            logits: Tensor = self._model(**inputs).logits
        return logits

    def check_context(self, length: int) -> None:
        """Raises ModelError if rows of `length` tokens are longer than the model can take."""
        if length > self.context_length:
            raise ModelError(f"context_length {length} is longer than the model's {self.context_length}")

    def _inputs(self, input_ids: Tensor, document: Tensor | None) -> dict[str, Any]:
        if input_ids.dim() != 2 or input_ids.numel() == 0:
            raise ModelError(f"input_ids must be [batch, token] and not empty, not {tuple(input_ids.shape)}")
        self.check_context(input_ids.shape[1])
        low, high = torch.stack(torch.aminmax(input_ids)).tolist()  # one wait for the device, none for ids on the CPU
        if low < 0 or high >= self.vocab_size:
            raise ModelError(
                f"token id {low if low < 0 else high} is outside the model's vocabulary of {self.vocab_size}: "
                "were the tokens made with another model's tokenizer?"
            )
        inputs: dict[str, Any] = {"input_ids": input_ids.to(self.device), "use_cache": False}
        if document is not None:
            if document.shape != input_ids.shape:
                raise ModelError(f"document is {tuple(document.shape)} where input_ids is {tuple(input_ids.shape)}")
            self._check_documents()
            # transformers takes positions that restart for packed sequences, and keeps attention inside each.
            inputs["position_ids"] = document_positions(document.to(self.device))
        return inputs

    @contextmanager
    def _reading(self, taps: Sequence[tuple[Tap, Callable[[Tensor], None]]]) -> Iterator[None]:
        with self._lock, ExitStack() as stack:
            for tap, take in taps:
                stack.callback(tap.read(take).remove)
            yield

    # -- probes: a few tokens through the model, to see rather than to assume --------------------------------------

    def _probe_ids(self) -> Tensor:
        return self._probe_rows[:1, :4]

    @torch.no_grad()
    def _check_documents(self) -> None:
        """Once per model: a document's activations must not change with the document in front of it."""
        if self._documents_checked:
            return
        ids = self._probe_ids()[0]
        rows = torch.stack([torch.cat([ids, ids]), torch.cat([ids.flip(0), ids])])
        positions = torch.arange(4, device=self.device).repeat(2, 2)
        found: list[Tensor] = []
        with self._reading([(Tap(self._blocks[-1], "resid_post"), found.append)]):
            self._base(input_ids=rows, position_ids=positions, use_cache=False)
        second = found[0][:, 4:].float()
        if not torch.allclose(second[0], second[1], rtol=1e-3, atol=1e-5 * float(second.abs().max())):
            raise ModelError(
                f"{type(self._model).__name__} lets attention cross documents whatever its position ids are: "
                "tokenize with attention: row and padding_side: right"
            )
        self._documents_checked = True

    @torch.no_grad()
    def _output_shapes(self, path: str) -> list[tuple[int, ...]]:
        """Shapes of what module `path` gives in a pass over two rows of four tokens."""
        shapes: list[tuple[int, ...]] = []
        ids = self._probe_ids().repeat(2, 1)  # two rows, to tell what has a row for each from what is shared
        tap = Tap(self._model.get_submodule(path), "module")
        with self._reading([(tap, lambda value: shapes.append(tuple(value.shape)))]), suppress(ModelError):
            self._base(input_ids=ids, use_cache=False)
        return shapes

    # -- readings ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def unembedding(self, hook: HookPoint) -> Unembedding | str:
        """What directions at `hook` promote through the output matrix (the logit lens), or why that has no meaning.

        It has one where the hook's value is the residual stream or is added to it, and the stream is read by the
        output matrix through one norm.
        """
        with self._lock:
            if not self._points.adds_to_residual(hook):
                return f"{hook.name} is neither the residual stream nor added to it: its directions promote no tokens"
            return read_unembedding(self._model, self._base, self._blocks[-1], self._probe_rows)

    @torch.no_grad()
    def matmul_flops(self, hooks: Sequence[HookPoint], length: int) -> float:
        """Floating-point operations of the matrix products per token, up to the last of `hooks`, rows of `length`.

        A product of [n, a] and [a, b] counts 2nab; attention counts its causal half.
        """
        with self._lock:
            layouts = zip(self._blocks, self._points.layouts, strict=True)
            attention = [block.get_submodule(name) for block, layout in layouts if layout for name in layout.attention]
            with Counter(self._base, attention, self._config, self.d_model) as counter:
                self.run_to(self._probe_ids(), hooks)
        return counter.per_token(self._probe_ids().numel(), length)


def _silence_padding_check(model: nn.Module) -> None:
    """Keeps transformers from looking for padding in every batch, which a causal model never looks right to.

    It would wait for the device each time, and warn of it.
    """
    for module in model.modules():
        if hasattr(module, "warn_if_padding_and_no_attention_mask"):
            module.__dict__["warn_if_padding_and_no_attention_mask"] = lambda *_: None


def _embeddings(model: Any) -> Tensor:
    try:
        weight = model.get_input_embeddings().weight
    except (NotImplementedError, AttributeError):
        weight = None
    if not isinstance(weight, Tensor):
        raise ModelError(f"{type(model).__name__} has no token embedding, so it does not read rows of token ids")
    return weight


def _context_length(base: nn.Module, config: Any, embeddings: Tensor) -> int:
    """The config's limit, less the positions that a learned position embedding keeps for padding (as RoBERTa's does)."""
    stated = max_positions(config)
    reserved = [
        module.padding_idx + 1
        for module in base.modules()
        if isinstance(module, nn.Embedding)
        and module.padding_idx is not None
        and module.num_embeddings == stated
        and module.weight is not embeddings
    ]
    return stated - max(reserved, default=0)
