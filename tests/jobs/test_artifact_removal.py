"""rm and gc: what something refers to stays, and says by what; files go with their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.catalog import Catalog, open_catalog
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef
from jobs.__main__ import main

DATASET, TOKENS, CACHE, SAE = (
    ArtifactRef(kind, digit * 16)
    for kind, digit in (("datasets", "1"), ("tokens", "2"), ("activations", "3"), ("saes", "4"))
)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """A chain of artifacts: a dataset, its tokens, a cache and an SAE of those tokens."""
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.delenv("RAYLENS_STORE", raising=False)
    monkeypatch.delenv("RAYLENS_DATABASE_URL", raising=False)
    store = Store.open()
    with open_catalog() as catalog:
        for ref, inputs in (
            (DATASET, {}),
            (TOKENS, {"dataset": DATASET}),
            (CACHE, {"tokens": TOKENS}),
            (SAE, {"tokens": TOKENS}),
        ):
            path = tmp_path / "file"
            path.write_text(str(ref))
            manifest = Manifest(
                kind=ref.kind, id=ref.id, stage="train", stage_version=1, attempt=1,
                inputs={role: str(one) for role, one in inputs.items()}, files=(store.put(ref, 1, "file", path),),
            )  # fmt: skip
            store.commit(manifest)
            catalog.record_artifact(manifest.model_dump(mode="json"))
        yield catalog


def _there() -> set[ArtifactRef]:
    store = Store.open()
    return {ref for ref in (DATASET, TOKENS, CACHE, SAE) if store.manifest(ref) is not None}


def test_rm_removes_row_and_files_unless_something_refers_to_them(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rm", str(TOKENS)]) == 1
    said = capsys.readouterr()
    assert f"error: {TOKENS} cannot be deleted: {CACHE}, {SAE} need it" in said.err
    assert json.loads(said.out)["state"] == "FAILED"
    assert main(["rm", str(SAE), str(CACHE), str(TOKENS)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"removed": [str(SAE), str(CACHE), str(TOKENS)], "bytes": answer["bytes"]}
    assert answer["bytes"] > 0
    assert _there() == {DATASET}
    assert catalog.artifact(SAE) is None


@pytest.mark.parametrize(("given", "says"), [("saes/" + "9" * 16, "there is no artifact saes/"), ("saes", "saes")])
@pytest.mark.usefixtures("catalog")
def test_rm_of_what_is_not_there_is_one_message(given: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rm", given]) == 1
    assert says in capsys.readouterr().err


def test_gc_removes_intermediate_artifacts_that_nothing_refers_to(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", "--days", "0", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) | {"bytes": 0} == {"removed": [str(CACHE)], "bytes": 0, "dry_run": True}
    assert f"keeps {TOKENS}: {SAE} need it" in said.err
    assert len(_there()) == 4
    assert main(["gc"]) == 0  # nothing is a day old
    assert json.loads(capsys.readouterr().out)["removed"] == []
    assert main(["gc", "--days", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == [str(CACHE)]
    assert _there() == {DATASET, TOKENS, SAE}
    assert main(["rm", str(SAE)]) == 0
    capsys.readouterr()
    assert main(["gc", "--days", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == [str(TOKENS), str(DATASET)]  # one frees the other


@pytest.mark.parametrize("keeper", ["a live job", "a name", "a tag"])
def test_gc_keeps_what_a_live_job_needs_and_what_has_a_name(
    catalog: Catalog, keeper: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if keeper == "a live job":
        catalog.submit(
            stage="evaluate", fingerprint="f" * 16, config={}, requirement={}, outputs=[], drive=False,
            inputs={"activations": str(CACHE)}, created_by="ada",
        )  # fmt: skip
    else:
        catalog.set_labels(CACHE, **({"name": "mine"} if keeper == "a name" else {"tags": ["mine"]}))  # type: ignore[arg-type]
    assert main(["gc", "--days", "0"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["removed"] == []
    assert f"keeps {CACHE}: " in said.err
    assert len(_there()) == 4
