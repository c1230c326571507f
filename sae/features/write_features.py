"""The end of an extraction: merges the chunks' sketches and writes the features artifact into a folder."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from sae.features.histogram import BINS, LOWEST, PER_OCTAVE
from sae.features.logit_lens import Ranked, logit_lens, nearest
from sae.features.sampling import Quota
from sae.features.sketch import WINDOW_AFTER, WINDOW_BEFORE, Sketch, Space, merge
from sae.features.tables import PROBABILITIES, Directions, write_examples, write_features
from sae.formats.features import EXAMPLES, FEATURES, INFO, FeaturesInfo, write_info
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel


def finish(
    folder: Path,
    sketches: Iterable[Sketch],
    space: Space,
    quota: Quota,
    sae: Sae,
    lm: LanguageModel,
    tokenizer: Any,
    settings: dict[str, Any],
    split: str,
    inputs: dict[str, str],
) -> FeaturesInfo:
    """Writes features.parquet, examples.parquet and features.json from sketches in chunk order.

    `settings` is the science part of the extract config without the SAE. Raises ValueError if no position is data.
    """
    merged = merge(sketches, space, quota)
    if merged.positions == 0:
        raise ValueError(f"none of the {space.rows} rows has a data position ({merged.excluded}): check the tokens")
    write_examples(folder / EXAMPLES, merged, space, quota, settings["quantiles"])
    directions = describe(sae, lm, tokenizer, settings["logit_tokens"], settings["neighbours"])
    write_features(folder / FEATURES, merged, directions, settings["quantiles"])
    info = FeaturesInfo(
        hook=str(sae.metadata["hook_name"]),
        split=split,
        rows=space.rows,
        context_length=space.context_length,
        tokens=space.rows * space.context_length,
        data_positions=merged.positions,
        excluded=merged.excluded,
        n_features=space.features,
        alive=int((merged.counts > 0).sum()),
        l0=int(merged.counts.sum()) / merged.positions,
        quantile_probabilities=PROBABILITIES,
        grid={"per_octave": PER_OCTAVE, "lowest": LOWEST, "bins": BINS},
        window={"before": WINDOW_BEFORE, "after": WINDOW_AFTER},
        settings=settings,
        inputs=inputs,
    )
    write_info(folder / INFO, info)
    return info


@torch.inference_mode()
def describe(sae: Sae, lm: LanguageModel, tokenizer: Any, logit_tokens: int, neighbours: int) -> Directions:
    """Lens and neighbours of every decoder direction; the lens is empty where it has no meaning at the SAE's hook."""
    unembedding = lm.unembedding(lm.hook(str(sae.metadata["hook_name"])))
    if not isinstance(unembedding, str):
        lens = logit_lens(sae.W_dec, unembedding.W_U.to(sae.W_dec.device), unembedding.centered, logit_tokens)
    else:
        none = Ranked(torch.zeros(sae.d_sae, 0, dtype=torch.int64), torch.zeros(sae.d_sae, 0))
        lens = none, none

    @cache
    def token_text(token: int) -> str:
        return str(tokenizer.decode([token]))

    return Directions(*lens, nearest(sae.W_dec, neighbours), token_text)
