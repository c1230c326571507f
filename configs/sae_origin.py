"""What made an SAE, trained here or imported, as far as later stages use it: which positions it is about, and in what batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from configs.architectures import ARCHITECTURES, NAMES
from configs.data_positions import DataPolicy
from configs.harvest import HarvestConfig
from configs.import_ import ImportConfig
from configs.train import TrainConfig


class SaeOrigin(NamedTuple):
    """`rows`: of `split`, None for all. `pass_rows`: rows of one forward pass. `planned_l0`: None if its files must say it.

    `harvest`: the cache that it was trained from, if any. `planted`: its activations are planted ones.
    """

    policy: DataPolicy
    split: str
    rows: int | None
    pass_rows: int
    lm_dtype: str
    planned_l0: float | None
    harvest: HarvestConfig | None = None
    planted: bool = False

    @property
    def dtype(self) -> str:
        """Element type of the activations that it was made for."""
        return "fp32" if self.harvest is None else self.harvest.dtype


def _known(sae: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that there still are of an SAE which an earlier version may have trained with others."""
    known = dict(zip(NAMES, ARCHITECTURES, strict=True)).get(sae.get("architecture", ""))
    return {key: value for key, value in sae.items() if known is None or key in known.model_fields}


def sae_origin(config: Mapping[str, Any]) -> SaeOrigin:
    """From the config that an SAE's manifest records."""
    if config.get("stage") == "import":
        made = ImportConfig.model_validate(config)
        return SaeOrigin(made.policy, made.split, made.rows, made.batch_rows, made.lm_dtype, None)
    train = TrainConfig.model_validate({**config, "saes": [_known(sae) for sae in config.get("saes", ())]})
    harvest = train.harvest()
    return SaeOrigin(
        train.policy,
        train.split,
        train.rows,
        train.lane_rows if harvest is None else harvest.batch_rows,
        train.lm_dtype,
        max(sae.planned_l0 for sae in train.saes),
        harvest,
        train.activations is not None,
    )
