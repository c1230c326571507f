"""SAELens 6: our own `cfg.json` and `sae_weights.safetensors`, which it reads as they are."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from sae.exporters import ExportSource, NotExportable
from sae.importers.saelens import ARCHITECTURES
from sae.quoting import quoted


def write(source: ExportSource, folder: Path) -> None:
    """See sae.exporters."""
    sae = source.sae
    if sae.config["architecture"] not in ARCHITECTURES:
        raise NotExportable(
            f"SAELens has no architecture {quoted(sae.config['architecture'])}; it has {', '.join(ARCHITECTURES)}"
        )
    (folder / "cfg.json").write_text(json.dumps(sae.config, indent=2, sort_keys=True) + "\n")
    save_file({name: one.cpu().contiguous() for name, one in sae.tensors.items()}, folder / "sae_weights.safetensors")
