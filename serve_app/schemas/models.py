"""Models with what they are made of."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, computed_field

from serve_app.schemas.artifacts import Artifact, ArtifactItem
from serve_app.schemas.common import Page


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


class OpenAiModel(BaseModel):
    """A model as OpenAI's clients read it."""

    id: str = Field(description="What `model` of a completion is: `models/` and its id.")
    object: Literal["model"] = Field("model", description="The kind of object.")
    created: int = Field(description="When it was made, in seconds since 1970.")
    owned_by: Literal["raylens"] = Field("raylens", description="Whose model it is.")

    @classmethod
    def of(cls, item: ArtifactItem) -> Self:
        """The same model."""
        return cls(id=item.ref, created=int(item.created_at.timestamp()))


class ModelPage(Page[ArtifactItem]):
    """One page of models: in RayLens's form, and the same models in OpenAI's, for `client.models.list()`."""

    @computed_field(description="The kind of object, for OpenAI's clients.")  # type: ignore[prop-decorator]
    @property
    def object(self) -> Literal["list"]:
        """As OpenAI names it."""
        return "list"

    @computed_field(description="The items in OpenAI's form.")  # type: ignore[prop-decorator]
    @property
    def data(self) -> list[OpenAiModel]:
        """As OpenAI's clients read them."""
        return [OpenAiModel.of(item) for item in self.items]
