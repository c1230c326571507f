"""What the probe stage refuses: labels, tokens, SAEs and settings that cannot be probed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.load import parse_config
from configs.probe import ProbeConfig
from jobs.stages import probe
from sae.formats.artifact_files import LocalFiles
from tests.actors.extract_world import HOOKS, MODEL, put_artifact
from tests.jobs.probe_world import CONFIG, SPURIOUS, TOKENS, job_of, one_process, saes, split_documents, store
from tests.labelled_tokens import write_labelled

__all__ = ["one_process", "saes", "store"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_column": "colour"}, r"no column 'colour': they have 'topic', 'half'\. Tokenize with `metadata_columns"),
        ({"split": "test"}, "no tokens of split 'test'; there are train"),
        ({"classes": ["kitchen", "garden"]}, "0 documents with 'garden', and min_documents is 20"),
        ({"min_documents": 300, "documents_per_class": 300}, "no value of column 'topic' has min_documents"),
        ({"class_column": "half", "classes": ["early"], "test_fraction": 0.95, "documents_per_class": 40},
         r"class 'early' has \d training and \d+ test documents"),
        ({"spurious": {**SPURIOUS, "values": ["early", "never"]}}, "topic 'kitchen' with half 'never' has 0 training and 0 test"),
        ({"spurious": {**SPURIOUS, "column": "day"}}, "no column 'day'"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_probed(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        probe.run(job_of(store, saes[:1], tmp_path / "job", config))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (["topic"], {"packing": "best_fit"}, r"packed \(`packing: best_fit`\).*`packing: off`"),
        ([], {}, "no column 'topic': they keep no columns"),
        (["one"], {}, "column 'one' has only 'same': .* two are needed"),
        (["none"], {}, "column 'none' has no value at all"),
        (["equal"], {}, "where equal texts count on one side"),
    ],
    ids=["packed", "no columns", "one class", "no values", "equal texts"],
)
def test_tokens_that_cannot_be_probed(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, columns: list[str], options: dict[str, Any], message: str
) -> None:
    n = 200
    values: dict[str, list[str | None]] = {
        "topic": ["a", "b"] * 100, "one": ["same"] * n, "none": [None] * n, "equal": ["a", "b"] * 100,
    }  # fmt: skip
    ids = [[5, 6, 7 + i % 2] for i in range(n)] if columns == ["equal"] else [[5, 6, 7 + i] for i in range(n)]
    folder = write_labelled(tmp_path / "tokens", ids, {name: values[name] for name in columns}, **options)
    config = ProbeConfig.model_validate({"sae": str(saes[0]), **CONFIG, "class_column": (columns or ["topic"])[0]})
    with pytest.raises(ValueError, match=message) as error:
        split_documents(LocalFiles(folder), config)
    assert len(str(error.value)) < 500


def test_saes_that_do_not_belong_together(store: Store, saes: list[ArtifactRef], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same hook and model") as error:
        probe.run(job_of(store, saes[:1], tmp_path / "job", {"compare_with": [str(saes[1])]}))
    assert HOOKS[1] in str(error.value) and len(str(error.value)) < 500
    other = ArtifactRef("tokens", "7" * 16)
    copy = shutil.copytree(store.files(TOKENS).directory(), tmp_path / "copy")  # files are moved into an artifact
    put_artifact(store, other, Path(copy), inputs={"model": f"models/{'8' * 16}"})
    with pytest.raises(ValueError, match=r"were made for models/8+, and .* tokenize the documents for that model"):
        probe.run(job_of(store, saes[:1], tmp_path / "other", {"tokens": str(other)}))


@pytest.mark.parametrize(
    ("metadata", "inputs", "message"),
    [
        ({"hook_name_out": "blocks.1.hook_mlp_out"}, {"model": str(MODEL)}, "is a transcoder"),
        ({}, {"activations": f"activations/{'0' * 16}"}, "planted activations: there is no text"),
    ],
    ids=["transcoder", "planted"],
)
def test_saes_without_a_hook_to_probe(
    store: Store,
    saes: list[ArtifactRef],
    tmp_path: Path,
    metadata: dict[str, str],
    inputs: dict[str, str],
    message: str,
) -> None:
    folder = tmp_path / "sae"
    shutil.copytree(store.files(saes[0]).directory(), folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").chmod(0o644)
    (folder / "cfg.json").write_text(json.dumps({**cfg, "metadata": {**cfg["metadata"], **metadata}}))
    ref = ArtifactRef("saes", ("d" if metadata else "e") * 16)
    put_artifact(store, ref, folder, config=store.files(saes[0]).manifest.config, inputs=inputs)
    with pytest.raises(ValueError, match=message):
        probe.run(job_of(store, [ref], tmp_path / "job", {}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"k": [2, 2]}, "`k` names one twice"),
        ({"k": []}, "at least 1 item"),
        ({"compare_with": [f"saes/{'0' * 16}"]}, "names `sae` itself"),
        ({"spurious": {**SPURIOUS, "column": "topic"}}, "`spurious.column` is `class_column`"),
        ({"spurious": {**SPURIOUS, "values": ["x", "x"]}}, "names 'x' twice"),
        ({"documents_per_class": 40}, "`documents_per_class` 40 is less than `min_documents` 64"),
        ({"split": "dev"}, "'train', 'validation' or 'test'"),
    ],
)
def test_settings_that_have_no_meaning(config: dict[str, Any], message: str) -> None:
    body = {"sae": f"saes/{'0' * 16}", "tokens": str(TOKENS), "class_column": "topic"}
    with pytest.raises((ValidationError, ValueError), match=message):
        parse_config("probe", {**body, **config})
