"""SAE architectures: what each one trains, how it chooses active latents, and what is written of it.

`sae/architectures/NAME.py` defines `ARCHITECTURE`, a class that satisfies `Architecture`; its config is the class of that name
in `configs/architectures/`. The trainer, metrics, extraction, reports and formats never ask which one they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from configs.architectures import NAMES, SaeConfig
from configs.architectures.steps import Steps, steps_of
from sae.calibration import Calibration
from sae.sparse import Codes


class Step(NamedTuple):
    """Where training is: this step's `number` of `total`, from 0. `dead` int64: latents that count as dead."""

    number: int
    total: int
    dead: Tensor

    def rise(self, steps: Steps) -> float:
        """Rises linearly to 1 over so many steps, and stays there: a warm-up."""
        length = steps_of(steps, self.total)
        return min(1.0, (self.number + 1) / length) if length > 1 else 1.0


class Pass(NamedTuple):
    """One forward and backward pass over n positions.

    `gradients`: of each parameter, by its name. `squared_error`: sum over positions and dimensions, float64 scalar.
    `aux`: mean of the auxiliary losses before their weight, a scalar; 0 without any. `slope` [n, d]: the gradient of the loss at
    the reconstruction, along which it is wrong.
    """

    codes: Codes
    gradients: dict[str, Tensor]
    squared_error: Tensor
    aux: Tensor
    slope: Tensor


class Export(NamedTuple):
    """What is written of an SAE: tensors that work on raw activations under SAELens' names, and SAELens' config keys."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]


class Architecture(Protocol):
    """One SAE in training, on scaled activations: raw ones times the calibration's `scale`.

    Once centred on their mean, which they are not here, they have unit mean square in each dimension. The loss is the mean
    squared error over positions and dimensions, and whatever the architecture adds to it. `others` are the calibrations of
    further hooks of its config: their scaled activations stand behind those of the first one, [n, d + d2 ...]. A crosscoder's
    `calibration` is the joint one of its hooks (sae.joint_hooks), and `others` are those of each hook.
    """

    parameters: dict[str, Tensor]
    """What the optimizer steps; they and the optimizer's moments are all that a checkpoint holds of the architecture."""

    def __init__(
        self, config: Any, calibration: Calibration, device: str, autocast: bool, *others: Calibration
    ) -> None: ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the weights of a trained SAE on raw activations as initial ones. Raises ValueError if they do not fit."""
        ...

    def start(self, x: Tensor) -> None:
        """Before the first step: sets what depends on the first batch `x` [n, d], which is not empty."""
        ...

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """Forward and backward on scaled activations `x` [n, d], n > 0."""
        ...

    def revive(self, dead: Tensor, directions: Tensor) -> tuple[str, ...]:
        """New weights for the latents `dead` [m], along `directions` [m, d] of length 1, where reconstructions lack something.

        Returns the names of the parameters that have a row for each latent.
        """
        ...

    def after_step(self) -> None:
        """Restores what the optimizer's step must not change, such as unit decoder rows."""
        ...

    def measure(self, x: Tensor) -> None:
        """After the last step, for each batch of the last block: measures what depends on the final weights."""
        ...

    def export(self) -> Export:
        """The trained SAE on raw activations: the input's scale is folded in."""
        ...

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """Codes of raw activations `x` [n, d], by position and latent, values > 0, from what export() gave."""
        ...


def architecture_class(name: str) -> type[Architecture]:
    """The class of an architecture. Raises ValueError naming those that exist."""
    if name not in NAMES:
        raise ValueError(f"there is no SAE architecture {name!r}; the architectures are {', '.join(NAMES)}")
    found: type[Architecture] = import_module(f"sae.architectures.{name}").ARCHITECTURE
    return found


def make_architecture(
    config: SaeConfig, calibrations: Sequence[Calibration], device: str, autocast: bool
) -> Architecture:
    """A new SAE, with the initial weights of its seed.

    `calibrations` are those of config.all_hooks(); a crosscoder's joint one stands before them (sae.joint_hooks).
    """
    first, *others = calibrations
    return architecture_class(config.architecture)(config, first, device, autocast, *others)
