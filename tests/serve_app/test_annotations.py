"""Stars, labels and notes on latents: what is changed, listed, refused, and who changed it."""

from __future__ import annotations

from tests.actors.extract_world import WIDTH
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import SampleArtifacts


def test_stars_are_set_listed_and_removed(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/{samples.sae}/latents"
    for latent in (5, 2, 9, 5):
        starred = site.writer.put(f"{path}/{latent}/star").raise_for_status().json()
        assert (starred["sae"], starred["latent"], starred["starred"]) == (str(samples.sae), latent, True)
        assert starred["updated_by"] == "api:writer"
    assert _latents(site, path, starred="true") == [2, 5, 9]
    first = site.reader.get(path, params={"starred": "true", "limit": 2}).json()
    assert [item["latent"] for item in first["items"]] == [2, 5]
    rest = site.reader.get(path, params={"starred": "true", "limit": 2, "cursor": first["next"]}).json()
    assert ([item["latent"] for item in rest["items"]], rest["next"]) == ([9], None)
    for _ in range(2):
        assert site.writer.delete(f"{path}/5/star").raise_for_status().json()["starred"] is False
    assert _latents(site, path, starred="true") == [2, 9]
    for latent in (2, 9):
        site.writer.delete(f"{path}/{latent}/star")


def test_labels_and_notes_are_kept_apart_from_the_star(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/{samples.sae}/latents"
    assert site.reader.get(f"{path}/11").status_code == 404, "nobody has annotated it"
    assert site.writer.patch(f"{path}/11", json={"label": "boats", "notes": "and ships"}).json()["starred"] is False
    site.writer.put(f"{path}/11/star")
    assert site.writer.patch(f"{path}/11", json={"notes": ""}).json()["label"] == "boats", "what is not given stays"
    found = site.reader.get(f"{path}/11").json()
    assert (found["starred"], found["label"], found["notes"]) == (True, "boats", "")
    assert site.writer.delete(f"{path}/11/star").json()["label"] == "boats"
    history = site.reader.get(f"{path}/11/history").raise_for_status().json()
    assert [(v["version"], v["label"], v["notes"]) for v in history] == [(2, "boats", ""), (1, "boats", "and ships")]
    assert site.reader.get(f"{path}/12/history").json() == []
    assert 11 in _latents(site, path, starred="false")


def test_what_cannot_be_annotated_is_refused(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/{samples.sae}/latents"
    before = site.reader.get(path).json()
    for response, status in (
        (site.writer.put(f"{path}/{WIDTH}/star"), 422),
        (site.writer.put(f"{path}/-1/star"), 422),
        (site.writer.put(f"/v1/saes/{'0' * 16}/latents/0/star"), 404),
        (site.reader.get(f"/v1/saes/{'0' * 16}/latents"), 404),
        (site.writer.patch(f"{path}/1", json={}), 422),
        (site.writer.patch(f"{path}/1", json={"label": "x" * 501}), 422),
        (site.writer.patch(f"{path}/1", json={"notes": "a\0b"}), 422),
        (site.reader.put(f"{path}/1/star"), 403),
        (site.reader.patch(f"{path}/1", json={"label": "x"}), 403),
        (site.reader.delete(f"{path}/1/star"), 403),
    ):
        assert response.status_code == status, response.text
        assert len(response.json()["detail"]) < 500
    assert f"0 to {WIDTH - 1}" in site.writer.put(f"{path}/{WIDTH}/star").json()["detail"]
    assert site.reader.get(path).json() == before


def _latents(site: Site, path: str, **query: str) -> list[int]:
    return [item["latent"] for item in site.reader.get(path, params=query).raise_for_status().json()["items"]]
