"""The catalog's artifacts are rebuilt from what the store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.catalog import open_catalog
from cluster.reindex import WrongStore, reindex
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef


def _put(store: Store, folder: Path, kind: str, digit: str, inputs: dict[str, str]) -> ArtifactRef:
    ref = ArtifactRef(kind, digit * 16)
    path = folder / "file"
    path.write_text(digit)
    stored = store.put(ref, 1, "file", path)
    store.commit(
        Manifest(kind=kind, id=ref.id, stage="tokenize", stage_version=1, attempt=1, files=(stored,), inputs=inputs)
    )
    return ref


def test_what_is_in_the_store_comes_back_and_what_is_not_goes(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    dataset = _put(store, tmp_path, "datasets", "1", {})
    tokens = _put(store, tmp_path, "tokens", "2", {"dataset": str(dataset)})
    gone = _put(store, tmp_path, "saes", "3", {"tokens": str(tokens)})
    with open_catalog(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        assert reindex(catalog, store) == (3, 0, [])
        assert {(row.kind, row.id) for row in catalog.artifacts()} == {tuple(dataset), tuple(tokens), tuple(gone)}
        store.delete(gone)
        (tmp_path / "store" / "tokens" / tokens.id / "manifest.json").write_text("{")
        found = reindex(catalog, store)
        assert (found.recorded, found.removed) == (1, 1)
        assert catalog.artifact(gone) is None
        assert len(found.faults) == 1
        assert "is damaged" in found.faults[0]
        assert catalog.artifact(tokens) is not None  # it is there, and must be looked at, not forgotten


def test_a_store_that_has_nothing_of_what_is_known_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, other = Store.open(str(tmp_path / "store")), Store.open(str(tmp_path / "other"))
    dataset = _put(store, tmp_path, "datasets", "1", {})
    monkeypatch.setenv("RAYLENS_DATABASE_URL", f"sqlite:///{tmp_path}/catalog.db")
    with open_catalog() as catalog:
        reindex(catalog, store)
        with pytest.raises(WrongStore, match=r"there is no store at .*other"):
            reindex(catalog, other)
        _put(other, tmp_path, "datasets", "2", {})
        with pytest.raises(WrongStore, match=r"none of the 1 artifacts that the catalog knows is in .*other"):
            reindex(catalog, other)
        assert [row.id for row in catalog.artifacts()] == [dataset.id], "nothing of the other was recorded"
        monkeypatch.setenv("RAYLENS_STORE", other.url)
        assert main(["reindex"]) == 1
        assert "say --empty" in capsys.readouterr().err
        assert main(["reindex", "--empty"]) == 0
        assert [row.id[0] for row in catalog.artifacts()] == ["2"]
