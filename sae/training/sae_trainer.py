"""The trainer of one SAE: its weights, its optimizer, its dead-latent counters, and one step on a whole batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from configs.train import SaeConfig
from sae import sparse
from sae.calibration import Calibration
from sae.formats.sae_folder import Weights
from sae.training.schedule import learning_rate


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite."""


class StepMetrics(NamedTuple):
    """What one step measured, over the data positions of its batch.

    `mse`: mean squared error of calibrated inputs, whose mean square is 1 over the calibration's rows.
    """

    tokens: int
    mse: float
    l0: float
    dead: int
    aux: float
    lr: float


class SaeTrainer:
    """Trains one SAE on inputs scaled to unit mean square by its hook's calibration; b_dec starts at their mean.

    `total_steps` fixes the schedule. `autocast` runs the encoder's dense product in bf16; weights and Adam are fp32.
    """

    def __init__(
        self, config: SaeConfig, calibration: Calibration, total_steps: int, device: str = "cpu", autocast: bool = False
    ) -> None:
        self.config, self.calibration, self.total_steps = config, calibration, total_steps
        self.device, self.autocast = torch.device(device), autocast
        self.step_number = 0
        generator = torch.Generator().manual_seed(config.seed)
        W_dec = normalize(torch.randn(config.d_sae, len(calibration.mean), generator=generator), dim=1)
        start = {
            "W_enc_t": W_dec.clone(),
            "W_dec": W_dec,
            "b_enc": torch.zeros(config.d_sae),
            "b_dec": calibration.mean * calibration.scale,
        }
        self.parameters = {k: v.to(self.device).requires_grad_() for k, v in start.items()}
        self.optimizer = torch.optim.Adam(
            self.parameters.values(), lr=config.lr, betas=(config.adam_beta1, config.adam_beta2), fused=True
        )
        self.tokens_since_active = torch.zeros(config.d_sae, dtype=torch.int64, device=self.device)
        self.threshold = torch.zeros((), dtype=torch.float64, device=self.device)
        self._buffer = torch.empty(0, config.d_sae, device=self.device)

    @torch.no_grad()
    def step(self, batch: Tensor) -> StepMetrics:
        """One step on raw activations [n, d] (data positions only). An empty batch steps nothing but the schedule."""
        lr = learning_rate(self.config, self.step_number, self.total_steps)
        self.step_number += 1
        if len(batch) == 0:
            return StepMetrics(0, float("nan"), float("nan"), self._dead_count(), 0.0, lr)
        p = self.parameters
        x = batch.to(self.device, torch.float32) * self.calibration.scale
        centred = x - p["b_dec"]
        pre = self._encode(centred)
        codes = (sparse.topk if self.config.architecture == "topk" else sparse.batch_topk)(pre, self.config.k)
        residual = sparse.decode(codes, p["W_dec"]) + p["b_dec"] - x
        dead = (self.tokens_since_active >= self.config.dead_after_tokens).nonzero()[:, 0]
        grad = residual * (2 / residual.numel())
        gradients = sparse.backward(codes, centred, grad, p["W_dec"])
        aux = 0.0
        if self.config.aux_coefficient and len(dead):
            aux, extra = self._aux(pre, centred, residual, dead)
            gradients = sparse.Gradients(*(a.add_(b) for a, b in zip(gradients, extra, strict=True)))
        self._apply(gradients, grad, lr)
        self._count(codes, len(x))
        error = float(residual.double().square().sum(1).sum()) / residual.numel()
        if error != error or error == float("inf"):
            raise TrainingDiverged(
                f"the loss of {self.config.hook} (d_sae {self.config.d_sae}, k {self.config.k}) is {error} at step "
                f"{self.step_number - 1}; lower lr (now {self.config.lr:g}) or check the activations"
            )
        return StepMetrics(len(x), error, float((codes.value > 0).sum()) / len(x), len(dead), aux, lr)

    def weights(self) -> Weights:
        """Weights on scaled inputs, in SAELens' layout, on the CPU."""
        p = {k: v.detach().cpu() for k, v in self.parameters.items()}
        threshold = None
        if self.config.architecture == "batchtopk":
            threshold = torch.full((self.config.d_sae,), float(self.threshold))
        return Weights(p["W_enc_t"].T.contiguous(), p["b_enc"], p["W_dec"], p["b_dec"], threshold)

    def state(self) -> dict[str, Tensor]:
        """All that a later step depends on, as tensors."""
        tensors = {k: v.detach() for k, v in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{key}"] = value
        step = torch.tensor(self.step_number, dtype=torch.int64)
        return {**tensors, "tokens_since_active": self.tokens_since_active, "threshold": self.threshold, "step": step}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restores what state() gave."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state[name])
                keys = [k for k in state if k.startswith(f"adam.{name}.")]
                # Fused Adam keeps `step` on the parameter's device, like its moments.
                moments = {k.rsplit(".", 1)[1]: state[k].to(self.device, copy=True) for k in keys}
                if moments:
                    self.optimizer.state[parameter] = moments
        self.tokens_since_active = state["tokens_since_active"].to(self.device, copy=True)
        self.threshold = state["threshold"].to(self.device, copy=True)
        self.step_number = int(state["step"])

    def _encode(self, centred: Tensor) -> Tensor:
        p = self.parameters
        if self.autocast:
            return (centred.bfloat16() @ p["W_enc_t"].bfloat16().T).float() + p["b_enc"]
        if len(self._buffer) < len(centred):
            # One buffer for the whole run: fresh pages for [n, d_sae] at each step cost a fifth of the product.
            self._buffer = torch.empty(len(centred), self.config.d_sae, device=self.device)
        return torch.addmm(p["b_enc"], centred, p["W_enc_t"].T, out=self._buffer[: len(centred)])

    def _aux(self, pre: Tensor, centred: Tensor, residual: Tensor, dead: Tensor) -> tuple[float, sparse.Gradients]:
        """Dead latents reconstruct what the others left over (Gao et al. 2024, appendix A.2)."""
        codes = sparse.topk(pre[:, dead], min(self.config.aux_k, len(dead)))
        codes = codes._replace(latent=dead[codes.latent])
        error = sparse.decode(codes, self.parameters["W_dec"]) + residual
        grad = error * (2 * self.config.aux_coefficient / error.numel())
        loss = float(error.double().square().sum(1).sum()) / error.numel()
        return loss, sparse.backward(codes, centred, grad, self.parameters["W_dec"])

    def _apply(self, gradients: sparse.Gradients, grad: Tensor, lr: float) -> None:
        p = self.parameters
        W_dec, d_dec = p["W_dec"], gradients.W_dec
        # Decoder rows stay on the unit sphere: drop the part of the gradient along them, renormalise after the step.
        d_dec.addcmul_(W_dec, (d_dec * W_dec).sum(1, keepdim=True), value=-1)
        p["W_enc_t"].grad, p["W_dec"].grad, p["b_enc"].grad = gradients.W_enc_t, d_dec, gradients.b_enc
        # b_dec is added at the output and subtracted at the input.
        p["b_dec"].grad = grad.sum(0) - gradients.b_enc @ p["W_enc_t"]
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    def _count(self, codes: sparse.Codes, tokens: int) -> None:
        self.tokens_since_active += tokens
        active = codes.value > 0
        self.tokens_since_active[codes.latent[active]] = 0
        if self.config.architecture == "batchtopk" and bool(active.any()):
            smallest = codes.value[active].min().double()
            decay = self.config.threshold_decay
            self.threshold = smallest if self.threshold == 0 else decay * self.threshold + (1 - decay) * smallest

    def _dead_count(self) -> int:
        return int((self.tokens_since_active >= self.config.dead_after_tokens).sum())
