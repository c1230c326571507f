"""The end of an extraction: merges sketches block by block of features and writes the features artifact into a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, reduce
from pathlib import Path
from typing import Any

import torch

from sae.features.histogram import BINS, LOWEST, PER_OCTAVE
from sae.features.logit_lens import logit_lens, nearest
from sae.features.sampling import Quota
from sae.features.sketch import WINDOW_AFTER, WINDOW_BEFORE, SketchMerger, Space, add_totals
from sae.features.sketch_file import SketchFile
from sae.features.tables import PROBABILITIES, Block, Directions, write_tables
from sae.formats.features import INFO, FeaturesInfo, feature_blocks, write_info
from sae.formats.sae_folder import Sae
from sae.joint_hooks import norms_of_hooks
from sae.language_model import load_tokenizer
from sae.language_model.unembedding_files import unembedding_of_folder


def write_artifact(
    folder: Path,
    sketches: Sequence[Path],
    space: Space,
    quota: Quota,
    sae: Sae,
    model: Path,
    settings: dict[str, Any],
    split: str,
    inputs: dict[str, str],
) -> FeaturesInfo:
    """Writes features.parquet, examples.parquet and features.json from sketch files, in memory for a block of features.

    `settings` is the science part of the extract config without the SAE; `model` the language model's folder. Raises
    ValueError if no position is data.
    """
    files = [SketchFile(path) for path in sketches]
    totals = reduce(add_totals, (file.totals for file in files))
    if totals.positions == 0:
        raise ValueError(f"none of the {space.rows} rows has a data position ({totals.excluded}): check the tokens")
    directions, without_lens = describe_directions(sae, model, settings["logit_tokens"], settings["neighbours"])
    write_tables(folder, totals, merged_blocks(files, space, quota), directions, space, quota, settings["quantiles"])
    info = FeaturesInfo(
        hook=str(sae.metadata["hook_name"]),
        hooks=sae.hooks if sae.is_crosscoder else None,
        split=split,
        rows=space.rows,
        context_length=space.context_length,
        tokens=space.rows * space.context_length,
        data_positions=totals.positions,
        excluded=totals.excluded,
        n_features=space.features,
        alive=int((totals.counts > 0).sum()),
        l0=int(totals.counts.sum()) / totals.positions,
        quantile_probabilities=PROBABILITIES,
        histogram={"per_octave": PER_OCTAVE, "lowest": LOWEST, "bins": BINS},
        window={"before": WINDOW_BEFORE, "after": WINDOW_AFTER},
        no_logit_lens=without_lens,
        settings=settings,
        inputs=inputs,
    )
    write_info(folder / INFO, info)
    return info


@torch.inference_mode()
def describe_directions(sae: Sae, model: Path, logit_tokens: int, neighbours: int) -> tuple[Directions, str | None]:
    """Neighbours and logit lens of every decoder direction, and why there is no lens if there is none.

    A crosscoder's lens is of its last hook; lengths at each hook are described, too.
    """
    tokenizer = load_tokenizer(model)

    @cache
    def token_text(token: int) -> str:
        return str(tokenizer.decode([token]))

    near = nearest(sae.directions, neighbours)
    hook, W_dec, norms = sae.target_hook, sae.W_dec, None
    if sae.is_crosscoder:  # what it makes at the last hook is nearest to the logits
        hook, W_dec = sae.hooks[-1], sae.W_dec[:, -sae.widths[-1] :]
        norms = norms_of_hooks(sae.directions, sae.widths)
    unembedding = unembedding_of_folder(model, hook)
    if isinstance(unembedding, str):
        return Directions(near, None, None, token_text, norms), unembedding
    return Directions(near, *logit_lens(W_dec, *unembedding, logit_tokens), token_text, norms), None


def merged_blocks(files: Sequence[SketchFile], space: Space, quota: Quota) -> Iterator[Block]:
    """Histograms and entries of all files together, block by block of features."""
    for number, (first, stop) in enumerate(feature_blocks(space.features)):
        merger = SketchMerger(space, quota)
        for file in files:
            merger.add_features(*file.block(number))
        yield Block(first, stop, *merger.features())
