"""What the configs of all SAE architectures have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from configs.architectures.steps import Steps
from configs.base import Config, Seed
from configs.hook_names import joint_name, stored_hook
from configs.inputs import SaeId

Frozen = Literal["none", "decoder", "soft_decoder", "encoder"]


class SaeConfig(Config):
    """One sparse autoencoder: what every architecture has. Two equal ones in a run are refused."""

    architecture: str = Field(description="How active latents are chosen.")
    # Left out of what is written where it is not given: a crosscoder has `hooks` instead.
    hook: str = Field(
        "", description="Hook name, for example `blocks.7.hook_resid_post`.", exclude_if=lambda hook: hook == ""
    )
    d_sae: int = Field(ge=1, description="Width: the number of latents.")
    seed: Seed = Field(0, description="Seed of the initial weights.")
    start_from: SaeId | None = Field(
        None,
        description="An SAE of the same width, whose weights are the initial ones; those that it lacks are as usual.",
    )
    train_rows: int | None = Field(
        None,
        ge=1,
        description="Rows that this SAE is trained on, a multiple of the run's batch_rows; if not given, all of the run.",
    )
    lr: float = Field(1e-3, gt=0, description="Peak learning rate of Adam.")
    lr_warmup: Steps = Field(
        50, description="Linear warm-up of the learning rate: steps, or a share of them such as 5%."
    )
    lr_decay: Steps = Field(
        "20%", description="Decay of the learning rate to 0 at the end: steps or a share; 0 keeps it."
    )
    lr_decay_shape: Literal["linear", "cosine"] = Field("linear", description="How the learning rate decays.")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="Adam's first moment decay.")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="Adam's second moment decay.")
    gradient_clip: float | None = Field(
        None, gt=0, description="Norm of all gradients together above which they are scaled down to it."
    )
    dead_after_tokens: int = Field(
        200_000, ge=1, description="A latent that was inactive on this many data positions in a row is dead."
    )

    frozen: Frozen = Field(
        "none",
        description="Initial weights that training keeps: none; those of the decoder; those of the decoder up to a cosine of "
        "0.8 (soft_decoder); or those of the encoder, with its biases unless these decide how many latents are active. Such an "
        "SAE is a control of the one with none.",
    )

    @field_validator("hook")
    @classmethod
    def _stored_name(cls, hook: str) -> str:
        return stored_hook(hook)

    @model_validator(mode="after")
    def _has_a_hook(self) -> SaeConfig:
        if not self.hook and not self.is_crosscoder:
            raise ValueError("hook missing: the name of the hook, for example blocks.7.hook_resid_post")
        return self

    @model_validator(mode="after")
    def _has_decay(self) -> SaeConfig:
        if self.lr_decay in (0, "0%") and self.lr_decay_shape != "linear":
            raise ValueError(f"lr_decay_shape = {self.lr_decay_shape} has no effect where lr_decay is 0: leave it out")
        return self

    @model_validator(mode="after")
    def _has_what_is_frozen(self) -> SaeConfig:
        if self.frozen == "encoder" and not self.has_encoder:
            raise ValueError(f"{self.architecture} encodes with its decoder: it has no encoder to freeze")
        return self

    @property
    def has_encoder(self) -> bool:
        """Whether it has weights that encode and do not decode."""
        return True

    @property
    def biases_sparsify(self) -> bool:
        """Whether the encoder's biases decide how many latents are active: then a frozen encoder's are trained."""
        return False

    @property
    def is_crosscoder(self) -> bool:
        """Whether its latents are read from several hooks and make the activations of each."""
        return False

    @property
    def place(self) -> str:
        """The hook, as labels name it."""
        return self.hook

    @property
    def label(self) -> str:
        """What people read in lists."""
        return f"{self.architecture} {self.d_sae} at {self.place}"

    def all_hooks(self) -> tuple[str, ...]:
        """The hooks whose activations it is trained on: the input, then others."""
        return (self.hook,)

    def with_hooks(self, names: Mapping[str, str]) -> Self:
        """The config with its hooks under other names."""
        return self.model_copy(update={"hook": names[self.hook]})

    def dimensions(self, hooks: Sequence[int]) -> tuple[int, int]:
        """Dimensions that its encoder reads and its decoder makes, from those of all_hooks()."""
        return hooks[0], hooks[-1]

    @property
    def target_l0(self) -> float | None:
        """Active latents of a position that training aims at, on average; None if it aims at no number."""
        return None

    @property
    def planned_l0(self) -> float:
        """Active latents of a position that space on disk is planned for."""
        return self.target_l0 or self.d_sae / 10


class DeadLatentsConfig(SaeConfig):
    """What brings dead latents back: a loss of their own, or new weights."""

    aux_coefficient: float = Field(1 / 32, ge=0, description="Weight of the auxiliary loss on dead latents; 0 is off.")
    aux_k: int = Field(64, ge=1, description="Dead latents that the auxiliary loss uses for a position.")
    resample_every: Steps | None = Field(
        None,
        description="After each so many steps, before the learning rate decays, dead latents get new weights: along the errors "
        "of the positions that are reconstructed worst.",
    )

    @model_validator(mode="after")
    def _resamples_at_steps(self) -> DeadLatentsConfig:
        if self.resample_every in (0, "0%"):
            raise ValueError("resample_every is a number of steps above 0, or a share of them; null is never")
        if self.resample_every is not None and self.frozen != "none":
            raise ValueError(
                f"resample_every gives new weights to latents whose {self.frozen} is frozen: leave one out"
            )
        return self


class ShallowConfig(DeadLatentsConfig):
    """One encoder layer, a choice of active latents, one decoder layer."""

    # Left out of what is written where it is not given, so that it changes the id of no SAE of one hook.
    hooks: tuple[str, ...] | None = Field(
        None,
        description="Crosscoder: the hooks, in the order of the model, whose activations the same latents are read from and "
        "make. It takes the place of `hook`.",
        exclude_if=lambda hooks: hooks is None,
    )
    target_hook: str | None = Field(
        None,
        description="Transcoder: the hook whose activations are made from those of `hook`. If not given, those of `hook` itself.",
    )
    skip_connection: bool = Field(
        False, description="Skip transcoder: a matrix from input to output is trained beside the latents."
    )

    @field_validator("target_hook")
    @classmethod
    def _stored_target(cls, hook: str | None) -> str | None:
        return None if hook is None else stored_hook(hook)

    @field_validator("hooks")
    @classmethod
    def _stored_hooks(cls, hooks: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if hooks is None else tuple(stored_hook(hook) for hook in hooks)

    @model_validator(mode="after")
    def _is_a_crosscoder(self) -> ShallowConfig:
        if self.hooks is None:
            return self
        if self.hook:
            raise ValueError(f"hook = {self.hook} and hooks are both given: give `hook`, or `hooks` for a crosscoder")
        if len(self.hooks) < 2:
            raise ValueError(f"hooks has {len(self.hooks)} hook; a crosscoder has at least two: for one, give `hook`")
        if repeated := sorted({hook for hook in self.hooks if self.hooks.count(hook) > 1}):
            raise ValueError(f"hooks has {repeated[0]} more than once: give each hook once")
        if self.target_hook is not None:
            raise ValueError("target_hook is for transcoders, which have one `hook`; a crosscoder makes its `hooks`")
        return self

    @model_validator(mode="after")
    def _is_a_transcoder(self) -> ShallowConfig:
        if self.target_hook == self.hook:
            raise ValueError(f"target_hook = {self.target_hook} is `hook` itself: leave it out, or name another hook")
        if self.skip_connection and self.target_hook is None:
            raise ValueError("skip_connection is for transcoders: give a target_hook")
        return self

    @property
    def place(self) -> str:
        """See SaeConfig."""
        skip = ", skip" if self.skip_connection else ""
        if self.hooks is not None:
            return joint_name(self.hooks)
        return self.hook if self.target_hook is None else f"{self.hook} to {self.target_hook}{skip}"

    def all_hooks(self) -> tuple[str, ...]:
        """See SaeConfig."""
        if self.hooks is not None:
            return self.hooks
        return (self.hook,) if self.target_hook is None else (self.hook, self.target_hook)

    @property
    def is_crosscoder(self) -> bool:
        """See SaeConfig."""
        return self.hooks is not None

    def with_hooks(self, names: Mapping[str, str]) -> Self:
        """See SaeConfig."""
        found: dict[str, Any] = {}
        if self.hooks is not None:
            found["hooks"] = tuple(names[hook] for hook in self.hooks)
            return self.model_copy(update=found)
        found["hook"] = names[self.hook]
        if self.target_hook is not None:
            found["target_hook"] = names[self.target_hook]
        return self.model_copy(update=found)

    def dimensions(self, hooks: Sequence[int]) -> tuple[int, int]:
        """See SaeConfig."""
        return (sum(hooks), sum(hooks)) if self.is_crosscoder else super().dimensions(hooks)

    @property
    def free_decoder(self) -> bool:
        """Whether the lengths of decoder rows are trained, too."""
        return False


class DecoderNormConfig(ShallowConfig):
    """A choice of what the lengths of decoder rows are."""

    decoder_norm: Literal["unit", "free"] = Field(
        "unit",
        description="unit: each decoder row keeps length 1. free: lengths are trained, too; what is active and what a "
        "penalty costs is measured as if rows had length 1 and values were larger by the length.",
    )

    @property
    def free_decoder(self) -> bool:
        """See ShallowConfig."""
        return self.decoder_norm == "free"
