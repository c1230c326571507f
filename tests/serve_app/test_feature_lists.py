"""Lists of features over HTTP: made, filled, paged, renamed, deleted; who may, and what is refused."""

from __future__ import annotations

from tests.actors.extract_world import WIDTH
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import SampleArtifacts


def test_a_list_from_making_it_to_deleting_it(site: Site, samples: SampleArtifacts) -> None:
    sae = str(samples.sae)
    made = site.writer.post("/v1/lists", json={"name": "boats"})
    assert made.status_code == 201
    path = f"/v1/lists/{made.json()['id']}"
    assert (made.json()["name"], made.json()["features"], made.json()["created_by"]) == ("boats", 0, "api:writer")
    features = [{"sae": sae, "latent": latent} for latent in (9, 2, 5, 2)]
    assert site.writer.post(f"{path}/features", json={"features": features}).json()["features"] == 3
    site.writer.patch(f"/v1/{sae}/latents/5", json={"label": "ships"})
    site.writer.put(f"/v1/{sae}/latents/5/star")
    first = site.reader.get(f"{path}/features", params={"limit": 2}).raise_for_status().json()
    assert [(one["sae"], one["latent"], one["label"], one["starred"]) for one in first["items"]] == [
        (sae, 2, "", False),
        (sae, 5, "ships", True),
    ]
    assert {one["features"] for one in first["items"]} == {str(samples.features)}, "where they can be looked at"
    rest = site.reader.get(f"{path}/features", params={"limit": 2, "cursor": first["next"]}).json()
    assert ([one["latent"] for one in rest["items"]], rest["next"]) == ([9], None)
    for _ in range(2):
        assert site.writer.delete(f"{path}/features/{samples.sae.id}/5").status_code == 204
    assert site.reader.get(path).json()["features"] == 2
    assert site.writer.patch(path, json={"name": "vessels"}).json()["name"] == "vessels"
    assert site.writer.delete(path).status_code == 204
    assert site.reader.get(path).status_code == 404
    assert site.reader.get(f"/v1/{sae}/latents/5").json()["starred"], "the star is not the list's"
    site.writer.delete(f"/v1/{sae}/latents/5/star")
    site.writer.patch(f"/v1/{sae}/latents/5", json={"label": ""})


def test_lists_are_paged_by_name_and_found_by_feature(site: Site, samples: SampleArtifacts) -> None:
    ids = {
        name: site.writer.post("/v1/lists", json={"name": name}).json()["id"] for name in ("zebras", "yaks", "newts")
    }
    for name in ("zebras", "newts"):
        body = {"features": [{"sae": str(samples.sae), "latent": 4}]}
        site.writer.post(f"/v1/lists/{ids[name]}/features", json=body).raise_for_status()
    first = site.reader.get("/v1/lists", params={"limit": 2}).json()
    rest = site.reader.get("/v1/lists", params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["name"] for one in first["items"] + rest["items"]] == ["newts", "yaks", "zebras"]
    mine = {"sae": str(samples.sae), "latent": 4}
    assert [one["name"] for one in site.reader.get("/v1/lists", params=mine).json()["items"]] == ["newts", "zebras"]
    for id in ids.values():
        site.writer.delete(f"/v1/lists/{id}").raise_for_status()


def test_lists_that_are_refused(site: Site, samples: SampleArtifacts) -> None:
    made = site.writer.post("/v1/lists", json={"name": "kept"}).json()
    path, none = f"/v1/lists/{made['id']}", f"/v1/lists/{'0' * 16}"

    def features(*latents: int, sae: str = str(samples.sae)) -> dict[str, object]:
        return {"features": [{"sae": sae, "latent": latent} for latent in latents]}

    taken = site.writer.post("/v1/lists", json={"name": "kept"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    assert taken.json()["name_owner"] == f"lists/{made['id']}"
    for response, status in (
        (site.writer.post("/v1/lists", json={"name": " x"}), 422),
        (site.writer.post("/v1/lists", json={}), 422),
        (site.writer.patch(none, json={"name": "y"}), 404),
        (site.writer.delete(none), 404),
        (site.reader.get(f"{none}/features"), 404),
        (site.writer.post(f"{none}/features", json=features(1)), 404),
        (site.writer.post(f"{path}/features", json=features(1, WIDTH)), 422),
        (site.writer.post(f"{path}/features", json=features(1, sae="saes/" + "0" * 16)), 404),
        (site.writer.post(f"{path}/features", json=features()), 422),
        (site.writer.post(f"{path}/features", json=features(*range(1001))), 422),
        (site.writer.delete(f"{none}/features/{samples.sae.id}/1"), 404),
        (site.reader.get("/v1/lists?latent=3"), 422),
        (site.reader.get("/v1/lists?cursor=WzFd"), 422),
        (site.reader.post("/v1/lists", json={"name": "z"}), 403),
        (site.reader.patch(path, json={"name": "z"}), 403),
        (site.reader.delete(path), 403),
        (site.reader.post(f"{path}/features", json=features(1)), 403),
        (site.reader.delete(f"{path}/features/{samples.sae.id}/1"), 403),
        (site.anonymous.get("/v1/lists"), 401),
    ):
        assert response.status_code == status, response.text
        assert len(response.json()["detail"]) < 500
    assert site.reader.get(path).json() == made, "nothing of it was done"
    site.writer.delete(path)
