"""A sample of what schemathesis generates; `python -m tests.serve_app.schema_cases` runs all of it under Ray Serve."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.catalog import open_catalog
from cluster.store import Store
from configs.requirements import to_json
from serve_app.app import create_app
from serve_app.security.tokens import Tokens
from serve_app.settings import ApiSettings
from tests.serve_app.conftest import Answers, serving
from tests.serve_app.sample_artifacts import SampleArtifacts
from tests.serve_app.schema_cases import ids_of, run, warm
from tests.serve_app.served import CAPACITY


@pytest.fixture
def own_site(
    tmp_path: Path, samples: SampleArtifacts, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str, SampleArtifacts]]:
    """A server on copies of everything: cases delete what they find."""
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.setenv("RAYLENS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(samples.store.url, tmp_path / "store")
    own = (samples.sae, samples.features, samples.labels, samples.probes)
    copy = SampleArtifacts(Store.open(str(tmp_path / "store")), *own)
    with open_catalog(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        copy.record(catalog)
        catalog.lease("dispatcher", "nobody", {"cluster": "here", "capacity": to_json(CAPACITY)})
        app = create_app(ApiSettings(home=tmp_path, data_roots=(tmp_path,)), catalog, copy.store, Answers(copy.store))
        _, token = Tokens(tmp_path).create("cases", ["write"])
        with serving(app) as url:
            yield url, token, copy


def test_generated_cases(own_site: tuple[str, str, SampleArtifacts]) -> None:
    url, token, samples = own_site
    warm(url, token, samples)
    found = run(url, token, 1, ids=ids_of(samples), phases="examples,fuzzing")
    assert found.status == 0, found.output[-20_000:]
    assert found.cases >= 60
