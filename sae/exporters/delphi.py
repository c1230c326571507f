"""delphi's cache of latents: `HOOKPOINT/FIRST_LAST.safetensors`, one file for a range of latents, and `config.json`.

Each file holds `locations` [m, 3] (row, position, latent less FIRST), `activations` [m] in fp16, and all `tokens`. Positions that
are no data have no activations. An activation that fp16 would make zero is left out, as one that does not fire.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from sae.exporters import ExportSource

SPLITS = 5  # files, as delphi makes by default


def write(source: ExportSource, folder: Path) -> None:
    """See sae.exporters."""
    codes = source.codes
    assert codes is not None, "the stage gives codes for this format"
    batches = list(codes.batches())
    location = np.concatenate([batch.location for batch in batches])
    value = np.concatenate([batch.value for batch in batches]).astype(np.float16)
    location, value = location[value > 0], value[value > 0]
    own = folder / source.module
    own.mkdir(parents=True)
    tokens = codes.ids()
    bounds = np.linspace(0, source.sae.d_sae, min(SPLITS, source.sae.d_sae) + 1).astype(int)
    for first, stop in pairwise(bounds):
        save_file({**_part(location, value, first, stop), "tokens": tokens}, own / f"{first}_{stop - 1}.safetensors")
    config = {
        "batch_size": 1,
        "cache_ctx_len": codes.tokens.context_length,
        "dataset_column": "text",
        "dataset_name": "",
        "dataset_repo": source.dataset,
        "dataset_split": codes.tokens.split,
        "model_name": source.sae.metadata.get("model_name"),
        "n_splits": len(bounds) - 1,
        "n_tokens": codes.rows * codes.tokens.context_length,
    }
    (own / "config.json").write_text(json.dumps(config, indent=4, sort_keys=True) + "\n")


def _part(
    location: npt.NDArray[np.int64], value: npt.NDArray[np.float16], first: int, stop: int
) -> dict[str, npt.NDArray[Any]]:
    inside = (location[:, 2] >= first) & (location[:, 2] < stop)
    own = location[inside] - np.array([0, 0, first])
    small = not len(own) or int(own.max()) < 2**16
    return {
        "locations": np.ascontiguousarray(own.astype(np.uint16 if small else np.uint32)),
        "activations": np.ascontiguousarray(value[inside]),
    }
