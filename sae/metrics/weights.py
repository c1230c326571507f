"""What an evaluation measures of weights alone: overlaps of latents, matches with other seeds and with planted features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sae.formats.sae_folder import Sae
from sae.metrics.directions import matched_cosines, nearest, nearest_of_own, random_directions

NAME = "weights.safetensors"
_RANDOM_SEED = 20_260_214
Floats = NDArray[np.float64]


class Weights(NamedTuple):
    """Of one SAE with n latents; an array that does not apply to it is empty.

    `decoder_overlap`, `encoder_overlap` [n]: largest cosine with another row of the decoder, of the encoder.
    `encoder_decoder` [n]: cosine of both rows of a latent. `encoder_norm`, `encoder_bias` [n]. `stability` [n]: best absolute
    cosine in each other seed's decoder, averaged over the seeds. `matched` [seeds, n], `random` [n]: cosines of one-to-one
    matches with each other seed, and with random directions. `planted` [min(n, F)]: with planted features; `nearest` [n] is
    the feature nearest to each latent.
    """

    decoder_overlap: Floats
    encoder_overlap: Floats
    encoder_decoder: Floats
    encoder_norm: Floats
    encoder_bias: Floats
    stability: Floats
    matched: Floats
    random: Floats
    planted: Floats
    nearest: NDArray[np.int64]


@torch.inference_mode()
def measure_weights(sae: Sae, seeds: Sequence[Sae] = (), planted: Tensor | None = None) -> Weights:
    """Measures one SAE. `seeds`: SAEs that differ by their seed alone. `planted` [F, d]: planted directions."""
    none = np.zeros(0)
    W_dec, W_enc, b_enc = sae.directions, sae.encoder_directions, sae.tensors.get("b_enc")
    rows = None if W_enc is None or W_enc.T.shape[0] != sae.d_sae else W_enc.T.contiguous()
    of_seeds = [nearest(W_dec, other.directions)[0] for other in seeds]
    planted = None if planted is None else planted.to(W_dec)
    random = random_directions(sae.d_sae, W_dec.shape[1], _RANDOM_SEED).to(W_dec)
    return Weights(
        decoder_overlap=_floats(nearest_of_own(W_dec)),
        encoder_overlap=none if rows is None else _floats(nearest_of_own(rows)),
        encoder_decoder=_floats(cosine_similarity(rows, W_dec)) if rows is not None and not sae.is_transcoder else none,
        encoder_norm=none if rows is None else _floats(rows.norm(dim=1)),
        encoder_bias=none if b_enc is None else _floats(b_enc),
        stability=_floats(torch.stack(of_seeds).mean(dim=0)) if seeds else none,
        matched=np.stack([matched_cosines(W_dec, other.directions) for other in seeds]).astype(float)
        if seeds
        else none,
        random=matched_cosines(W_dec, random).astype(float) if seeds else none,
        planted=none if planted is None else matched_cosines(W_dec, planted).astype(float),
        nearest=none.astype(np.int64) if planted is None else nearest(W_dec, planted)[1].cpu().numpy(),
    )


def weight_figures(weights: Weights) -> dict[str, float | None]:
    """Means over latents, as SAEBench's core reports them; null where the architecture has no such weights."""

    def mean(values: Floats) -> float | None:
        return float(values.mean()) if len(values) else None

    return {
        "decoder_overlap": mean(weights.decoder_overlap),
        "encoder_overlap": mean(weights.encoder_overlap),
        "encoder_decoder_cosine": mean(weights.encoder_decoder),
        "encoder_norm": mean(weights.encoder_norm),
        "encoder_bias": mean(weights.encoder_bias),
    }


def save_weights(found: Sequence[Weights], path: Path) -> None:
    """Writes what was measured of several SAEs."""
    arrays = {f"{number}/{name}": value for number, one in enumerate(found) for name, value in one._asdict().items()}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path)


def load_weights(path: Path) -> list[Weights]:
    """Reads what save_weights wrote."""
    arrays = load_file(path)
    count = len({name.partition("/")[0] for name in arrays})
    return [Weights(**{name: arrays[f"{number}/{name}"] for name in Weights._fields}) for number in range(count)]


def _floats(tensor: Tensor) -> Floats:
    values: Floats = tensor.double().cpu().numpy()
    return values
