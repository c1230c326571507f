"""Config of the import stage: an SAE of another library, as an artifact like our own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from configs.base import StageConfig
from configs.data_positions import DataPolicy
from configs.download import DownloadConfig, HubSource, Source
from configs.dtypes import LmDtype
from configs.hook_names import stored_hook
from configs.inputs import IdOrConfig, ModelId, TokensId
from configs.sae_formats import IMPORT_FORMATS, ImportName
from configs.tokenize import TokenizeConfig

_TITLES = "; ".join(f"{name}: {entry.title} ({', '.join(entry.files)})" for name, entry in IMPORT_FORMATS.items())


class ImportConfig(StageConfig):
    """Imports an SAE of another library, to evaluate, extract and report it like one that was trained here.

    Its weights stay as they are. The model and tokens are those that it is used with: its hook is calibrated on them.
    """

    stage: Literal["import"] = "import"
    source: Source = Field(description="Where its files are: hub, local, package or upload.")
    format: ImportName = Field(description=f"Whose files they are, by name. {_TITLES}.")
    part: str = Field(
        "",
        max_length=300,
        description="Folder of the source that holds the SAE, or its file, such as layer_20/width_16k/average_l0_71. Needed if "
        "the source has several SAEs.",
    )
    model: Annotated[ModelId | DownloadConfig, IdOrConfig()] = Field(
        description="The language model that it reads, as models/ID or the config that makes it."
    )
    tokens: Annotated[TokensId | TokenizeConfig, IdOrConfig()] = Field(
        description="Tokens that calibrate its hook, and that it is evaluated and extracted on."
    )
    hook: str | None = Field(None, description="Its hook, if its files do not name it or name another one.")
    k: int | None = Field(None, ge=1, description="qwen_scope: active latents, if the repository does not name them.")
    activation_norm: float | None = Field(
        None,
        gt=0,
        description="saelens: mean norm of the activations that an SAE with `expected_average_only_in` was trained on; its "
        "weights are scaled by it. No effect on others, and refused for them.",
    )
    split: str = Field("train", description="Split of the tokens.")
    rows: int | None = Field(
        None, ge=1, description="Rows from the start of the split that extraction reads by default; all if not given."
    )
    batch_rows: int = Field(8, ge=1, description="Rows in one forward pass.")
    policy: DataPolicy = Field(default_factory=DataPolicy, description="Which positions are data.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")

    @field_validator("hook")
    @classmethod
    def _stored_name(cls, hook: str | None) -> str | None:
        return None if hook is None else stored_hook(hook)

    @field_validator("part")
    @classmethod
    def _plain_part(cls, part: str) -> str:
        plain = part.strip("/")
        if any(one in ("", ".", "..") for one in plain.split("/")[:-1]) or plain in (".", "..") or "*" in plain:
            raise ValueError(f"part = {part!r} must be a folder or file of the source, without `..` and `*`")
        return plain

    @model_validator(mode="after")
    def _belongs_to_the_format(self) -> ImportConfig:
        for name, format in (("k", "qwen_scope"), ("activation_norm", "saelens")):
            if getattr(self, name) is not None and self.format != format:
                raise ValueError(f"{name} belongs to format {format}: leave it out for {self.format}")
        if self.source.files:
            raise ValueError("leave source.files out: the format says which files are read, and `part` where they are")
        if isinstance(self.source, HubSource) and self.source.config is not None:
            raise ValueError("source.config is for datasets: leave it out")
        return self

    @property
    def label(self) -> str:
        """What people read in lists."""
        return f"{IMPORT_FORMATS[self.format].title} SAE{f' {self.part}' if self.part else ''}"
