"""The whole pipeline, tiny, as commands: from a folder and with a home whose names have blanks and letters beyond ASCII,
and once more with the store on a real S3 server. On the way all stages run, so that each option of theirs must be read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cluster.machines.paths import code_root
from cluster.store import Store
from configs.architectures import NAMES
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.base import Config, Resources
from configs.download import HubSource, PackageSource, UploadSource
from configs.export import ExportConfig
from configs.import_ import ImportConfig
from configs.label_endpoint import EndpointRuntime, LabelEndpoint, TokenPrices
from configs.maintain import MaintainConfig
from configs.probe import ProbeConfig, SpuriousConfig
from configs.stages import STAGES
from configs.synthesize import SynthesizeConfig
from configs.validation_errors import nested_models
from tests import recorder
from tests.artifacts import hashes
from tests.s3 import S3Server
from tests.tiny_model import documents

PRODUCT = ("configs", "sae", "cluster", "actors", "jobs", "serve_app")
# What the pipeline on S3 makes anew; the rest comes from the local store.
MADE_ON_S3 = ("tokens", "saes", "reports")
# Read in tests/sae/test_sources*.py, test_uploads.py and test_planted.py, and tests/jobs/test_stage_maintain.py,
# test_stage_import.py, test_stage_export.py and test_stage_probe.py; resources in tests/test_options.py; model servers in
# tests/sae/test_label_endpoint.py.
ELSEWHERE = (
    HubSource,
    PackageSource,
    UploadSource,
    SynthesizeConfig,
    MaintainConfig,
    ImportConfig,
    ExportConfig,
    ProbeConfig,
    SpuriousConfig,
    LabelEndpoint,
    EndpointRuntime,
    TokenPrices,
    Resources,
)
# Read from the settings that features.json holds: their effect is tested in tests/actors/test_extractor.py.
READ_FROM_SETTINGS = ("ExtractConfig.logit_tokens", "ExtractConfig.neighbours")
# Read if documents are chats: tests/sae/test_text_chat_messages.py.
READ_FOR_CHATS = tuple(
    f"DatasetOptions.{name}" for name in ("chat_roles", "malformed_chats", "tools_column", "template_variables_column")
)
# Expanded before a config is made of it: tests/configs/test_grid.py.
EXPANDED = ("TrainConfig.grid",)

SAE = {"hook": "blocks.1.hook_resid_post", "d_sae": 96, "dead_after_tokens": 32}
WARMED: dict[str, object] = {"k": 8, "k_start": 12, "k_warmup": "20%"}
PRESSED: dict[str, object] = {
    "l1": 10.0,
    "lr": 0.05,
    "lr_warmup": 0,
}  # latents die, so that the auxiliary loss has some
SPARSITY: dict[str, dict[str, object]] = {
    **dict.fromkeys(("topk", "batchtopk", "matryoshka", "matchingpursuit"), WARMED), "hierarchicaltopk": {"k": 8},
    "jumprelu": {"target": 8.0}, "standard": PRESSED, "gated": PRESSED,
}  # fmt: skip


def _write_configs(folder: Path, model: Path) -> Path:
    folder.mkdir()
    lines = [json.dumps({"text": text, "split": None}) for text in documents(300, seed=3)]
    lines.append(r'{"text": "half a surrogate pair: \ud800", "split": null}')
    lines.append(json.dumps({"text": "too long " * 10_000, "split": None}))
    (folder / "texts.jsonl").write_text("\n".join(lines))
    local = {"type": "local"}
    train = {
        "stage": "train", "model": "model.yaml", "tokens": "tokens.yaml", "batch_rows": 4, "epochs": 2, "rows": 64,
        "policy": {"calibration_rows": 8}, "cache": {"dtype": "fp32", "rows_per_chunk": 16},
        "runtime": {"checkpoint_blocks": 1}, "early_stop": {"rows": 4, "every_blocks": 1, "patience": 9},
    }  # fmt: skip
    saes = [
        *({"architecture": name, **SAE, **SPARSITY[name]} for name in NAMES),
        {"architecture": "jumprelu", **SAE, "sparsity_loss": "tanh"},
        {
            "hook": "blocks.1.ln2.hook_normalized", "target_hook": "blocks.1.hook_mlp_out", "skip_connection": True,
            "d_sae": 96, "k": 8,
        },
        {"hooks": ["blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"], "d_sae": 96, "k": 8},
    ]  # fmt: skip
    configs: dict[str, dict[str, Any]] = {
        "data": {
            "stage": "download", "what": "dataset", "source": {**local, "path": "texts.jsonl"},
            "dataset": {
                "heldout_fraction": 0.3, "invalid_text": "skip", "max_document_bytes": 20_000, "long_documents": "skip",
            },
        },
        "model": {"stage": "download", "what": "model", "source": {**local, "path": str(model)}},
        "tokens": {
            "stage": "tokenize", "dataset": "data.yaml", "model": "model.yaml", "context_length": 32, "separator": "none",
            "resplit": {"test": 0.3},
        },
        "train": {**train, "saes": saes},
        # SAEs of that run, which are found: evaluation and features of all would be most of this test's time.
        "some": {**train, "saes": [saes[NAMES.index("matchingpursuit")], *saes[-2:]]},
        "evaluate": {"stage": "evaluate", "sae": "some.yaml", "rows": 8, "loss_rows": 4},
        "extract": {"stage": "extract", "sae": "some.yaml"},
        "report": {
            "stage": "report", "features": "extract.yaml", "evaluation": "evaluate.yaml", "labels": "label.yaml", "pages": 5,
        },
        "label": {"stage": "label", "features": "extract.yaml", "steering_prompt": "Once"},
        "pipeline": {"stage": "pipeline", "stages": ["data.yaml", "model.yaml", "tokens.yaml", "train.yaml", "report.yaml"]},
    }  # fmt: skip
    for name, body in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(body))
    return folder / "pipeline.yaml"


def _run(pipeline: Path, home: Path, more: dict[str, str]) -> tuple[dict[str, Any], str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("RAYLENS_STORE", "RAY_ADDRESS")}
    environment |= {"RAYLENS_HOME": str(home), "PYTHONPATH": str(code_root()), "RAYLENS_CPUS": "2", **more}
    command = [sys.executable, "-m", "jobs", "pipeline", "--config", str(pipeline)]
    ran = subprocess.run(command, env=environment, cwd=pipeline.parent, capture_output=True, text=True, timeout=590)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("\n") == 1
    summary = subprocess.run(
        [sys.executable, "-m", "jobs.report_summary"],
        input=ran.stdout,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer, summary.stdout


class Local(NamedTuple):
    """The pipeline's run on a local store."""

    config: Path
    home: Path
    artifacts: list[str]
    summary: str
    read: set[str]  # options, as Class.option


@pytest.fixture(scope="module")
def local(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Local:
    folder = tmp_path_factory.mktemp("pipeline") / "Ein Ordner für 数据"
    pipeline = _write_configs(folder, tiny_gpt2)
    code = folder / "the códe"
    for name in PRODUCT:
        shutil.copytree(code_root() / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    read = folder / "read"
    read.mkdir()
    path = os.pathsep.join([str(Path(recorder.__file__).parent), str(code)])
    home = folder / "home of läufe"
    answer, summary = _run(pipeline, home, {"PYTHONPATH": path, "OPTIONS_READ": str(read)})
    lines = {line for file in read.iterdir() for line in file.read_text().split()}
    return Local(pipeline, home, answer["artifacts"], summary, lines)


def _options() -> list[str]:
    """Every option of every stage, as Class.option, but those that are read elsewhere."""
    found: set[str] = set()
    waiting: list[type[Config]] = [entry.config for entry in STAGES.values()]
    seen: set[type[Config]] = set(ELSEWHERE)
    while waiting:
        model = waiting.pop()
        if model not in seen:
            seen.add(model)
            for name, field in model.model_fields.items():
                inner = list(nested_models(field.annotation))
                waiting += inner
                if not inner and name not in ("stage", "type", "architecture"):
                    found.add(f"{model.__name__}.{name}")
    return sorted(found.difference(READ_FROM_SETTINGS, READ_FOR_CHATS, EXPANDED))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("option", _options())
def test_each_option_is_read_by_the_stage_that_has_it(local: Local, option: str) -> None:
    assert option in local.read


def _check_report(summary: str) -> None:
    page = Path(summary.splitlines()[-1].removeprefix("report: "))
    assert page.is_file()
    report = json.loads(page.with_name("report.json").read_text())
    assert report["features"]["count"] == 96
    assert {"path", "ev", "l0", "alive", "ce_score_zero", "kl_score_zero"} <= set(report["sae"])
    assert {"rows", "tokens", "excluded"} <= set(report["tokens"])
    assert {"download", "tokenize", "harvest", "train", "evaluate", "extract", "report"} <= set(report["seconds"])


@pytest.mark.timeout(600)
def test_the_pipeline_ends_with_a_report(local: Local) -> None:
    _check_report(local.summary)
    store = Store.open(str(local.home / "store"))
    for text in local.artifacts:
        files = store.files(parse_ref(text))
        assert all(files.path(name).stat().st_size for name in files.names)
    assert not list((local.home / "scratch").glob("*"))


@pytest.mark.timeout(600)
def test_a_store_on_s3_gets_the_bytes_of_a_local_one(
    local: Local, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens, SAEs and reports are made there; from the local store comes what they are made from."""
    url = f"{s3_server.make_bucket('pipeline')}/raylens"
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    here, there = Store.open(str(local.home / "store")), Store.open(url, str(tmp_path / "cache"))
    for ref in _all(here):
        if ref.kind not in MADE_ON_S3:
            _copy(here, there, ref)
    remote, summary = _run(local.config, tmp_path / "remote", {**s3_server.env, "RAYLENS_STORE": url})
    assert remote["artifacts"] == local.artifacts
    made = [ref for ref in _all(here) if ref.kind in MADE_ON_S3]
    assert {ref.kind for ref in made} == set(MADE_ON_S3)
    for ref in made:
        assert hashes(here, ref) == hashes(there, ref), ref
        files = there.files(ref)
        assert all(files.path(name).stat().st_size for name in files.names)
    assert Path(summary.splitlines()[-1].removeprefix("report: ")).is_file()


def _all(store: Store) -> Iterator[ArtifactRef]:
    return (ref for entry in STAGES.values() for kind in entry.kinds for ref in store.list(kind))


def _copy(source: Store, target: Store, ref: ArtifactRef) -> None:
    files = source.files(ref)
    copies = tuple(target.put(ref, 1, name, Path(files.path(name)), keep=True) for name in files.names)
    target.commit(files.manifest.model_copy(update={"files": copies, "attempt": 1}))
