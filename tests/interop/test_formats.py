"""SAEs of other libraries come in and go out and compute the same there and here.

The libraries make the SAEs and run what RayLens exports, in the peers' environment (see test_saelens.py). Encodings and
reconstructions must agree to 1e-5 of their root mean square, which latents are active exactly; and what was imported, exported
and imported again has the same weights, bit for bit.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.data_positions import DataPolicy
from configs.sae_formats import IMPORT_FORMATS
from sae.architectures import Export
from sae.calibration import Calibration
from sae.exporters import ExportSource, write_export
from sae.exporters.codes import TokenCodes
from sae.formats.artifact_files import LocalFiles
from sae.formats.sae_folder import Sae, load_sae, write_sae
from sae.formats.tokens import TokensReader
from sae.importers import ForeignSae, ImportOptions, read_foreign
from sae.language_model import LanguageModel, load_tokenizer
from tests.actors.extract_world import write_tokens
from tests.interop.test_saelens import PEERS

SCRIPT = Path(__file__).with_name("peers.py")
D, F, N = 48, 192, 300
TOLERANCE = 1e-5

CASES = (
    *(
        ("saelens", kind)
        for kind in (
            "standard", "standard+no_b_dec", "standard+layer_norm", "topk", "topk+free", "topk+constant_norm_rescale", "jumprelu",
            "jumprelu+no_b_dec", "gated", "gated+no_b_dec", "matching_pursuit", "transcoder", "skip_transcoder",
            "jumprelu_transcoder", "jumprelu_skip_transcoder",
        )
    ),
    ("sparsify", "topk"),
    *(
        ("dictionary_learning", kind)
        for kind in (
            "AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE",
            "MatryoshkaBatchTopKSAE",
        )
    ),
)  # fmt: skip
# To which other formats each can go.
CROSS = {
    ("saelens", "standard"): ("dictionary_learning",),
    ("saelens", "standard+no_b_dec"): ("dictionary_learning",),
    ("saelens", "jumprelu"): ("dictionary_learning",),
    ("saelens", "gated+no_b_dec"): ("dictionary_learning",),
    ("saelens", "topk+free"): ("sparsify", "dictionary_learning"),
    ("sparsify", "topk"): ("saelens", "dictionary_learning"),
    ("dictionary_learning", "AutoEncoderTopK"): ("saelens", "sparsify"),
    ("dictionary_learning", "BatchTopKSAE"): ("saelens",),
    ("dictionary_learning", "MatryoshkaBatchTopKSAE"): ("saelens",),
    ("dictionary_learning", "GatedAutoEncoder"): ("saelens",),
}


class Case(NamedTuple):
    """One SAE: what its library makes of x, what was read of it, and the library's answers for each export of it."""

    theirs: dict[str, torch.Tensor]
    foreign: ForeignSae
    ours: Sae
    exports: dict[str, Path]
    answers: dict[str, dict[str, torch.Tensor]]


def require_peers() -> None:
    """Skips where the peers' environment is missing; fails in CI."""
    if not PEERS.exists():
        message = f"there is no {PEERS}: run `make .venv-peers/.installed`, or set RAYLENS_PEERS_PYTHON"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def run_peers(jobs: list[dict[str, Any]], root: Path) -> None:
    """Has the peers' python work through the jobs of peers.py."""
    (root / "jobs.json").write_text(json.dumps(jobs))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [str(PEERS), str(SCRIPT), str(root / "jobs.json")]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]


def _read(library: str, folder: Path) -> ForeignSae:
    found = {}
    for pattern in IMPORT_FORMATS[library].files:
        found.update({path.name: path for path in folder.rglob(pattern)})
    where = next(iter(found.values())).parent
    return read_foreign(library, found, str(where), ImportOptions())


def _ours(foreign: ForeignSae, folder: Path) -> Sae:
    """As the import stage writes it, and as all stages load it."""
    calibration = Calibration("blocks.1.hook_resid_post", 5.0, 15.0, 1.0, torch.zeros(D), 4, 200, 4)
    metadata = {
        "hook_name": "blocks.1.hook_resid_post",
        "hf_hook_name": "transformer.h.1",
        "model_name": "gpt2",
        **foreign.metadata,
    }
    write_sae(folder, foreign.architecture, foreign.export, metadata, calibration, {})
    return load_sae(folder)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Case]:
    """All of them, from two starts of the peers' python: they make SAEs, and they load the exports."""
    require_peers()
    root = tmp_path_factory.mktemp("formats")
    save_file({"x": 2 * torch.randn(N, D, generator=torch.Generator().manual_seed(1)) + 0.3}, root / "x")
    made = [
        {"do": "make", "library": library, "kind": kind, "folder": str(root / f"{library}.{kind}"), "x": str(root / "x"),
         "out": str(root / f"{library}.{kind}.out")}
        for library, kind in CASES
    ]  # fmt: skip
    run_peers(made, root)
    found, loads = {}, []
    for library, kind in CASES:
        folder = root / f"{library}.{kind}"
        foreign = _read(library, folder)
        ours = _ours(foreign, root / f"{library}.{kind}.ours")
        exports = {}
        for format in (library, *CROSS.get((library, kind), ())):
            to = root / f"{library}.{kind}.to.{format}"
            to.mkdir()
            write_export(format, ExportSource(ours, "saes/1"), to)
            exports[format] = to
            loads.append({"do": "load", "library": format, "folder": str(to), "x": str(root / "x"), "out": f"{to}.out"})
        found[library, kind] = Case(load_file(root / f"{library}.{kind}.out"), foreign, ours, exports, {})
    run_peers(loads, root)
    for case in found.values():
        case.answers.update({format: load_file(f"{folder}.out") for format, folder in case.exports.items()})
    return found


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest, cases: dict[tuple[str, str], Case]) -> tuple[tuple[str, str], Case]:
    return request.param, cases[request.param]


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return 2 * torch.randn(N, D, generator=torch.Generator().manual_seed(1)) + 0.3


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    rms = float(theirs.square().mean().sqrt())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE * rms)


def test_imported_sae_computes_what_its_library_computes(case: tuple[tuple[str, str], Case], x: torch.Tensor) -> None:
    _, (theirs, _, ours, _, _) = case
    encoded = ours.encode(x)
    assert torch.equal(encoded > 0, theirs["encode"] > 0)
    assert 2 < float((encoded > 0).sum(1).float().mean()) < F
    _close(encoded, theirs["encode"])
    _close(ours.reconstruct(x), theirs["forward"])


def test_exports_compute_the_same_in_each_library(case: tuple[tuple[str, str], Case], x: torch.Tensor) -> None:
    _, (_, _, ours, _, answers) = case
    encoded, made = ours.encode(x), ours.reconstruct(x)
    for format, answer in answers.items():
        _close(made, answer["forward"])
        assert torch.equal(encoded > 0, answer["encode"] > 0), format
        if format != "dictionary_learning" or ours.architecture != "standard":  # there values are in units of unit rows
            _close(encoded, answer["encode"])


def test_export_and_import_again_change_no_weight(case: tuple[tuple[str, str], Case]) -> None:
    (library, _), (_, foreign, _, exports, _) = case
    again = _read(library, exports[library])
    assert again.architecture == foreign.architecture
    assert again.export.tensors.keys() == foreign.export.tensors.keys()
    for name, tensor in foreign.export.tensors.items():
        assert torch.equal(tensor, again.export.tensors[name]), name
    assert again.export.config == foreign.export.config


def test_delphi_reads_our_cache_of_latents(tmp_path: Path, tiny_gpt2: Path) -> None:
    """Its loader finds each activation where we put it, in fp16, and the tokens."""
    require_peers()
    folder = write_tokens(tmp_path / "tokens", load_tokenizer(tiny_gpt2))
    tokens, lm = TokensReader(LocalFiles(folder), "train"), LanguageModel.load(tiny_gpt2)
    generator = torch.Generator().manual_seed(0)
    W = torch.nn.functional.normalize(torch.randn(F, D, generator=generator), dim=1)
    tensors = {"W_enc": W.T, "b_enc": torch.zeros(F), "W_dec": W, "b_dec": torch.zeros(D)}
    config = {"architecture": "topk", "k": 8, "rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": True}
    foreign = ForeignSae("topk", Export(tensors, config), (), {})
    sae = _ours(foreign, tmp_path / "sae")
    sae.calibration = sae.calibration._replace(sink_threshold=1e30)
    codes = TokenCodes(lm, sae, tokens, DataPolicy(), 6, 4)
    (tmp_path / "cache").mkdir()
    write_export("delphi", ExportSource(sae, "saes/1", codes=codes), tmp_path / "cache")
    job = {"do": "load", "library": "delphi", "folder": str(tmp_path / "cache"), "out": str(tmp_path / "out")}
    run_peers([job], tmp_path)
    theirs = load_file(tmp_path / "out")
    batches = list(codes.batches())
    ours = torch.cat([torch.from_numpy(batch.location) for batch in batches])
    values = torch.cat([torch.from_numpy(batch.value) for batch in batches])
    dense, found = (torch.zeros(6, tokens.context_length, F) for _ in range(2))
    dense[tuple(ours.T)] = values
    found[tuple(theirs["locations"].T)] = theirs["activations"]
    torch.testing.assert_close(found, dense, rtol=1e-3, atol=1e-4)
    assert torch.equal(theirs["tokens"], torch.from_numpy(codes.ids()))
