"""The plan of a training run: what it says before anything runs, with and without a look at its model."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.store import Store
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs import plan_probe
from jobs.plan_command import _busy, lines
from jobs.plan_probe import PlanProbeError, Probed
from jobs.preflight import estimate
from sae.calibration import calibrate
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import calibration_batches
from sae.training.batch_plan import make_plan
from sae.training.probe import probe_run
from sae.training.probe_cache import write_cache
from sae.training.probe_figures import ProbeFigures
from tests.artifacts import LENGTH, MODEL, TOKENS, tiny_store

HOOK, D = "blocks.1.hook_resid_post", 48
REQUIREMENT = Requirement(threads=1, memory=1 << 30)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    """The tiny model with what its manifest says of it when it is downloaded."""
    found = tiny_store(tmp_path_factory.mktemp("preflight"), tiny_gpt2)
    manifest = found.manifest(MODEL)
    assert manifest is not None
    summary = {"parameters": 120_000, "d_model": D, "vocab_size": 640, "n_layers": 3}
    found.commit(
        manifest._replace(summary=summary)
        if hasattr(manifest, "_replace")
        else manifest.model_copy(update={"summary": summary})
    )
    return found


def config(**more: Any) -> TrainConfig:
    sae = {"hook": HOOK, "d_sae": 96, "k": 8, "lr": 2e-3, "lr_warmup": "5%", "dead_after_tokens": 100}
    sae |= {key: more.pop(key) for key in ("d_sae", "k", "lr", "lr_warmup", "dead_after_tokens", "hook") if key in more}
    body = {
        "model": str(MODEL),
        "tokens": str(TOKENS),
        "rows": 64,
        "batch_rows": 8,
        "lm_dtype": "fp32",
        "autocast": "off",
    }
    return TrainConfig.model_validate({**body, "saes": [sae], **more})


@pytest.fixture(scope="module")
def probe(store: Store) -> ProbeFigures:
    return figures_of(store, policy={"calibration_rows": 16})


@pytest.fixture(scope="module")
def probed(probe: ProbeFigures) -> Probed:
    return Probed(probe, 5.0)


def figures_of(store: Store, folder: Path | None = None, **more: Any) -> ProbeFigures:
    files = None if folder is None else LocalFiles(folder)
    return probe_run(config(**more), store.files(MODEL), store.files(TOKENS), "cpu", files, seconds=5.0)


def test_hooks_are_described_as_calibration_finds_them(store: Store, probe: ProbeFigures) -> None:
    (hook,) = probe.hooks
    assert (hook.name, hook.module_path, hook.kind, hook.width, probe.rows) == (
        HOOK,
        "transformer.h.1",
        "resid_post",
        D,
        16,
    )
    lm, reader = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    made = config(policy={"calibration_rows": 16})
    expected = calibrate(HOOK, calibration_batches(lm, reader, lm.hook(HOOK), 16, made.lane_rows), made.policy)
    assert hook.median_norm == expected.median_norm
    assert hook.sink_share == expected.sinks / (expected.sinks + expected.positions)
    x = torch.cat([v[r == 0] for v, r in calibration_batches(lm, reader, lm.hook(HOOK), 16, 4)]).double()
    x = x[x.norm(dim=1) <= expected.sink_threshold]
    spread = (x - x.mean(0)).square().sum(1).mean().sqrt()
    assert hook.gamma == pytest.approx(float(x.mean(0).norm() / spread), rel=1e-4)
    (sae,) = probe.saes
    assert sae.seconds_per_step > 0 and 0 <= sae.initially_inactive < 1
    assert min(probe.load_seconds, probe.calibrating, probe.reading) > 0 and probe.harvesting == 0


def test_times_add_up(store: Store, probed: Probed) -> None:
    """Twice the epochs are twice the steps and twice the reading, but a cache is made once."""
    one, two = (estimate(config(epochs=n), store, REQUIREMENT, probed) for n in (1, 2))
    assert one["steps"] == 8 and two["tokens"] == 2 * one["tokens"] == 2 * 64 * LENGTH
    assert two["flops"]["total"] == pytest.approx(2 * one["flops"]["total"])
    probe, (sae,) = probed.figures, probed.figures.saes
    more = (64 * probe.reading + 8 * (sae.seconds_per_step + sae.seconds_per_measure)) / 0.97
    assert two["seconds"]["total"] - one["seconds"]["total"] == pytest.approx(more)
    assert one["tokens_per_second"] == pytest.approx(one["tokens"] / one["seconds"]["total"])
    assert one["seconds"]["total"] == one["seconds"]["train"] and one["seconds"]["harvest"] == 0
    harvested = probed._replace(figures=probe._replace(harvesting=0.5))
    cached = [estimate(config(epochs=n, cache={}), store, REQUIREMENT, harvested) for n in (1, 2)]
    assert (
        cached[0]["flops"]["language_model"] == cached[1]["flops"]["language_model"] == one["flops"]["language_model"]
    )
    assert cached[1]["seconds"]["total"] - cached[0]["seconds"]["total"] == pytest.approx(more)
    assert cached[0]["seconds"]["harvest"] == cached[1]["seconds"]["harvest"] > 64 * 0.5
    assert cached[0]["seconds"]["calibration"] == 0 < one["seconds"]["calibration"]
    assert cached[0]["disk_bytes"] > one["disk_bytes"]


def test_two_workers_share_the_rows_and_the_saes(store: Store, probed: Probed) -> None:
    saes = [{"hook": HOOK, "d_sae": 96, "k": 8, "seed": n} for n in range(3)]
    fast, slow = (probed.figures.saes[0]._replace(seconds_per_step=s, seconds_per_measure=0.0) for s in (1.0, 3.0))
    found = probed._replace(figures=probed.figures._replace(saes=(fast, slow, fast)))
    one, two = (estimate(config(saes=saes), store, Requirement(workers=n), found)["seconds"] for n in (1, 2))
    assert one["steps"] == pytest.approx(8 * 5 / 0.97) and two["steps"] == pytest.approx(8 * 3 / 0.97)
    assert two["reading"] == pytest.approx(one["reading"] / 2)


def test_held_out_rows_and_shorter_trainings_are_counted(store: Store, probed: Probed) -> None:
    figures = probed.figures.saes[0]._replace(seconds_per_step=1.0, seconds_per_measure=0.25)
    found = probed._replace(figures=probed.figures._replace(reading=2.0, saes=(figures,)))
    plain = estimate(config(), store, REQUIREMENT, found)
    assert plain["seconds"]["steps"] == pytest.approx((8 + 8 * 0.25) / 0.97), "the last block is measured once more"
    held_out = estimate(config(early_stop={"rows": 16, "every_blocks": 1}, block_steps=3), store, REQUIREMENT, found)
    assert held_out["steps"] == 6
    assert held_out["seconds"]["reading"] == pytest.approx(2.0 * 64 / 0.97)
    assert held_out["seconds"]["steps"] == pytest.approx((6 + 2 * 2 + 3 * 0.25) / 0.97), "two looks at two batches"
    short = {"hook": HOOK, "d_sae": 96, "k": 8, "train_rows": 16}
    less = estimate(config(saes=[short]), store, REQUIREMENT, found)["seconds"]
    assert less["reading"] == pytest.approx(2.0 * 16 / 0.97) and less["steps"] == pytest.approx(2.5 / 0.97)


def test_processes_start_later_where_imports_take_longer(store: Store, probed: Probed) -> None:
    first, second = (
        estimate(config(), store, REQUIREMENT, probed._replace(import_seconds=s))["seconds"] for s in (5.0, 10.0)
    )
    loading = probed.figures.load_seconds
    assert second["start"] - loading == pytest.approx(2 * (first["start"] - loading))
    assert second["end"] == pytest.approx(2 * first["end"])


def test_a_run_from_a_cache_is_measured_on_one(store: Store, probe: ProbeFigures, tmp_path: Path) -> None:
    """On a small one of the first rows, whose data positions are those of the stream; or on the one that exists."""
    made = figures_of(store, cache={"dtype": "fp32"}, policy={"calibration_rows": 16})
    assert min(made.harvesting, made.reading, made.calibrating) > 0
    assert (made.data_share, made.hooks, made.rows) == (probe.data_share, probe.hooks, probe.rows)
    whole = config(cache={"dtype": "fp32"}, policy={"calibration_rows": 16})
    harvest, lm = whole.harvest(), LanguageModel.load(store.files(MODEL).directory())
    assert harvest is not None
    reader, hook = TokensReader(store.files(TOKENS), "train"), lm.hook(HOOK)
    calibration = calibrate(HOOK, calibration_batches(lm, reader, hook, 16, 4), whole.policy)
    plan = make_plan(whole, reader.n_rows, LENGTH)
    written = write_cache(tmp_path, harvest, plan, lm, reader, [hook], {HOOK: calibration}, 60.0)
    assert written.rows == 64
    there = figures_of(store, tmp_path, cache={"dtype": "fp32"}, policy={"calibration_rows": 16})
    assert there.harvesting == 0 and there.data_share == probe.data_share


def test_the_process_that_measures_gives_what_this_one_does(
    store: Store, probe: ProbeFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYLENS_STORE", store.url)
    found = plan_probe.probe(config(policy={"calibration_rows": 16}), REQUIREMENT)
    assert (found.figures.hooks, found.figures.data_share) == (probe.hooks, probe.data_share)
    assert found.figures.flops_per_token == probe.flops_per_token and found.import_seconds > 0
    plan = estimate(config(), store, REQUIREMENT, found)
    assert json.loads(json.dumps(plan)) == plan and "\n".join(lines(plan)).count("of it start ") == 1


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for load, warned in ((0.3, False), (3.9, False), (4.0, True), (17.2, True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert [f"load {load} on 4 cores" in text for text in _busy()] == [True] * warned


def test_what_is_wrong_in_the_process_is_said_in_one_message(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = {"config": config(hook="blocks.9.hook_resid_post").model_dump(mode="json"), "began": 0.0}
    request["requirement"] = REQUIREMENT.model_dump(mode="json")
    monkeypatch.setenv("RAYLENS_STORE", store.url)
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
    assert plan_probe.main() == 1
    answer = capsys.readouterr().out
    with pytest.raises(PlanProbeError, match=r"no hook 'blocks\.9\.hook_resid_post'"):
        plan_probe._probed(answer, 1)
    with pytest.raises(PlanProbeError, match="ended with status -9"):
        plan_probe._probed("", -9)


def test_memory_grows_with_what_takes_it(store: Store) -> None:
    """Without a probe too: nothing is run."""
    base = estimate(config(), store, REQUIREMENT)
    assert base["seconds"] is None and base["hooks"] == [] and base["memory_bytes"] > 400 << 20
    for more in (
        {"d_sae": 9600},
        {"block_steps": 64, "rows": 512},
        {"saes": [{"hook": HOOK, "d_sae": 960, "seed": n} for n in range(9)]},
    ):
        bigger = {"rows": 64, **more}
        if bigger["rows"] > 64:
            continue  # the tiny tokens have no more rows
        assert estimate(config(**bigger), store, REQUIREMENT)["memory_bytes"] > base["memory_bytes"]
    assert estimate(config(lm_dtype="bf16"), store, REQUIREMENT)["memory_bytes"] < base["memory_bytes"]


WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "width": ({"d_sae": 40}, "40 latents are fewer than the 48 dimensions"),
    "k": ({"k": 13}, "13 active latents are more than a quarter of the 48 dimensions"),
    "lr": ({"lr": 1.0}, "lr = 1 is far from"),
    "small lr": ({"lr": 1e-5}, "lr = 1e-05 is far from"),
    "warm-up": ({"lr_warmup": 6}, "lr_warmup takes more than half of the 8 steps"),
    "dead": ({"dead_after_tokens": 10**9}, "no latent counts as dead in this run"),
    "repeated": ({"epochs": 5, "d_sae": 480, "cache": {}}, "read 5 times, are few for 480 latents"),
    "small steps": ({"batch_rows": 4}, "a step has 128 data positions"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_looks_wrong_is_said(store: Store, name: str) -> None:
    more, message = WARNED[name]
    found = estimate(config(**more), store, REQUIREMENT)["warnings"]
    assert any(message in text for text in found), found
    assert not any(message in text for text in estimate(config(), store, REQUIREMENT)["warnings"])
    assert all(len(text) < 500 for text in found)


def test_too_little_memory_is_said(store: Store) -> None:
    found = estimate(config(), store, Requirement(memory=64 << 20))
    assert any("asks for 0.1 GiB: set resources.memory=" in text for text in found["warnings"])


def test_a_plan_is_plain_json_and_names_what_is_missing(store: Store) -> None:
    absent = f"tokens/{'7' * 16}"
    found = estimate(config(tokens=absent), store, REQUIREMENT)
    assert json.loads(json.dumps(found)) == found
    assert (found["missing"], found["tokens"], found["dead_share"]) == ([absent], None, None)
    assert estimate(config(tokens=absent, d_sae=40), store, REQUIREMENT)["warnings"], (
        "what needs no tokens is said all the same"
    )


def test_more_rows_than_there_are_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="wants 500 rows of split 'train', which has 64"):
        estimate(config(rows=500), store, REQUIREMENT)


def test_a_crosscoder_is_planned_with_all_its_hooks(store: Store) -> None:
    hooks = ["blocks.0.hook_mlp_out", HOOK]
    made = config(policy={"calibration_rows": 16}, saes=[{"hooks": hooks, "d_sae": 64, "k": 8}])
    probed = Probed(probe_run(made, store.files(MODEL), store.files(TOKENS), "cpu"), 5.0)
    plan, single = estimate(made, store, REQUIREMENT, probed), estimate(config(d_sae=64), store, REQUIREMENT)
    assert [hook["name"] for hook in plan["hooks"]] == hooks
    assert plan["flops"]["saes"] == 2 * single["flops"]["saes"]
    assert plan["disk_bytes"] > 1.8 * single["disk_bytes"]
    assert any(f"64 latents are fewer than the {2 * D} dimensions" in text for text in plan["warnings"])
