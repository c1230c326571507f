"""Run by the peers' python: loads SAE folders with SAELens and writes what it makes of raw activations.

    .venv-peers/bin/python tests/interop/load_in_saelens.py JOBS.json

JOBS.json is a list of {"sae": folder, "x": safetensors file with "x" [n, d_in], "out": file to write}. Prints one JSON
list: for each job the class, config and metadata that SAELens sees.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main(path: str) -> None:
    from sae_lens import SAE

    seen = []
    for job in json.loads(Path(path).read_text()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sae = SAE.load_from_disk(job["sae"])
        x = load_file(job["x"])["x"]
        with torch.no_grad():
            save_file({"encode": sae.encode(x).contiguous(), "forward": sae(x).contiguous()}, job["out"])
        config = sae.cfg.to_dict()
        seen.append(
            {
                "class": type(sae).__name__,
                "metadata": config.pop("metadata"),
                "config": config,
                "warnings": [str(w.message) for w in caught],
            }
        )
    print(json.dumps(seen))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
