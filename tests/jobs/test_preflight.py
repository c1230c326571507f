"""The plan of a training run: what it says before anything runs, with and without a look at its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.store import Store
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.preflight import estimate
from sae.calibration import calibrate
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import calibration_batches
from sae.training.probe import ProbeFigures, probe_run
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
    reader = TokensReader(store.files(TOKENS), "train")
    return probe_run(
        config(policy={"calibration_rows": 16}), store.files(MODEL).directory(), reader, "cpu", seconds=0.05
    )


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


def test_times_add_up(store: Store, probe: ProbeFigures) -> None:
    """Twice the epochs are twice the steps and twice the language model, unless a cache is read again."""
    one, two = (estimate(config(epochs=n), store, REQUIREMENT, probe) for n in (1, 2))
    assert one["steps"] == 8 and two["tokens"] == 2 * one["tokens"] == 2 * 64 * LENGTH
    assert two["flops"]["total"] == pytest.approx(2 * one["flops"]["total"])
    more = (64 * probe.seconds_per_row + 8 * probe.saes[0].seconds_per_step) / 0.97
    assert two["seconds"]["total"] - one["seconds"]["total"] == pytest.approx(more)
    assert one["tokens_per_second"] == pytest.approx(one["tokens"] / one["seconds"]["total"])
    cached = [estimate(config(epochs=n, cache={}), store, REQUIREMENT, probe) for n in (1, 2)]
    assert (
        cached[0]["flops"]["language_model"] == cached[1]["flops"]["language_model"] == one["flops"]["language_model"]
    )
    assert cached[0]["seconds"]["harvest"] > 0 and one["seconds"]["harvest"] == 0
    assert cached[0]["disk_bytes"] > one["disk_bytes"]


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
    reader = TokensReader(store.files(TOKENS), "train")
    probed = probe_run(made, store.files(MODEL).directory(), reader, "cpu", seconds=0.01)
    plan, single = estimate(made, store, REQUIREMENT, probed), estimate(config(d_sae=64), store, REQUIREMENT)
    assert [hook["name"] for hook in plan["hooks"]] == hooks
    assert plan["flops"]["saes"] == 2 * single["flops"]["saes"]
    assert plan["disk_bytes"] > 1.8 * single["disk_bytes"]
    assert any(f"64 latents are fewer than the {2 * D} dimensions" in text for text in plan["warnings"])
