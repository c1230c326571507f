"""Config of the tokenize stage: documents to packed rows of `context_length` tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Seed, StageConfig
from configs.download import DownloadConfig
from configs.inputs import DatasetId, IdOrConfig, ModelId


class TokenizeConfig(StageConfig):
    """Packs documents into rows. Each row has roles and segments, so that what is data is never guessed later."""

    stage: Literal["tokenize"] = "tokenize"
    dataset: Annotated[DatasetId | DownloadConfig, IdOrConfig()] = Field(
        description="The text: a dataset id or the config that downloads it."
    )
    model: Annotated[ModelId | DownloadConfig, IdOrConfig()] = Field(description="The model whose tokenizer is used.")
    context_length: int = Field(128, ge=8, description="Tokens in a row; at most the model's own limit.")
    bos: Literal["tokenizer", "always", "never"] = Field(
        "tokenizer",
        description="Whether a row begins with BOS: as the tokenizer itself does, always, or never. BOS is never data.",
    )
    separator: Literal["eos", "bos", "none"] = Field("eos", description="Token put after each document; never data.")
    special_strings: Literal["text", "special"] = Field(
        "text",
        description="What the name of a special token inside a document (`<|endoftext|>`) becomes: `text` as any other "
        "characters, or `special`, the token itself, which is counted apart from text. BOS, EOS and PAD are never data.",
    )
    attention: Literal["row", "document"] = Field(
        "row", description="`row`: attention crosses the documents of a row. `document`: it stays inside each document."
    )
    return_attention_mask: bool = Field(
        True,
        description="Also write an `attention_mask` column, for other programs: RayLens itself reads `roles`, which says "
        "more. False saves the room.",
    )
    seed: Seed = Field(0, description="Seed of the row shuffle within each split.")
    rows_per_shard: int = Field(
        2048, ge=1, description="Rows in each output shard (the last one of a split has fewer)."
    )
    chunk_bytes: int = Field(1 << 20, ge=1, description="Text bytes in one chunk of work; fixed, so bytes do not vary.")
