"""Logistic regression with an L2 penalty, to its optimum by Newton's method: the linear probes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_STEPS = 100
_TOLERANCE = 1e-9  # of the gradient's largest component, in units of one document


class Probe(NamedTuple):
    """A linear probe: a document is of the class where `x @ weights + bias` is positive. weights float64 [d]."""

    weights: Floats
    bias: float

    def logits(self, x: Floats) -> Floats:
        """Of documents x [n, d]: [n]."""
        found: Floats = x @ self.weights + self.bias
        return found


def fit(x: Floats, y: Mask, l2: float) -> Probe:
    """The probe with the least `loss` on documents x [n, d] of the class where y [n] is true.

    Inputs are brought to mean 0 and variance 1, or to 0 if they do not vary; the probe works on raw ones. Both classes must be
    among the documents.
    """
    if not (n := int(y.sum())) or n == len(y):
        raise ValueError("a probe needs documents of both classes")
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12 * (1 + np.abs(mean)))
    z = torch.from_numpy((x - mean) * scale)
    basis = None
    if z.shape[1] > len(z):  # the weights lie in the span of the documents
        basis, triangle = torch.linalg.qr(z.T)
        z = triangle.T
    weights, bias = _newton(z.contiguous(), torch.from_numpy(y.astype(np.float64)), l2)
    if basis is not None:
        weights = basis @ weights
    raw = weights.numpy() * scale
    return Probe(raw, bias - float(raw @ mean))


def loss(z: Tensor, y: Tensor, weights: Tensor, bias: Tensor, l2: float) -> Tensor:
    """Sum over documents of the cross-entropy, and half of l2 times the squared weights. z [n, d], y [n] of 0 and 1."""
    logits = z @ weights + bias
    return torch.nn.functional.softplus(logits).sub(y * logits).sum() + l2 / 2 * weights.square().sum()


def _newton(z: Tensor, y: Tensor, l2: float) -> tuple[Tensor, float]:
    """Weights [d] and bias at the optimum. The loss is convex, so that halved Newton steps reach it from 0."""
    n, d = z.shape
    one = torch.cat([z, torch.ones(n, 1, dtype=z.dtype)], dim=1)
    penalty = torch.full((d + 1,), l2, dtype=z.dtype)
    penalty[-1] = 0
    found = torch.zeros(d + 1, dtype=z.dtype)
    now = loss(z, y, found[:-1], found[-1], l2)
    for _ in range(_STEPS):
        p = torch.sigmoid(one @ found)
        gradient = one.T @ (p - y) + penalty * found
        if float(gradient.abs().max()) <= _TOLERANCE:
            break
        curvature = (p * (1 - p)).clamp(min=1e-12)
        hessian = one.T @ (curvature[:, None] * one) + torch.diag(penalty)
        step = torch.cholesky_solve(gradient[:, None], torch.linalg.cholesky(hessian))[:, 0]
        size = 1.0
        while True:
            tried = found - size * step
            then = loss(z, y, tried[:-1], tried[-1], l2)
            if bool(then <= now) or size < 1e-6:
                break
            size /= 2
        if bool(then > now):
            break  # within rounding of the optimum
        found, now = tried, then
    return found[:-1], float(found[-1])
