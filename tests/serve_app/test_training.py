"""The curves of a training job: those of a run that trains now, and those of SAEs that are there."""

from __future__ import annotations

import json
from typing import Any

from jobs.life.driver_setup import curves_file
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, TOKENS

CURVE = {"steps": 2, "columns": {"step": [0, 1], "mse": [1.0, None]}}


def training_job(site: Site, seed: int) -> dict[str, Any]:
    """The answer to a request for the training of two SAEs; an equal one would get the job that has a curve already."""
    saes = [{"hook": "blocks.1.hook_resid_post", "architecture": "topk", "d_sae": n, "k": 4} for n in (72, 80)]
    body = {"model": str(MODEL), "tokens": str(TOKENS), "rows": 24, "batch_rows": 8, "seed": seed, "saes": saes}
    accepted: dict[str, Any] = site.writer.post("/v1/saes", json=body).raise_for_status().json()
    return accepted


def write_curve(site: Site, accepted: dict[str, Any]) -> None:
    """As the driver does: of its second SAE."""
    curves_file(site.home, accepted["job"]["id"]).write_text(json.dumps({accepted["artifacts"][1]: CURVE}))


def test_a_run_shows_its_curves_while_it_trains(site: Site) -> None:
    accepted = training_job(site, 1)
    path = f"/v1/jobs/{accepted['job']['id']}/training"
    found = site.reader.get(path).raise_for_status().json()
    assert [sae["sae"] for sae in found["saes"]] == accepted["artifacts"]
    assert [(sae["steps"], sae["finished"]) for sae in found["saes"]] == [(0, False)] * 2
    assert "topk 72" in found["saes"][0]["label"] and found["checkpoints"] == []
    write_curve(site, accepted)
    first, second = site.reader.get(path).json()["saes"]
    assert (first["steps"], second["steps"], second["columns"]) == (0, 2, CURVE["columns"])
    other = site.writer.post("/v1/jobs", json={"config": {"stage": "maintain"}}).json()["job"]["id"]
    assert site.reader.get(f"/v1/jobs/{other}/training").status_code == 404
