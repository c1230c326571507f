"""Models whose weights are read in 8 or 4 bits, by bitsandbytes through transformers, on a GPU.

What is stored are the weights as they came. `quantization.json` beside them says how every stage is to read them.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from configs.download import Quantization
from sae.language_model.errors import ModelError

QUANTIZATION_JSON = "quantization.json"
_BITS: dict[Quantization, Literal[8, 4]] = {"8bit": 8, "4bit": 4}


def write_quantization(directory: Path, quantization: Quantization) -> None:
    """Says in a model's folder how its weights are to be read."""
    content = json.dumps({"method": "bitsandbytes", "bits": _BITS[quantization]})
    (directory / QUANTIZATION_JSON).write_text(content + "\n", encoding="utf-8")


def read_quantization(directory: Path) -> Quantization | None:
    """How a model's weights are to be read; None: as they are stored. Raises ModelError for a file that is another's."""
    path = directory / QUANTIZATION_JSON
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        bits = content["bits"] if content["method"] == "bitsandbytes" else None
    except (ValueError, KeyError, TypeError):
        bits = None
    for name, known in _BITS.items():
        if bits == known:
            return name
    raise ModelError(f"{QUANTIZATION_JSON} does not say 8 or 4 bits of bitsandbytes: download the model again")


def loading_options(quantization: Quantization, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What transformers' from_pretrained is given. Raises ModelError where there is no GPU, or no bitsandbytes."""
    bits = _BITS[quantization]
    if device.type != "cuda":
        raise ModelError(
            f"the model is to be read in {bits} bits, which needs a GPU, and this worker has none (device {device}): run the "
            "stage with the profile gpu, or download the model without `quantization`"
        )
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"the model is to be read in {bits} bits, which needs the package bitsandbytes on every node with a GPU: "
            "`pip install bitsandbytes`, or download the model without `quantization`"
        )
    from transformers import BitsAndBytesConfig

    if bits == 8:
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": config, "device_map": {"": device}}
