"""SAEs in the formats of other libraries.

`sae/exporters/NAME.py` defines `write(source, folder)`; NAME is a line of `EXPORT_FORMATS` in configs/sae_formats.py. Only what
computes the same there is written: anything else is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from configs.sae_formats import EXPORT_FORMATS
from sae.formats.sae_folder import Sae

if TYPE_CHECKING:
    from sae.exporters.codes import TokenCodes
    from sae.formats.features import FeaturesReader
    from sae.formats.labels import LabelsReader
    from sae.formats.tokens import TokensReader
    from sae.report.token_text import TokenText


class NotExportable(ValueError):
    """An SAE that a format cannot hold; the message says why, and which format can."""


@dataclass(frozen=True)
class ExportSource:
    """What is exported. `name` is saes/ID; `dataset` says what the tokens are of.

    `codes`: for a format that holds codes of rows of tokens. `features`, `tokens` and `token_text`: for one made of features;
    `labels` too, if there are any.
    """

    sae: Sae
    name: str
    dataset: str = ""
    codes: TokenCodes | None = None
    features: FeaturesReader | None = None
    tokens: TokensReader | None = None
    token_text: TokenText | None = None
    labels: LabelsReader | None = None

    @property
    def module(self) -> str:
        """Path of the hooked module in the model without its head, as sparsify and delphi name hookpoints."""
        path = str(self.sae.metadata.get("hf_hook_name") or self.sae.metadata["hook_name"])
        for body in ("model.language_model.", "model.decoder.", "model.", "transformer.", "gpt_neox.", "backbone."):
            if path.startswith(body):
                return path.removeprefix(body)
        return path


def refuse_crosscoder(sae: Sae, name: str, format: str) -> None:
    """Raises NotExportable for an SAE of several hooks."""
    if sae.is_crosscoder:
        raise NotExportable(
            f"{name} is a crosscoder of {len(sae.hooks)} hooks, and {format} holds SAEs of one hook. Its own folder in the store "
            "has the tensors, of all hooks side by side"
        )


def write_export(format: str, source: ExportSource, folder: Path) -> list[str]:
    """Writes the files of a format into `folder`, and gives their names with `/` between folders. Raises NotExportable."""
    assert format in EXPORT_FORMATS, "the config was checked"
    refuse_crosscoder(source.sae, source.name, format)
    write: Callable[[ExportSource, Path], None] = import_module(f"sae.exporters.{format}").write
    write(source, folder)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
