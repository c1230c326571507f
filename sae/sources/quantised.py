"""Refuses quantised models before anything of them is fetched."""

from __future__ import annotations

import json
from pathlib import Path

from sae.sources.file_selection import SourceError

_READ_AS_FLOATS = ("mxfp4",)  # transformers turns these into floats itself


def check_not_quantised(config_json: Path, where: str) -> None:
    """Raises SourceError if a model's config.json says that its weights are quantised. A file that is none says nothing."""
    try:
        quantisation = json.loads(config_json.read_text(encoding="utf-8")).get("quantization_config")
        method = str(quantisation.get("quant_method", "an unnamed method"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return
    if method not in _READ_AS_FLOATS:
        raise SourceError(
            f"{where} is quantised with {method} (quantization_config in its config.json), which is not read: take the "
            "model in float, or convert it to float first"
        )
