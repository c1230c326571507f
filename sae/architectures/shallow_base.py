"""One encoder layer, a choice of active latents, one decoder layer: what most architectures share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from configs.architectures import ShallowConfig
from sae import sparse
from sae.architectures import Export, Pass, Step
from sae.calibration import Calibration
from sae.linear import linear
from sae.sparse import Codes, Gradients

AnyConfig = TypeVar("AnyConfig", bound=ShallowConfig)


class Weights(NamedTuple):
    """W_enc_t [d_sae, d], b_enc [d_sae], W_dec [d_sae, d] with rows of length 1, b_dec [d]; without gradient."""

    W_enc_t: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor


class ShallowSae(Generic[AnyConfig]):
    """Parameters W_enc_t [d_sae, d], W_dec [d_sae, d], b_enc [d_sae], b_dec [d]; b_dec starts at the activations' mean.

    Subclasses give `choose`, `saelens` and `encode`; `tensors` if they export more, and `gradients` if their loss is another.
    `autocast` runs the encoder's dense product in bf16; weights stay fp32.
    """

    def __init__(self, config: AnyConfig, calibration: Calibration, device: str, autocast: bool) -> None:
        self.config, self.calibration, self.autocast = config, calibration, autocast
        generator = torch.Generator().manual_seed(config.seed)
        W_dec = normalize(torch.randn(config.d_sae, len(calibration.mean), generator=generator), dim=1)
        start = self.initial(W_dec, calibration.mean * calibration.scale)
        self.parameters = {k: v.to(device).requires_grad_() for k, v in start.items()}

    def initial(self, W_dec: Tensor, b_dec: Tensor) -> dict[str, Tensor]:
        """The initial parameters, from the decoder's [d_sae, d]."""
        return {"W_enc_t": W_dec.clone(), "W_dec": W_dec, "b_enc": torch.zeros(len(W_dec)), "b_dec": b_dec}

    def choose(self, pre: Tensor) -> Codes:
        """Active latents in training, of pre-activations [n, d_sae]."""
        raise NotImplementedError

    def start(self, x: Tensor) -> None:
        """See Architecture."""

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        weights = self.weights()
        centred = x - weights.b_dec
        pre = self.pre_activations(centred, weights)
        codes = self.choose(pre)
        residual = sparse.decode(codes, weights.W_dec).sub_(centred)  # the reconstruction minus x
        squared_error = squares(residual)
        extra, aux = self.auxiliary(pre, centred, residual, weights.W_dec, step.dead)
        grad = residual.mul_(2 / residual.numel())
        found = sparse.backward(codes, centred, grad, weights.W_dec)
        return Pass(codes, self.parameter_gradients(added(found, extra), grad.sum(0), weights), squared_error, aux)

    def parameter_gradients(self, found: Gradients, output: Tensor, weights: Weights) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of `weights` and that of the output's sum over positions [d]."""
        gradients = {
            "W_enc_t": found.W_enc_t,
            # Decoder rows stay on the unit sphere: the gradient along them is dropped, and after_step normalises.
            "W_dec": found.W_dec.addcmul_(weights.W_dec, found.radial[:, None], value=-1),
            "b_enc": found.b_enc,
            # b_dec is added at the output and subtracted at the input.
            "b_dec": output - found.b_enc @ weights.W_enc_t,
        }
        return self._of_free_lengths(gradients) if self.config.free_decoder else gradients

    def after_step(self) -> None:
        """See Architecture."""
        if not self.config.free_decoder:
            W_dec = self.parameters["W_dec"]
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    def measure(self, x: Tensor) -> None:
        """See Architecture."""

    def weights(self) -> Weights:
        """The weights that compute: of free decoder rows the lengths are moved into the encoder."""
        p = {name: parameter.detach() for name, parameter in self.parameters.items()}
        W_enc_t, b_enc, W_dec = p["W_enc_t"], p["b_enc"], p["W_dec"]
        if self.config.free_decoder:
            length = W_dec.norm(dim=1)
            W_enc_t, b_enc, W_dec = W_enc_t * length[:, None], b_enc * length, W_dec / length[:, None]
        return Weights(W_enc_t, b_enc, W_dec, p["b_dec"])

    def tensors(self) -> dict[str, Tensor]:
        """Tensors on scaled activations, under SAELens' names, on the CPU."""
        w = Weights(*(tensor.cpu() for tensor in self.weights()))
        return {"W_enc": w.W_enc_t.T, "b_enc": w.b_enc, "W_dec": w.W_dec, "b_dec": w.b_dec}

    def saelens(self) -> dict[str, Any]:
        """Keys of SAELens' config that this architecture has of its own."""
        raise NotImplementedError

    def export(self) -> Export:
        """See Architecture."""
        return Export(fold(self.tensors(), self.calibration.scale), {"apply_b_dec_to_input": True, **self.saelens()})

    def pre_activations(self, centred: Tensor, weights: Weights) -> Tensor:
        """Pre-activations [n, d_sae] of x - b_dec."""
        if self.autocast:
            return linear(centred.bfloat16(), weights.W_enc_t.bfloat16()) + weights.b_enc
        return linear(centred, weights.W_enc_t, weights.b_enc)

    def auxiliary(
        self, pre: Tensor, centred: Tensor, residual: Tensor, W_dec: Tensor, dead: Tensor
    ) -> tuple[Gradients | None, Tensor]:
        """Dead latents reconstruct what the others left over, `residual` (Gao et al. 2024, appendix A.2)."""
        if not (self.config.aux_coefficient and len(dead)):
            return None, residual.new_zeros(())
        codes = sparse.topk(pre[:, dead], min(self.config.aux_k, len(dead)))
        codes = codes._replace(latent=dead[codes.latent])
        error = sparse.decode(codes, W_dec).add_(residual)
        aux = squares(error) / error.numel()
        return sparse.backward(codes, centred, error.mul_(2 * self.config.aux_coefficient / error.numel()), W_dec), aux

    def _of_free_lengths(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gradients of parameters whose decoder rows have any length, from those of weights()."""
        W_enc_t, b_enc, W_dec = (self.parameters[name].detach() for name in ("W_enc_t", "b_enc", "W_dec"))
        length = W_dec.norm(dim=1)
        d_length = (gradients["W_enc_t"] * W_enc_t).sum(1) + gradients["b_enc"] * b_enc
        return {
            **gradients,
            "W_enc_t": gradients["W_enc_t"] * length[:, None],
            "b_enc": gradients["b_enc"] * length,
            "W_dec": (gradients["W_dec"] + d_length[:, None] * W_dec) / length[:, None],
        }


def added(found: Gradients, extra: Gradients | None) -> Gradients:
    """The sum of two gradients, in place."""
    return found if extra is None else Gradients(*(a.add_(b) for a, b in zip(found, extra, strict=True)))


def exported_pre_activations(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Pre-activations [n, d_sae] of raw activations x [n, d], from exported tensors."""
    return linear(x.float() - tensors["b_dec"], tensors["W_enc"].T, tensors["b_enc"])


def fold(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Tensors on raw activations, from tensors on `scale` times these: the scale and the decoder's norms are folded in.

    Knows W_enc [d, d_sae], W_dec [d_sae, d], b_dec [d] and what is in units of pre-activations [d_sae]: b_enc, threshold,
    b_gate, b_mag. Others stay as they are.
    """
    W_dec, b_dec = tensors["W_dec"] / scale, tensors["b_dec"] / scale
    norms = W_dec.norm(dim=1)
    folded = {"W_enc": tensors["W_enc"] * scale * norms, "W_dec": W_dec / norms[:, None], "b_dec": b_dec}
    in_units = {name: tensors[name] * norms for name in ("b_enc", "threshold", "b_gate", "b_mag") if name in tensors}
    return {**tensors, **folded, **in_units}


def squares(x: Tensor) -> Tensor:
    """Sum of all squares: row by row in fp32, then in float64."""
    return x.square().sum(1).double().sum()
