"""Models with what they are made of."""

from __future__ import annotations

from pydantic import Field

from serve_app.schemas.artifacts import Artifact


class Model(Artifact):
    """A language model with its architecture and hook points."""

    architecture: str | None = Field(
        description="transformers' name of the architecture.", examples=["LlamaForCausalLM"]
    )
    n_layers: int | None = Field(description="Blocks.", examples=[30])
    d_model: int | None = Field(description="Width of the residual stream.", examples=[576])
    vocab_size: int | None = Field(description="Number of token embeddings.", examples=[49152])
    context_length: int | None = Field(description="Largest number of tokens in a row.", examples=[8192])
    parameters: int | None = Field(description="Number of parameters.", examples=[134515008])
    hooks: list[str] = Field(
        description="Names of the hook points (TransformerLens' names).",
        examples=[["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"]],
    )
    hooks_unknown: str | None = Field(description="Why `hooks` is empty; null if it is not.")
