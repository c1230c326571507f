"""SAELens' own evaluation and SAEBench's core, on the same SAE and tokens: the same figures to 1e-4 relative.

What differs is left out on both sides: every position is data, and the divergence of the last position of a row, which predicts
nothing, does not count. Two figures of SAEBench 0.6.0 are wrong: its mse is divided by the number of tokens twice, which is
undone here, and its explained variance, of which a mean predictor has 0.9, is not compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from configs.data_positions import DataPolicy
from sae.architectures import Export
from sae.calibration import Calibration
from sae.exporters import ExportSource, write_export
from sae.formats.sae_folder import load_sae, write_sae
from sae.formats.tokens import TokenRows
from sae.language_model import LanguageModel
from sae.metrics.batch_evaluation import Batch, evaluate_saes
from sae.metrics.summary import summarise
from tests.interop.test_formats import require_peers, run_peers

HOOK = "blocks.1.hook_resid_post"
N, L, F, K = 12, 40, 192, 8
OURS = {
    "l0": "l0", "l1": "l1", "mse": "mse", "cossim": "cosine", "l2_ratio": "shrinkage",
    "relative_reconstruction_bias": "relative_reconstruction_bias", "ce_loss_with_sae": "ce_sae",
    "ce_loss_without_sae": "ce_clean", "ce_loss_with_ablation": "ce_zero", "kl_div_with_sae": "kl_sae",
    "kl_div_with_ablation": "kl_zero",
}  # fmt: skip
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> dict[str, dict[str, float]]:
    """Ours, and those of each library."""
    require_peers()
    root = tmp_path_factory.mktemp("evaluations")
    lm = LanguageModel.load(tiny_gpt2)
    ids = torch.from_numpy(np.random.default_rng(0).integers(1, 600, (N, L)))
    hook = lm.hook(HOOK)
    x = lm.run_to(ids, [hook])[HOOK].flatten(0, 1)
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(F, lm.d_model, generator=generator), dim=1)
    tensors = {"W_enc": W_dec.T, "b_enc": torch.zeros(F), "W_dec": W_dec, "b_dec": x.mean(0)}
    export = Export(
        tensors, {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": True}
    )
    calibration = Calibration(HOOK, float(x.norm(dim=-1).median()), float("inf"), 1.0, x.mean(0), N, N * L, 0)
    metadata = {"hook_name": HOOK, "hf_hook_name": hook.module_path}
    write_sae(root / "ours", "topk", export, metadata, calibration._replace(sink_threshold=1e30), {})
    sae = load_sae(root / "ours")
    (root / "sae").mkdir()
    write_export("saelens", ExportSource(sae, "saes/1"), root / "sae")
    save_file({"tokens": ids}, root / "tokens")
    zeros = np.zeros((N, L), np.uint8)
    rows = TokenRows(ids.numpy().astype(np.int32), zeros, np.repeat(np.arange(N)[:, None], L, 1), zeros)
    ours = summarise(evaluate_saes(lm, hook, [sae], Batch(0, rows, N), DataPolicy(include_sinks=True), "row")).metrics
    jobs: list[dict[str, Any]] = [
        {"do": "evaluate", "library": library, "folder": str(root / "sae"), "model": str(tiny_gpt2), "hook": hook.module_path,
         "tokens": str(root / "tokens"), "out": str(root / library)}
        for library in ("saelens", "sae_bench")
    ]  # fmt: skip
    run_peers(jobs, root)
    found = {library: json.loads((root / library).read_text()) for library in ("saelens", "sae_bench")}
    return {"ours": ours, **found}


@pytest.mark.parametrize("library", ["saelens", "sae_bench"])
def test_figures_are_equal(figures: dict[str, dict[str, float]], library: str) -> None:
    theirs = dict(figures[library])
    if library == "sae_bench":
        theirs["mse"] *= N * L  # which it divides by once more (SAELens until 6.45.1, issue 711)
    for name, own in OURS.items():
        assert figures["ours"][own] == pytest.approx(theirs[name], rel=TOLERANCE), name
    clean, zero = theirs["ce_loss_without_sae"], theirs["ce_loss_with_ablation"]
    score = (zero - theirs["ce_loss_with_sae"]) / (zero - clean)
    assert figures["ours"]["ce_score_zero"] == pytest.approx(score, rel=TOLERANCE)
    assert figures["ours"]["kl_score_zero"] == pytest.approx(
        1 - theirs["kl_div_with_sae"] / theirs["kl_div_with_ablation"], rel=TOLERANCE
    )


def test_explained_variance_is_that_of_saelens(figures: dict[str, dict[str, float]]) -> None:
    assert figures["ours"]["ev"] == pytest.approx(figures["saelens"]["explained_variance"], rel=TOLERANCE)
