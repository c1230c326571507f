"""One encoder layer, a choice of active latents, one decoder layer: what TopK and its relatives share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from configs.architectures import ShallowConfig
from sae import sparse
from sae.architectures import Export, Pass
from sae.calibration import Calibration
from sae.linear import linear
from sae.sparse import Codes

AnyConfig = TypeVar("AnyConfig", bound=ShallowConfig)


class ShallowSae(Generic[AnyConfig]):
    """Parameters W_enc_t [d_sae, d], W_dec [d_sae, d], b_enc [d_sae], b_dec [d]; b_dec starts at the activations' mean.

    Subclasses give `choose`, `saelens` and `encode`; and `tensors` if they export more. `autocast` runs the encoder's dense
    product in bf16; weights stay fp32.
    """

    def __init__(self, config: AnyConfig, calibration: Calibration, device: str, autocast: bool) -> None:
        self.config, self.calibration, self.autocast = config, calibration, autocast
        generator = torch.Generator().manual_seed(config.seed)
        W_dec = normalize(torch.randn(config.d_sae, len(calibration.mean), generator=generator), dim=1)
        start = {
            "W_enc_t": W_dec.clone(),
            "W_dec": W_dec,
            "b_enc": torch.zeros(config.d_sae),
            "b_dec": calibration.mean * calibration.scale,
        }
        self.parameters = {k: v.to(device).requires_grad_() for k, v in start.items()}

    def choose(self, pre: Tensor) -> Codes:
        """Active latents in training, of pre-activations [n, d_sae]."""
        raise NotImplementedError

    def gradients(self, x: Tensor, dead: Tensor) -> Pass:
        """See Architecture."""
        p = {name: parameter.detach() for name, parameter in self.parameters.items()}
        centred = x - p["b_dec"]
        pre = self.pre_activations(centred)
        codes = self.choose(pre)
        residual = sparse.decode(codes, p["W_dec"]).sub_(centred)  # the reconstruction minus x
        squared_error = _squares(residual)
        extra, aux = None, residual.new_zeros(())
        if self.config.aux_coefficient and len(dead):
            extra, aux = self._auxiliary(pre, centred, residual, dead)
        grad = residual.mul_(2 / residual.numel())
        found = sparse.backward(codes, centred, grad, p["W_dec"])
        if extra is not None:
            found = sparse.Gradients(*(a.add_(b) for a, b in zip(found, extra, strict=True)))
        gradients = {
            "W_enc_t": found.W_enc_t,
            # Decoder rows stay on the unit sphere: the gradient along them is dropped, and after_step normalises.
            "W_dec": found.W_dec.addcmul_(p["W_dec"], found.radial[:, None], value=-1),
            "b_enc": found.b_enc,
            # b_dec is added at the output and subtracted at the input.
            "b_dec": grad.sum(0) - found.b_enc @ p["W_enc_t"],
        }
        return Pass(codes, gradients, squared_error, aux)

    def after_step(self) -> None:
        """See Architecture."""
        W_dec = self.parameters["W_dec"]
        W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    def measure(self, x: Tensor) -> None:
        """See Architecture."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors on scaled activations, under SAELens' names, on the CPU."""
        p = {k: v.detach().cpu() for k, v in self.parameters.items()}
        return {"W_enc": p["W_enc_t"].T, "b_enc": p["b_enc"], "W_dec": p["W_dec"], "b_dec": p["b_dec"]}

    def saelens(self) -> dict[str, Any]:
        """Keys of SAELens' config that this architecture has of its own."""
        raise NotImplementedError

    def export(self) -> Export:
        """See Architecture."""
        return Export(fold(self.tensors(), self.calibration.scale), {"apply_b_dec_to_input": True, **self.saelens()})

    def pre_activations(self, centred: Tensor) -> Tensor:
        """Pre-activations [n, d_sae] of x - b_dec."""
        W_enc_t, b_enc = self.parameters["W_enc_t"].detach(), self.parameters["b_enc"].detach()
        if self.autocast:
            return linear(centred.bfloat16(), W_enc_t.bfloat16()) + b_enc
        return linear(centred, W_enc_t, b_enc)

    def _auxiliary(
        self, pre: Tensor, centred: Tensor, residual: Tensor, dead: Tensor
    ) -> tuple[sparse.Gradients, Tensor]:
        """Dead latents reconstruct what the others left over (Gao et al. 2024, appendix A.2)."""
        W_dec = self.parameters["W_dec"].detach()
        codes = sparse.topk(pre[:, dead], min(self.config.aux_k, len(dead)))
        codes = codes._replace(latent=dead[codes.latent])
        error = sparse.decode(codes, W_dec).add_(residual)
        aux = _squares(error) / error.numel()
        return sparse.backward(codes, centred, error.mul_(2 * self.config.aux_coefficient / error.numel()), W_dec), aux


def exported_pre_activations(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Pre-activations [n, d_sae] of raw activations x [n, d], from exported tensors."""
    return linear(x.float() - tensors["b_dec"], tensors["W_enc"].T, tensors["b_enc"])


def fold(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Tensors on raw activations, from tensors on `scale` times these: the scale and the decoder's norms are folded in.

    Knows W_enc [d, d_sae], b_enc [d_sae], W_dec [d_sae, d], b_dec [d] and, if it is there, threshold [d_sae].
    """
    W_dec, b_dec = tensors["W_dec"] / scale, tensors["b_dec"] / scale
    norms = W_dec.norm(dim=1)
    folded = {"W_enc": tensors["W_enc"] * scale * norms, "W_dec": W_dec / norms[:, None], "b_dec": b_dec}
    return {**folded, **{name: tensors[name] * norms for name in ("b_enc", "threshold") if name in tensors}}


def _squares(x: Tensor) -> Tensor:
    """Sum of all squares: row by row in fp32, then in float64."""
    return x.square().sum(1).double().sum()
