"""Near misses: the feature is silent on a token of its examples, as the extraction's own pass says."""

from __future__ import annotations

import asyncio

import pytest

from configs.artifact_ids import parse_ref
from sae.formats.features import FeaturesReader
from sae.formats.tokens import Role, TokensReader
from serve_app import near_misses
from serve_app.near_misses import find_near_misses, pieces_with
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import SampleArtifacts


def tokens_of(samples: SampleArtifacts) -> tuple[FeaturesReader, TokensReader]:
    reader = FeaturesReader(samples.store.files(samples.features))
    return reader, TokensReader(samples.store.files(parse_ref(reader.info.inputs["tokens"])), reader.info.split)


def test_a_near_miss_has_a_token_of_the_examples_and_no_activation(site: Site, samples: SampleArtifacts) -> None:
    reader, tokens = tokens_of(samples)
    some = 0
    for latent in range(6):
        path = f"/v1/{samples.features}/latents/{latent}"
        found = site.reader.get(f"{path}/near-misses", params={"limit": 4}).raise_for_status().json()
        examples = reader.examples([latent], ["row", "position"]).to_pylist()
        active = {(one["row"], one["position"]) for one in examples}
        forms = {int(tokens.read(row, row + 1).input_ids[0, at]) for row, at in active}
        for one in found["items"]:
            row = tokens.read(one["row"], one["row"] + 1)
            assert int(row.input_ids[0, one["position"]]) in forms
            assert row.roles[0, one["position"]] == Role.DATA
            assert (one["row"], one["position"]) not in active
            assert (one["kind"], one["activation"], one["activations"][one["at"]]) == ("near", 0, 0)
            assert one["tokens"][one["at"]] in found["tokens"]
        assert len(found["items"]) <= 4
        assert len(found["items"]) <= found["silent"] <= found["positions"]
        some += len(found["items"])
        again = site.reader.get(f"{path}/near-misses", params={"limit": 4}).json()
        assert again == found, "the same rows each time"
    assert some >= 4


def test_what_an_extraction_says_is_active_is_no_near_miss(
    samples: SampleArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feature that is active at every position has none, one that is silent at all has as many as are wanted."""
    _, tokens = tokens_of(samples)
    row = tokens.read(0, 1)
    form = int(row.input_ids[0, (row.roles[0] == Role.DATA).argmax()])
    pieces = pieces_with(tokens, [form], 1)
    assert 0 < len(pieces) <= near_misses.ROWS_RUN

    def search(value: float, left_out: str | None = None, limit: int = 3) -> near_misses.FoundNearMisses:
        async def run(ids: list[int], roles: list[int]) -> tuple[list[float], list[str | None]]:
            return [value] * len(ids), [left_out] * len(ids)

        return asyncio.run(find_near_misses(pieces, [form], run, limit))

    loud, quiet, excluded = search(1.0), search(0.0), search(0.0, "sink")
    assert (loud.misses, loud.silent, loud.rows) == ([], 0, len(pieces))
    assert loud.positions > 0
    assert 0 < len(quiet.misses) <= 3
    assert all(one.ids[one.at] == form for one in quiet.misses)
    assert (excluded.misses, excluded.positions) == ([], 0)
    monkeypatch.setattr(near_misses, "SECONDS", -1.0)
    assert search(1.0).rows == 0, "the time is up before the first row"


def test_near_misses_that_are_refused(site: Site, samples: SampleArtifacts) -> None:
    for path, status in (
        (f"/v1/{samples.features}/latents/99999/near-misses", 404),
        (f"/v1/features/{'0' * 16}/latents/1/near-misses", 404),
        (f"/v1/{samples.features}/latents/1/near-misses?limit=17", 422),
    ):
        assert site.reader.get(path).status_code == status, path
