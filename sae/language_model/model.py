"""A language model with hook points: run it up to a hook, replace a hook's value, read its unembedding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sae.language_model.block_layout import Layout, discover, find_blocks
from sae.language_model.errors import ModelError
from sae.language_model.flops import Counter
from sae.language_model.hook_capture import HookPoint, Tap
from sae.language_model.hook_points import Points
from sae.language_model.loading import load_causal_lm, max_positions
from sae.language_model.packing import document_positions
from sae.language_model.unembedding import Unembedding, final_norm, fold

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _Stop(Exception):
    """Ends a forward pass: every wanted hook has been read."""


class LanguageModel:
    """A Hugging Face causal language model, frozen, in evaluation mode, with sdpa attention and no KV cache.

    One forward pass at a time: concurrent calls wait for one another, since hooks sit on shared modules.
    """

    def __init__(self, model: Any) -> None:
        """`model` is a transformers causal language model; it is frozen here."""
        self._model = model.eval().requires_grad_(False)
        self._base: Any = self._model.base_model
        self._lock = threading.RLock()
        self._documents_checked = False
        config = self._model.config.get_text_config()
        # transformers warns on every batch with this id, though a causal model never looks right to the padding.
        self._model.config.pad_token_id = None
        config.pad_token_id = None
        self.d_model: int = int(config.hidden_size)
        self.vocab_size: int = int(self._model.get_input_embeddings().weight.shape[0])
        self.context_length: int = max_positions(config)
        self._config = config
        self._path, self._blocks = find_blocks(self._base)
        self.n_layers: int = len(self._blocks)
        self._layout: Layout = discover(self._blocks[0], self._probe_first_block, self.d_model)
        self._points = Points(self._model, self._base, self._path, self.n_layers, self.d_model, self._layout)

    @classmethod
    def load(cls, directory: Path, dtype: str = "fp32", device: str | torch.device = "cpu") -> LanguageModel:
        """Loads a folder that `convert_model` wrote (or any Hugging Face folder with safetensors weights).

        `dtype` is fp32, bf16 or fp16. Raises ModelError if the folder holds no complete causal language model.
        """
        if dtype not in DTYPES:
            raise ModelError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        return cls(load_causal_lm(Path(directory), DTYPES[dtype]).to(device))

    @property
    def device(self) -> torch.device:
        """Where the weights lie; inputs are moved there."""
        device: torch.device = self._model.get_input_embeddings().weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Element type of weights and activations."""
        dtype: torch.dtype = self._model.get_input_embeddings().weight.dtype
        return dtype

    # -- hook points ---------------------------------------------------------------------------------------------

    def hook_names(self) -> list[str]:
        """Every hook point by its stored name, in the order in which the model computes them, block by block."""
        return self._points.names()

    def hook(self, name: str) -> HookPoint:
        """The hook point of a TransformerLens name or a Hugging Face module path.

        `blocks.L.hook_resid_pre` with L > 0 is the stored name `blocks.(L-1).hook_resid_post`, and a module path whose
        output is one of the named points gets that name. Raises HookNotFound, which says what exists.
        """
        return self._points.find(name, self._output_shapes)

    def _tap(self, hook: HookPoint) -> Tap:
        module = self._model.get_submodule(hook.module_path)
        if hook.kind != "ln2_normalized":
            return Tap(module, hook.kind)
        assert hook.layer is not None
        return Tap(module, hook.kind, self._layout.norm(self._blocks[hook.layer]))

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
                found[name] = value
                if len(found) == len(wanted):
                    raise _Stop

            return take

        with self._reading([(self._tap(hook), keep(name)) for name, hook in wanted.items()]), suppress(_Stop):
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
                stack.callback(self._tap(hook).replace(change).remove)
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
        low, high = (int(v) for v in torch.aminmax(input_ids))
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
        return torch.arange(4, device=self.device)[None] % self.vocab_size

    @torch.no_grad()
    def _probe_first_block(self) -> None:
        def stop(module: nn.Module, args: object, output: object) -> None:
            raise _Stop

        # This hook is the last to be registered on the block, so it stops the pass after the others have looked.
        handle = self._blocks[0].register_forward_hook(stop)
        try:
            with suppress(_Stop):
                self._base(input_ids=self._probe_ids(), use_cache=False)
        finally:
            handle.remove()

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
                f"{type(self._model).__name__} lets attention cross documents whatever it is told: "
                "tokenize with attention: row"
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
    def unembedding(self) -> Unembedding:
        """The output matrix with the final norm's weight folded in. Raises ModelError if the model has none."""
        with self._lock:
            norm = final_norm(self._base, self._blocks[-1], self.d_model, self._probe_ids())
        return fold(self._model, norm)

    @torch.no_grad()
    def matmul_flops(self, hooks: Sequence[HookPoint], length: int) -> float:
        """Floating-point operations of the matrix products per token, up to the last of `hooks`, rows of `length`.

        A product of [n, a] and [a, b] counts 2nab; attention counts its causal half.
        """
        attention = self._layout.attention
        with self._lock, Counter(self._base, self._blocks, attention, self._config) as counter:
            self.run_to(self._probe_ids(), hooks)
        return counter.per_token(self._probe_ids().numel(), length)
