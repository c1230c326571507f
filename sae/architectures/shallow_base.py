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
from sae.linear import bf16_linear, linear
from sae.sparse import Codes, Gradients

AnyConfig = TypeVar("AnyConfig", bound=ShallowConfig)


class Weights(NamedTuple):
    """W_enc_t [d_sae, d], b_enc [d_sae], W_dec [d_sae, d_out] with rows of length 1, b_dec [d_out]; without gradient."""

    W_enc_t: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor


class Sides(NamedTuple):
    """What the encoder reads [n, d], and what latents are to make [n, d_out]; one tensor, unless it is a transcoder."""

    input: Tensor
    target: Tensor


class ShallowSae(Generic[AnyConfig]):
    """Parameters W_enc_t [d_sae, d], W_dec [d_sae, d_out], b_enc [d_sae], b_dec [d_out]; b_dec starts at the activations' mean.

    An autoencoder subtracts b_dec from its input, and d_out is d. A transcoder subtracts the input's mean, and may have a
    parameter W_skip [d, d_out] (Paulo et al. 2025): latents make what is left of the target.
    Subclasses give `choose`, `saelens` and `encode`; `tensors` if they export more, and `gradients` if their loss is another.
    `autocast` runs the encoder's dense product in bf16; weights stay fp32.
    """

    revived_length = 1.0

    def __init__(
        self,
        config: AnyConfig,
        calibration: Calibration,
        device: str,
        autocast: bool,
        *others: Calibration,
    ) -> None:
        self.config, self.calibration, self.autocast = config, calibration, autocast
        target = None if config.target_hook is None else others[0]
        self.hook_widths = [len(one.mean) for one in others] if config.is_crosscoder else [len(calibration.mean)]
        self.target = calibration if target is None else target
        self.d_out = len(self.target.mean)
        self._mean = (calibration.mean * calibration.scale).to(device)
        generator = torch.Generator().manual_seed(config.seed)
        W_dec = normalize(torch.randn(config.d_sae, self.d_out, generator=generator), dim=1)
        start = self.initial(W_dec, self.target.mean * self.target.scale)
        if target is not None:
            d = len(calibration.mean)
            start["W_enc_t"] = normalize(torch.randn(config.d_sae, d, generator=generator), dim=1)
            if config.skip_connection:
                start["W_skip"] = torch.zeros(d, self.d_out)
        self.parameters = {k: v.to(device).requires_grad_() for k, v in start.items()}

    def initial(self, W_dec: Tensor, b_dec: Tensor) -> dict[str, Tensor]:
        """The initial parameters, from the decoder's [d_sae, d_out]."""
        return {"W_enc_t": W_dec.clone(), "W_dec": W_dec, "b_enc": torch.zeros(len(W_dec)), "b_dec": b_dec}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See Architecture. Tensors under SAELens' names; a threshold or the biases of gates may be missing."""
        scaled = unfold(tensors, self.calibration.scale, self.target.scale)
        if self.config.target_hook is not None:
            scaled = self._for_raw_inputs(scaled, -self._mean.cpu())  # and back
        load_parameters(self.parameters, self.loadable(scaled), self.config.label)

    def loadable(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Parameters from an SAE's tensors on scaled activations, decoder rows of length 1."""
        transposed = {"W_enc_t": "W_enc", "W_skip": "W_skip"}
        return {**tensors, **{own: tensors[name].T for own, name in transposed.items() if name in tensors}}

    def choose(self, pre: Tensor, step: Step) -> Codes:
        """Active latents in training, of pre-activations [n, d_sae]."""
        raise NotImplementedError

    def start(self, x: Tensor) -> None:
        """See Architecture."""

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        weights = self.weights()
        sides = self.sides(x, weights)
        pre = self.pre_activations(sides.input, weights)
        codes = self.choose(pre, step)
        residual = sparse.decode(codes, weights.W_dec).sub_(sides.target)
        squared_error = squares(residual)
        extra, aux = self.auxiliary(pre, sides.input, residual, weights.W_dec, step.dead)
        slope = residual.mul_(2 / residual.numel())
        found = sparse.backward(codes, sides.input, slope, weights.W_dec)
        gradients = self.parameter_gradients(added(found, extra), slope, sides.input, weights)
        return Pass(codes, gradients, squared_error, aux, slope)

    def parameter_gradients(
        self, found: Gradients, slope: Tensor, inputs: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Gradients of the parameters, from those of `weights` and that of the output `slope` [n, d_out]."""
        gradients = {
            "W_enc_t": found.W_enc_t,
            # Decoder rows stay on the unit sphere: the gradient along them is dropped, and after_step normalises.
            "W_dec": found.W_dec.addcmul_(weights.W_dec, found.radial[:, None], value=-1),
            "b_enc": found.b_enc,
            "b_dec": slope.sum(0),
        }
        if self.config.target_hook is None:  # b_dec is added at the output and subtracted at the input
            gradients["b_dec"] -= found.b_enc @ weights.W_enc_t
        if "W_skip" in self.parameters:
            gradients["W_skip"] = inputs.T @ slope
        return self._of_free_lengths(gradients) if self.config.free_decoder else gradients

    def revive(self, dead: Tensor, directions: Tensor) -> tuple[str, ...]:
        """See Architecture. Encoder rows get the others' mean length, or `revived_length` of it."""
        p = self.parameters
        alive = torch.ones(len(p["W_dec"]), dtype=torch.bool, device=dead.device)
        alive[dead] = False
        length = p["W_enc_t"][alive].norm(dim=1).double().mean() if bool(alive.any()) else torch.ones(())
        along = directions if self.config.target_hook is None else normalize(p["W_enc_t"][dead], dim=1)
        p["W_dec"][dead] = directions
        p["W_enc_t"][dead] = along * (self.revived_length * float(length))
        for name in p.keys() & {"b_enc", "b_gate", "b_mag", "r_mag"}:
            p[name][dead] = 0
        return tuple(name for name in p if name not in ("b_dec", "W_skip"))

    def after_step(self) -> None:
        """See Architecture."""
        if not self.config.free_decoder:
            W_dec = self.parameters["W_dec"]
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    def measure(self, x: Tensor) -> None:
        """See Architecture."""

    def sides(self, x: Tensor, weights: Weights) -> Sides:
        """Input and target of activations `x` [n, d], or [n, d + d_out] of a transcoder."""
        if self.config.target_hook is None:
            centred = x - weights.b_dec
            return Sides(centred, centred)
        inputs = x[:, : len(self._mean)] - self._mean
        target = x[:, len(self._mean) :] - weights.b_dec
        skip = self.parameters.get("W_skip")
        return Sides(inputs, target if skip is None else target.sub_(inputs @ skip.detach()))

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
        scale, config = self.calibration.scale, self.saelens()
        if self.config.target_hook is None:
            return Export(fold(self.tensors(), scale), {"apply_b_dec_to_input": True, **config})
        tensors = self.tensors()
        kind = "transcoder"
        if "W_skip" in self.parameters:
            kind, tensors["W_skip"] = "skip_transcoder", self.parameters["W_skip"].detach().cpu().T
        tensors = self._for_raw_inputs(tensors, self._mean.cpu())
        if config["architecture"] != "standard":  # SAELens has those of ReLU and JumpReLU
            kind = f"{config['architecture']}_{kind}"
        config |= {"architecture": kind, "d_out": self.d_out, "apply_b_dec_to_input": False}
        return Export(fold(tensors, scale, self.target.scale), config)

    def biases_less(self, tensors: dict[str, Tensor], shift: Tensor) -> dict[str, Tensor]:
        """What changes of the encoder's biases where its products are larger by `shift` [d_sae]."""
        return {"b_enc": tensors["b_enc"] - shift} if "b_enc" in tensors else {}

    def _for_raw_inputs(self, tensors: dict[str, Tensor], mean: Tensor) -> dict[str, Tensor]:
        """Tensors for inputs from which `mean` [d] is not subtracted, from those for inputs from which it is."""
        tensors = {**tensors, **self.biases_less(tensors, mean @ tensors["W_enc"])}
        if "W_skip" in tensors:
            tensors["b_dec"] = tensors["b_dec"] - tensors["W_skip"] @ mean
        return tensors

    def pre_activations(self, inputs: Tensor, weights: Weights) -> Tensor:
        """Pre-activations [n, d_sae] of the encoder's centred inputs."""
        if self.autocast:
            return bf16_linear(inputs, weights.W_enc_t, weights.b_enc)
        return linear(inputs, weights.W_enc_t, weights.b_enc)

    def auxiliary(
        self, pre: Tensor, inputs: Tensor, residual: Tensor, W_dec: Tensor, dead: Tensor
    ) -> tuple[Gradients | None, Tensor]:
        """Dead latents reconstruct what the others left over, `residual` (Gao et al. 2024, appendix A.2)."""
        if not (self.config.aux_coefficient and len(dead)):
            return None, residual.new_zeros(())
        codes = sparse.topk(pre[:, dead], min(self.config.aux_k, len(dead)))
        codes = codes._replace(latent=dead[codes.latent])
        error = sparse.decode(codes, W_dec).add_(residual)
        aux = squares(error) / error.numel()
        return sparse.backward(codes, inputs, error.mul_(2 * self.config.aux_coefficient / error.numel()), W_dec), aux

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


def exported_pre_activations(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Tensor:
    """Pre-activations [n, d_sae] of raw activations x [n, d], from exported tensors."""
    return linear(encoder_input(tensors, config, x), tensors["W_enc"].T, tensors["b_enc"])


def encoder_input(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Tensor:
    """What an exported encoder reads of raw activations x [n, d]: an autoencoder subtracts its output's bias."""
    return x.float() - tensors["b_dec"] if config.get("apply_b_dec_to_input", True) else x.float()


# Tensors that are in units of pre-activations.
_IN_UNITS = ("b_enc", "threshold", "b_gate", "b_mag")


def fold(tensors: Mapping[str, Tensor], scale: float, target_scale: float | None = None) -> dict[str, Tensor]:
    """Tensors on raw activations, from tensors on `scale` times these: the scale and the decoder's norms are folded in.

    Knows W_enc [d, d_sae], W_dec [d_sae, d_out], W_skip [d_out, d], b_dec [d_out] and what is in units of pre-activations
    [d_sae]: b_enc, threshold, b_gate, b_mag. Others stay as they are. `target_scale`: the scale of a transcoder's target.
    """
    output = scale if target_scale is None else target_scale
    W_dec, b_dec = tensors["W_dec"] / output, tensors["b_dec"] / output
    norms = W_dec.norm(dim=1)
    folded = {"W_enc": tensors["W_enc"] * scale * norms, "W_dec": W_dec / norms[:, None], "b_dec": b_dec}
    if "W_skip" in tensors:
        folded["W_skip"] = tensors["W_skip"] * (scale / output)
    in_units = {name: tensors[name] * norms for name in _IN_UNITS if name in tensors}
    return {**tensors, **folded, **in_units}


def unfold(tensors: Mapping[str, Tensor], scale: float, target_scale: float) -> dict[str, Tensor]:
    """Tensors on scaled activations with decoder rows of length 1, from any on raw ones: the inverse of fold()."""
    norms = tensors["W_dec"].norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    found = {**tensors, "W_dec": tensors["W_dec"] / norms[:, None], "b_dec": tensors["b_dec"] * target_scale}
    if "W_enc" in tensors:
        found["W_enc"] = tensors["W_enc"] * norms * (target_scale / scale)
    if "W_skip" in tensors:
        found["W_skip"] = tensors["W_skip"] * (target_scale / scale)
    return found | {name: tensors[name] * norms * target_scale for name in _IN_UNITS if name in tensors}


def load_parameters(parameters: Mapping[str, Tensor], loaded: Mapping[str, Tensor], label: str) -> None:
    """Copies the parameters that there are. Raises ValueError if weights or b_dec are missing, or one has another shape."""
    for name, parameter in parameters.items():
        if name not in loaded and name.startswith(("W_", "b_dec")):
            raise ValueError(f"start_from of {label}: that SAE has no {name.removesuffix('_t')}")
        if name in loaded and loaded[name].shape != parameter.shape:
            raise ValueError(
                f"start_from of {label}: {name.removesuffix('_t')} has shape {list(loaded[name].shape)} there, and "
                f"{list(parameter.shape)} here"
            )
    with torch.no_grad():
        for name in parameters.keys() & loaded.keys():
            parameters[name].copy_(loaded[name])


def squares(x: Tensor) -> Tensor:
    """Sum of all squares: row by row in fp32, then in float64."""
    return x.square().sum(1).double().sum()
