"""Trains one SAE: its optimizer, its dead-latent counters, its curve, and one step on a whole batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from configs.architectures import SaeConfig
from sae.architectures import Export, Step, make_architecture
from sae.calibration import Calibration
from sae.joint_hooks import joint_calibration, on_raw, on_scaled, scale_row
from sae.sparse import Codes
from sae.training.frozen_weights import FrozenWeights
from sae.training.resampling import is_resampling_step, worst_directions
from sae.training.schedule import learning_rate


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


class CurvePoint(NamedTuple):
    """What one step measured, over the data positions of its batch.

    `mse`: mean squared error of calibrated inputs, whose mean square is 1 over the calibration's rows. `rows`: read so far.
    """

    step: float
    rows: float
    tokens: float
    mse: float
    l0: float
    dead: float
    aux: float
    lr: float


class HeldOut(NamedTuple):
    """The least held-out error so far, looks since without a gain, and whether these ended the training."""

    least: float
    looks: int
    stopped: bool

    def after(self, error: float, patience: int, min_gain: float) -> HeldOut:
        """After one more look."""
        if error < self.least * (1 - min_gain):
            return HeldOut(error, 0, False)
        return HeldOut(min(error, self.least), self.looks + 1, self.looks + 1 >= patience)


class SaeTrainer:
    """Trains one SAE on inputs times its hook's scale: as sae.architectures.Architecture says.

    `total_steps` fixes the schedule, `batch_rows` counts the curve's rows. `autocast` runs the encoder's dense product in
    bf16; weights and Adam are fp32. `others`: calibrations of further hooks of the config. `initial`: tensors of the SAE that
    its config starts from.
    """

    def __init__(
        self,
        config: SaeConfig,
        calibration: Calibration,
        total_steps: int,
        batch_rows: int = 1,
        device: str = "cpu",
        autocast: bool = False,
        others: Sequence[Calibration] = (),
        initial: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.calibration, self.total_steps, self.batch_rows = config, calibration, total_steps, batch_rows
        self.others = tuple(others)
        self.device = torch.device(device)
        self.step_number = 0
        calibrations = (calibration, *others)
        self._scale = _scales(calibrations).to(self.device)
        if config.is_crosscoder:
            calibrations = (joint_calibration(calibrations), *calibrations)
            initial = None if initial is None else on_scaled(initial, self._scale.cpu())
        self.architecture = make_architecture(config, calibrations, device, autocast)
        if initial is not None:
            self.architecture.load(initial)
        self.frozen = FrozenWeights(config, self.architecture.parameters)
        betas = (config.adam_beta1, config.adam_beta2)
        self.optimizer = torch.optim.Adam(self.frozen.trained(), lr=config.lr, betas=betas, fused=True)
        self.tokens_since_active = torch.zeros(config.d_sae, dtype=torch.int64, device=self.device)
        self.held_out = HeldOut(math.inf, 0, False)
        self._curve: list[CurvePoint] = []
        self._unread: list[tuple[tuple[float, ...], tuple[Tensor, ...]]] = []
        self._longest_silence = 0  # no latent has been inactive for more tokens

    @property
    def finished(self) -> bool:
        """Whether it has made all its steps, or was stopped early."""
        return self.step_number >= self.total_steps or self.held_out.stopped

    @torch.no_grad()
    def held_out_error(self, batch: Tensor) -> tuple[float, int]:
        """Sum of squared errors on raw activations [n, d] that are not trained on, and how many values these are."""
        if not len(batch):
            return 0.0, 0
        none = torch.empty(0, dtype=torch.int64, device=self.device)
        done = self.architecture.gradients(self._scaled(batch), Step(self.step_number, self.total_steps, none))
        return float(done.squared_error), done.slope.numel()

    def look(self, error: float, patience: int, min_gain: float) -> None:
        """Takes notice of a held-out error: without a gain in `patience` looks in a row the SAE is finished."""
        if not self.finished:
            self.held_out = self.held_out.after(error, patience, min_gain)

    @torch.no_grad()
    def step(self, batch: Tensor) -> None:
        """One step on raw activations [n, d] (data positions only). An empty batch steps nothing but the schedule."""
        lr = learning_rate(self.config, self.step_number, self.total_steps)
        self.step_number += 1
        dead = self._dead()
        if len(batch) == 0:
            none = torch.tensor(float("nan"))
            return self._record(0, none, none, len(dead), torch.zeros(()), lr)
        x = self._scaled(batch)
        if not self.optimizer.state:
            self.architecture.start(x)
        done = self.architecture.gradients(x, Step(self.step_number - 1, self.total_steps, dead))
        if self.config.gradient_clip is not None:
            clip(done.gradients, self.config.gradient_clip)
        for name, parameter in self.architecture.parameters.items():
            parameter.grad = done.gradients[name]
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        self.architecture.after_step()
        self.frozen.restore()
        active = self._count(done.codes, len(batch))
        self._resample(done.slope)
        mse = done.squared_error / done.slope.numel()
        self._record(len(batch), mse, active / len(batch), len(dead), done.aux, lr)

    @torch.no_grad()
    def measure(self, batch: Tensor) -> None:
        """After the last step, for each batch of the last block: measures what depends on the final weights."""
        if len(batch):
            self.architecture.measure(self._scaled(batch))

    def curve(self) -> list[CurvePoint]:
        """One point for each step so far. Raises TrainingDiverged naming the first step whose loss is not finite.

        Steps leave what they measured on the device; it is read here, once a block: each reading waits for all work before it.
        """
        unread, self._unread = self._unread, []
        measured = [torch.stack([one.to(self.device, torch.float64) for one in values]) for _, values in unread]
        for ((step, rows, tokens, dead, lr), _), (mse, l0, aux) in zip(
            unread, torch.stack(measured).tolist() if unread else [], strict=True
        ):
            point = CurvePoint(step, rows, tokens, mse, l0, dead, aux, lr)
            if point.tokens and not abs(point.mse) < float("inf"):
                raise TrainingDiverged(
                    f"the loss of {self.config.label} is {point.mse} at step {point.step:.0f}; lower lr (now "
                    f"{self.config.lr:g}) or check the activations"
                )
            self._curve.append(point)
        return self._curve

    @property
    def recorded(self) -> Sequence[CurvePoint]:
        """The points that `curve` has read so far. It waits for no device."""
        return self._curve

    def export(self) -> Export:
        """The SAE on raw activations, on the CPU."""
        export = self.architecture.export()
        if not self.config.is_crosscoder:
            return export
        return export._replace(tensors=on_raw(export.tensors, self._scale.cpu()))

    def state(self) -> dict[str, Tensor]:
        """All that a later step depends on, and the curve, as tensors."""
        tensors = {k: v.detach() for k, v in self.architecture.parameters.items()}
        for name, parameter in self.architecture.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{key}"] = value
        curve = torch.tensor(self.curve(), dtype=torch.float64).reshape(-1, len(CurvePoint._fields))
        step = torch.tensor(self.step_number, dtype=torch.int64)
        held_out = torch.tensor(self.held_out, dtype=torch.float64)
        counters = {"tokens_since_active": self.tokens_since_active, "step": step, "held_out": held_out}
        return {**tensors, **counters, "curve": curve}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what state() gave."""
        with torch.no_grad():
            for name, parameter in self.architecture.parameters.items():
                parameter.copy_(state[name])
                keys = [k for k in state if k.startswith(f"adam.{name}.")]
                # Fused Adam keeps `step` on the parameter's device, like its moments.
                moments = {k.rsplit(".", 1)[1]: state[k].to(self.device, copy=True) for k in keys}
                if moments:
                    self.optimizer.state[parameter] = moments
        self.tokens_since_active = state["tokens_since_active"].to(self.device, copy=True)
        self._longest_silence = int(self.tokens_since_active.max())
        self.step_number = int(state["step"])
        least, looks, stopped = state["held_out"].tolist()
        self.held_out = HeldOut(least, int(looks), bool(stopped))
        self._curve, self._unread = [CurvePoint(*row) for row in state["curve"].tolist()], []

    def _scaled(self, batch: Tensor) -> Tensor:
        return batch.to(self.device, torch.float32) * self._scale

    def _resample(self, slope: Tensor) -> None:
        """New weights for dead latents, if this is a step for it."""
        every = getattr(self.config, "resample_every", None)
        if every is None or not is_resampling_step(every, self.step_number, self.config, self.total_steps):
            return
        dead = self._dead()
        directions = worst_directions(slope, len(dead), self.config.seed, self.step_number)
        dead = dead[: len(directions)]
        if not len(dead):
            return
        names = self.architecture.revive(dead, directions)
        self.tokens_since_active[dead] = 0
        for moments in (self.optimizer.state.get(self.architecture.parameters[name], {}) for name in names):
            for key in moments.keys() & {"exp_avg", "exp_avg_sq"}:
                moments[key][dead] = 0

    def _dead(self) -> Tensor:
        """Latents that have been inactive for long. The device is asked, and waited for, only when there may be one."""
        limit = self.config.dead_after_tokens
        if self._longest_silence < limit:
            return torch.zeros(0, dtype=torch.int64, device=self.device)
        dead = (self.tokens_since_active >= limit).nonzero()[:, 0]
        if not len(dead):  # what is known of the longest silence is out of date
            self._longest_silence = int(self.tokens_since_active.max())
        return dead

    def _count(self, codes: Codes, tokens: int) -> Tensor:
        """Counts which latents were active; returns how many entries were."""
        active = codes.value > 0
        seen = torch.zeros(self.config.d_sae + 1, dtype=torch.bool, device=self.device)
        seen.index_fill_(0, torch.where(active, codes.latent, self.config.d_sae), True)
        self._longest_silence += tokens
        self.tokens_since_active = (self.tokens_since_active + tokens).masked_fill_(seen[:-1], 0)
        return active.sum()

    def _record(self, tokens: int, mse: Tensor, l0: Tensor, dead: int, aux: Tensor, lr: float) -> None:
        number = self.step_number - 1
        known = (float(number), float((number + 1) * self.batch_rows), float(tokens), float(dead), lr)
        self._unread.append((known, (mse, l0, aux)))


def clip(gradients: Mapping[str, Tensor], norm: float) -> None:
    """Scales gradients down, in place, if their norm is above `norm`. Squares are added up row by row, then in float64."""
    total = torch.stack(
        [one.flatten(1 if one.dim() > 1 else 0).square().sum(-1).double().sum() for one in gradients.values()]
    )
    factor = (norm / total.sum().sqrt()).clamp(max=1.0).float()
    for gradient in gradients.values():
        gradient.mul_(factor)


def _scales(calibrations: Sequence[Calibration]) -> Tensor:
    """What activations are multiplied by: a scalar, or a row [d + d2 ...] for several hooks side by side."""
    if len(calibrations) == 1:
        return torch.tensor(calibrations[0].scale, dtype=torch.float32)
    return scale_row(calibrations)
