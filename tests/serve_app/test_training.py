"""The curves of a training job: those of a run that trains now, and those of SAEs that are there."""

from __future__ import annotations

import json

from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, TOKENS


def test_a_run_shows_its_curves_while_it_trains(site: Site) -> None:
    saes = [{"hook": "blocks.1.hook_resid_post", "architecture": "topk", "d_sae": n, "k": 4} for n in (72, 80)]
    body = {"model": str(MODEL), "tokens": str(TOKENS), "rows": 24, "batch_rows": 8, "saes": saes}
    accepted = site.writer.post("/v1/saes", json=body).raise_for_status().json()
    path = f"/v1/jobs/{accepted['job']['id']}/training"
    found = site.reader.get(path).raise_for_status().json()
    assert [sae["sae"] for sae in found["saes"]] == accepted["artifacts"]
    assert [(sae["steps"], sae["finished"]) for sae in found["saes"]] == [(0, False)] * 2
    assert "topk 72" in found["saes"][0]["label"] and found["checkpoints"] == []
    curve = {"steps": 2, "columns": {"step": [0, 1], "mse": [1.0, None]}}
    (site.home / "logs").mkdir(exist_ok=True)
    (site.home / "logs" / f"{accepted['job']['id']}.curves.json").write_text(
        json.dumps({accepted["artifacts"][1]: curve})
    )
    first, second = site.reader.get(path).json()["saes"]
    assert (first["steps"], second["steps"], second["columns"]) == (0, 2, curve["columns"])
    other = site.writer.post("/v1/jobs", json={"config": {"stage": "maintain"}}).json()["job"]["id"]
    assert site.reader.get(f"/v1/jobs/{other}/training").status_code == 404
