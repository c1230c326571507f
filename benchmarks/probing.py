"""Sparse probing, TPP and SCR of an SAE of SmolLM2-135M's block 7 on the World Factbook, beside a frozen-decoder control.

    python -m benchmarks.probing [--rows 1600]

Trains the preset's SAE, and the same one with a random decoder that training keeps, on `rows` rows; both exist after
`make demo`. Then probes the region of the Factbook's documents (the class), which are of different sections (the spurious
value), as configs/presets/probe.yaml says: the other way round there is nothing to remove, as a probe that is biased by region
tells sections apart all the same. A country has documents on both sides of the split, so names of countries help. Each figure
is shown with its 95% interval, and its difference from each control.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import PRESETS, Figure, machine, run_stage, write_results
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.load import load_config
from sae.formats.probes import read_probes

FROZEN = "frozen decoder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1600)
    given = parser.parse_args()
    place = machine()
    config = load_config("probe", PRESETS / "probe.yaml", [f"train:rows={given.rows}"]).model_dump(mode="json")
    train = config["sae"]
    with tempfile.TemporaryDirectory(prefix="raylens-probing-") as scratch:
        (sae,) = _run(Path(scratch), "train", train)
        (control,) = _run(
            Path(scratch), "train", {**train, "saes": [{**one, "frozen": "decoder"} for one in train["saes"]]}
        )
        start = time.monotonic()
        (made,) = _run(Path(scratch), "probe", {**config, "sae": sae, "compare_with": [control]})
        seconds = time.monotonic() - start
    body = read_probes(Store.open().files(parse_ref(made)))
    figures = [Figure("seconds of the probe stage, 0 where it was there", f"{seconds:.0f}"), *_figures(body, control)]
    write_results("probing", "Probes on labelled documents", figures, {"rows": given.rows}, body, place)


def _run(folder: Path, stage: str, config: dict[str, Any]) -> list[str]:
    path = folder / f"{stage}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return run_stage(stage, path)


def _figures(body: dict[str, Any], control: str) -> list[Figure]:
    whole, found = body["whole_hook"], []
    classes = len(body["classes"])
    found.append(Figure(f"accuracy of a probe on the whole hook, mean of {classes} regions", _shown(whole)))
    for row in body["sparse_probing"]:
        found += _rows(f"accuracy, {row['k']} latents", row, control)
    for row in body["perturbation"]["rows"]:
        found += _rows(f"TPP, {row['ablated']} ablated", row["tpp"], control)
    spurious = body["spurious"]
    for name in ("oracle", "biased"):
        found.append(Figure(f"accuracy of the {name} probe", _shown(spurious[name])))
    for row in spurious.get("rows", ()):
        if "scr" in row:
            found += _rows(f"SCR, {row['ablated']} ablated", row["scr"], control)
    if "reason" in spurious:
        found.append(Figure("SCR", spurious["reason"]))
    return found


def _rows(what: str, figure: dict[str, Any], control: str) -> list[Figure]:
    """The SAE's figure, and how much it is above each control's."""
    found = [Figure(what, _shown(figure["sae"]))]
    for one in figure["controls"]:
        name = FROZEN if one["control"] == control else one["control"]
        above = one["difference"]["low"] > 0
        found.append(Figure(f"{what}: above {name} ({one['value']:.3f})", _shown(one["difference"]), "> 0", above))
    return found


def _shown(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


if __name__ == "__main__":
    main()
