"""Config of the tokenize stage: documents to rows of at most `context_length` tokens."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from configs.base import Config, Seed, StageConfig
from configs.download import DownloadConfig
from configs.inputs import DatasetId, IdOrConfig, ModelId

Packing = Literal["concatenate", "best_fit", "off"]
Truncation = Literal["overflow", "cut", "refuse"]
Padding = Literal["none", "longest", "max_length"]
Side = Literal["right", "left"]
Attention = Literal["row", "document"]
Split = Literal["train", "validation", "test"]


class Resplit(Config):
    """Splits the documents of a dataset anew, by a seeded hash. Equal texts, or groups, fall into the same split."""

    test: float = Field(0.05, ge=0, lt=1, description="Expected share of split `test`.")
    validation: float = Field(0.0, ge=0, lt=1, description="Expected share of split `validation`; the rest is `train`.")
    group_column: str | None = Field(
        None,
        description="Column of the dataset whose values stay together: all documents with the same value fall into one "
        "split. A document without a value, or without this option, goes by its text.",
    )
    seed: Seed = Field(0, description="Seed of the choice.")

    @model_validator(mode="after")
    def _train_remains(self) -> Resplit:
        if self.test + self.validation >= 1:
            raise ValueError(f"test {self.test:g} and validation {self.validation:g} leave nothing for split train")
        return self


class TokenizeConfig(StageConfig):
    """Packs documents into rows. Each row has roles and segments, so that what is data is never guessed later."""

    stage: Literal["tokenize"] = "tokenize"
    dataset: Annotated[DatasetId | DownloadConfig, IdOrConfig()] = Field(
        description="The text: a dataset id or the config that downloads it."
    )
    other_datasets: tuple[Annotated[DatasetId | DownloadConfig, IdOrConfig()], ...] = Field(
        (), max_length=63, description="Datasets to mix with `dataset`, each an id or the config that downloads it."
    )
    weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (),
        description="Shares of the rows of each split that are from `dataset` and from each of `other_datasets`, as numbers "
        "in proportion. Rows are taken until one dataset has no more, and none is taken twice. A dataset that lacks a "
        "split has no part in it.",
    )
    model: Annotated[ModelId | DownloadConfig, IdOrConfig()] = Field(description="The model whose tokenizer is used.")
    resplit: Resplit | None = Field(
        None, description="How to split the documents again; if not given, each is of the split that the dataset says."
    )
    splits: tuple[Split, ...] = Field(
        ("train", "validation", "test"), min_length=1, description="The splits to tokenize; others are left out."
    )
    max_rows: int | None = Field(
        None, ge=1, description="Take at most this many rows of each split: the first ones in shuffled order."
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Take at most this many tokens of each split, padding not counted: whole rows, in shuffled order.",
    )
    context_length: int = Field(128, ge=8, description="Most tokens in a row; at most the model's own limit.")
    add_special_tokens: bool = Field(
        True,
        description="Put special tokens into the rows: BOS as `bos` says, and `separator` after each document. "
        "Recommended for most models. False puts in neither, and is recorded as `bos: never` and `separator: none` too.",
    )
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
    chat: Literal["template", "plain"] | None = Field(
        None,
        description="How chats become text: by the tokenizer's chat `template`, whose special tokens become those tokens, or "
        "`plain`, the `text` of the dataset. If not given: by the template where the dataset has chats and the tokenizer a "
        "template, else plain. Each token of a chat has its speaker in the column `speakers`.",
    )
    chat_date: date | None = Field(
        None,
        description="The date that the chat template writes where it writes today's. Such a template is refused without it.",
    )
    packing: Packing = Field(
        "concatenate",
        description="How documents fill rows. `concatenate`: one after the other, cut where a row ends. `best_fit`: "
        "several whole documents in a row, none that fits into a row is cut. `off`: one document in a row.",
    )
    truncation: Truncation = Field(
        "overflow",
        description="What becomes of tokens that do not fit into a row: `overflow` into further rows, `cut` off and "
        "counted, or `refuse` the document with an error. `concatenate` has `overflow` alone.",
    )
    truncation_side: Side = Field(
        "right",
        description="The end of a document that is cut off; with `overflow`, the end at which its shorter piece lies.",
    )
    stride: int = Field(
        0,
        ge=0,
        description="Tokens that a row repeats from the row before it where a text goes on (`overflow`). They are "
        "context alone: their role is `repeated`, and no token is data twice.",
    )
    padding: Padding = Field(
        "max_length",
        description="How far rows are padded in the files: to `context_length` (`max_length`), to the longest row of all "
        "(`longest`), or not at all (`none`; they are padded to the longest one when they are read).",
    )
    padding_side: Side = Field("right", description="The side of a row on which its padding is. Padding is never data.")
    attention: Attention = Field(
        "row", description="`row`: attention crosses the documents of a row. `document`: it stays inside each document."
    )
    return_attention_mask: bool = Field(
        True,
        description="Also write an `attention_mask` column, for other programs: RayLens itself reads `roles`, which says "
        "more. False saves the room.",
    )
    metadata_columns: tuple[str, ...] = Field(
        (),
        description="Columns of the dataset to keep: a `metadata` column of the files has their values for each document "
        "of a row.",
    )
    seed: Seed = Field(0, description="Seed of the row shuffle within each split.")
    rows_per_shard: int = Field(
        2048, ge=1, description="Rows in each output shard (the last one of a split has fewer)."
    )
    chunk_bytes: int = Field(1 << 20, ge=1, description="Text bytes in one chunk of work; fixed, so bytes do not vary.")

    @field_validator("splits")
    @classmethod
    def _in_order(cls, splits: tuple[Split, ...]) -> tuple[Split, ...]:
        """Which splits, not in what order they were named: equal rows have one identity."""
        every: tuple[Split, ...] = ("train", "validation", "test")
        return tuple(split for split in every if split in splits)

    @field_validator("metadata_columns")
    @classmethod
    def _once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column is named twice: name each once")
        return columns

    @model_validator(mode="after")
    def _mixture_fits(self) -> TokenizeConfig:
        datasets = (self.dataset, *self.other_datasets)
        if len(self.weights) != (len(datasets) if self.other_datasets else 0):
            raise ValueError(
                f"`weights` has {len(self.weights)} numbers: give one for `dataset` and one for each of the "
                f"{len(self.other_datasets)} `other_datasets`"
                if self.other_datasets
                else "`weights` are for a mixture: name `other_datasets`, or leave them out"
            )
        if any(one == other for i, one in enumerate(datasets) for other in datasets[:i]):
            raise ValueError("a dataset is named twice in the mixture: name each once and add up its weights")
        return self

    @model_validator(mode="after")
    def _special_tokens_agree(self) -> TokenizeConfig:
        """One record of each choice, whichever options it was given by, so that equal rows have one identity."""
        off = {"bos": "never", "separator": "none"}
        none = all(getattr(self, name) == value for name, value in off.items())
        if self.add_special_tokens and none:
            if "add_special_tokens" in self.model_fields_set:
                raise ValueError("`add_special_tokens: true` adds nothing with `bos: never` and `separator: none`")
            object.__setattr__(self, "add_special_tokens", False)
        if not self.add_special_tokens:
            for name, value in off.items():
                if name in self.model_fields_set and getattr(self, name) != value:
                    raise ValueError(
                        f"`add_special_tokens: false` puts in neither BOS nor a separator: leave out "
                        f"`{name}: {getattr(self, name)}`"
                    )
                object.__setattr__(self, name, value)
        return self

    @model_validator(mode="after")
    def _date_is_written(self) -> TokenizeConfig:
        if self.chat == "plain" and self.chat_date is not None:
            raise ValueError("`chat_date` is for a chat template; with `chat: plain` leave it out")
        return self

    @model_validator(mode="after")
    def _truncation_fits(self) -> TokenizeConfig:
        if self.packing == "concatenate" and self.truncation != "overflow":
            raise ValueError(
                f"`truncation: {self.truncation}` needs `packing: best_fit` or `off`: with `concatenate` a document goes "
                "on in the next row"
            )
        if self.truncation_side == "left" and (self.packing == "concatenate" or self.truncation == "refuse"):
            raise ValueError(
                "`truncation_side: left` needs `packing: best_fit` or `off`, with `truncation: cut` or `overflow`"
            )
        if self.stride and self.truncation != "overflow":
            raise ValueError(f"`stride` repeats tokens that overflow; with `truncation: {self.truncation}` set it to 0")
        if self.stride > self.context_length - 2:
            raise ValueError(
                f"`stride` {self.stride} leaves a row no token of its own: set it to {self.context_length - 2} or less "
                f"(context_length {self.context_length})"
            )
        return self
