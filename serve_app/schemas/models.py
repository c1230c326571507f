"""Models with what they are made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from serve_app.schemas.artifacts import Artifact


class SpecialToken(BaseModel):
    """A token that is no text."""

    role: Literal["bos", "eos", "pad", "other"] = Field(
        description="What it is for. One that is for several stands for each."
    )
    id: int = Field(description="Its id.", examples=[0])
    text: str = Field(description="Its name.", examples=["<|endoftext|>"])


class WeightMemory(BaseModel):
    """Memory that a model's weights take in one number format, beside what the nodes have."""

    dtype: str = Field(description="Number format, a value of `lm_dtype`.")
    bytes: int = Field(description="Bytes of the weights; a pass over tokens needs more.", examples=[538060032])
    nodes: int = Field(description="Nodes of the cluster that have so much memory for jobs.", examples=[1])
    free_nodes: int = Field(description="Nodes of the cluster that have so much memory now.", examples=[1])


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
    memory: list[WeightMemory] = Field(
        description="Memory of the weights by number format; empty if `parameters` is null."
    )
    special_tokens: list[SpecialToken] = Field(
        description="Tokens that are no text; empty if the tokenizer cannot be read."
    )
    hooks: list[str] = Field(
        description="Names of the hook points (TransformerLens' names).",
        examples=[["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"]],
    )
    hooks_unknown: str | None = Field(description="Why `hooks` is empty; null if it is not.")
