"""The resources: lists, one of each, labels, files, previews, jobs, problems."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.machines.paths import code_root
from configs.artifact_ids import ArtifactRef
from sae.formats.tokens import Role, TokensReader
from serve_app.app import create_app
from serve_app.openapi import description
from tests.actors.extract_world import WIDTH, K
from tests.artifacts import put_folder
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import CHAT, DATASET, DOCUMENTS, EVALUATION, MODEL, TOKENS, SampleArtifacts

TEXT = "Anna wrote about the harbour. The captain steers the grey boat."


def test_every_kind_is_listed_and_shown(site: Site, samples: SampleArtifacts) -> None:
    for ref in samples.refs():
        path = f"/v1/{ref.kind}"
        listed = site.reader.get(path).raise_for_status().json()
        assert str(ref) in [item["ref"] for item in listed["items"]]
        one = site.reader.get(f"{path}/{ref.id}").raise_for_status()
        body = one.json()
        assert (body["ref"], body["url"]) == (str(ref), f"{path}/{ref.id}")
        assert {file["name"] for file in body["files"]} == set(site.store.files(ref).names)
        again = site.reader.get(f"{path}/{ref.id}", headers={"If-None-Match": one.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_model_shows_its_architecture_and_hooks(site: Site) -> None:
    body = site.reader.get(f"/v1/models/{MODEL.id}").json()
    assert body["architecture"] == "GPT2LMHeadModel"
    assert body["hooks"][:2] == ["blocks.0.hook_resid_pre", "blocks.0.hook_attn_out"]
    assert "blocks.2.hook_resid_post" in body["hooks"]
    assert body["config"]["source"]["path"] == "tiny", "the path of the server is not shown"
    assert [(one["dtype"], one["bytes"] // body["parameters"]) for one in body["memory"]] == [
        ("fp32", 4),
        ("bf16", 2),
        ("fp16", 2),
    ]
    assert all(one["nodes"] == one["free_nodes"] == 1 for one in body["memory"])
    assert {token["role"]: token["text"] for token in body["special_tokens"]} == {
        "bos": "<|endoftext|>",
        "eos": "<|endoftext|>",
    }


def test_a_model_that_cannot_be_read_has_a_page(site: Site, tmp_path: Path) -> None:
    ref = ArtifactRef("models", "9" * 16)
    (tmp_path / "config.json").write_text('{"model_type": "nosuch", "num_hidden_layers": 2}')
    put_folder(site.store, ref, tmp_path, "download")
    manifest = site.store.manifest(ref)
    assert manifest is not None
    site.catalog.record_artifact(manifest.model_dump(mode="json"))
    try:
        body = site.reader.get(f"/v1/{ref}").raise_for_status().json()
        assert (body["hooks"], body["files"][0]["name"]) == ([], "config.json")
        assert 10 < len(body["hooks_unknown"]) <= 500
        assert "Traceback" not in body["hooks_unknown"]
        assert body["memory"] == body["special_tokens"] == []
    finally:
        site.writer.delete(f"/v1/{ref}").raise_for_status()


def test_tokens_show_their_options(site: Site) -> None:
    body = site.reader.get(f"/v1/tokens/{TOKENS.id}").json()
    assert (body["add_special_tokens"], body["return_attention_mask"]) == (True, False)
    assert body["statistics"]["tokens"] == 1248


def test_samples_are_paged_over_files(site: Site) -> None:
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"limit": 7, **({"cursor": cursor} if cursor else {})}
        page = site.reader.get(f"/v1/datasets/{DATASET.id}/samples", params=query).raise_for_status().json()
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [row["doc"] for row in seen] == list(range(DOCUMENTS))
    assert {row["split"] for row in seen} == {"train", "test"}
    assert seen[0]["columns"] == {"topic": "x"}
    assert [row["doc"] for row in seen if row["messages"] is not None] == [CHAT]
    thought = {"thinking": "It is a boat.", "tool_calls": None, "tool_call_id": None, "name": None}
    assert seen[CHAT]["messages"][1] == {"role": "assistant", "content": "The captain.", **thought}
    short = site.reader.get(f"/v1/datasets/{DATASET.id}/samples", params={"characters": 1, "limit": 1}).json()["items"][
        0
    ]
    assert (len(short["text"]), short["text_bytes"]) == (1, seen[0]["text_bytes"])


def test_features_are_filtered_sorted_and_paged(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/features/{samples.features.id}/latents"
    query = {"sort": "density", "order": "desc", "alive": "true", "limit": 10}
    seen: list[dict[str, Any]] = []
    page = site.reader.get(path, params=query).raise_for_status().json()
    total = page["total"]
    while True:
        seen += page["items"]
        if page["next"] is None:
            break
        page = site.reader.get(path, params={**query, "cursor": page["next"]}).raise_for_status().json()
    assert len(seen) == total > 10
    assert 7 not in [one["latent"] for one in seen], "feature 7 never fires"
    order = [(-one["density"], one["latent"]) for one in seen]
    assert order == sorted(order)
    token = seen[0]["promoted_tokens"][0]
    found = site.reader.get(path, params={"token": token, "limit": 200}).json()["items"]
    assert seen[0]["latent"] in [one["latent"] for one in found]
    everything = site.reader.get(path, params={"limit": 200}).json()["items"]
    promoting = [one for one in everything if any(token.lower() in t.lower() for t in one["promoted_tokens"])]
    assert [one["latent"] for one in found] == [one["latent"] for one in promoting]
    assert len(promoting) < len(everything) == WIDTH


def test_one_feature_and_its_examples(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/features/{samples.features.id}/latents"
    best = site.reader.get(path, params={"sort": "max", "order": "desc", "limit": 1}).json()["items"][0]
    one = site.reader.get(f"{path}/{best['latent']}").raise_for_status().json()
    assert sum(part["count"] for part in one["histogram"]) == one["count"] == best["count"]
    examples = site.reader.get(f"{path}/{best['latent']}/examples").raise_for_status().json()
    top = [example for example in examples if example["kind"] == "top"]
    assert top[0]["activation"] == best["max"] == top[0]["activations"][top[0]["at"]]
    assert len(top[0]["tokens"]) == len(top[0]["activations"])
    assert site.reader.get(f"{path}/96").status_code == 404


def test_examples_are_of_one_document_without_padding_and_say_what_is_no_data(
    site: Site, samples: SampleArtifacts
) -> None:
    rows, found = TokensReader(site.store.files(TOKENS), "train"), []
    for latent in range(0, 96, 5):
        found += site.reader.get(f"/v1/features/{samples.features.id}/latents/{latent}/examples").json()
    for one in found:
        row, start = rows.read(one["row"], one["row"] + 1), one["position"] - one["at"]
        roles = row.roles[0, start : start + len(one["tokens"])]
        assert len(one["tokens"]) == len(one["activations"]) == len(roles)
        assert not (roles == Role.PAD).any()
        silent = np.array(one["activations"]) == 0
        assert one["excluded"] == np.flatnonzero((roles != Role.DATA) & silent).tolist()
    assert any(one["excluded"] for one in found)


def test_lists_are_filtered_by_the_fields_of_their_kind(site: Site, samples: SampleArtifacts) -> None:
    sae = str(samples.sae)
    own = site.reader.get(f"/v1/{sae}").json()["fields"]
    assert own == {"hook": "blocks.1.hook_resid_post", "architecture": "topk", "d_sae": WIDTH, "k": K, "ev": 0.8, "l0": 6.0,
                   "evaluation": str(EVALUATION), "model": str(MODEL), "tokens": str(TOKENS)}  # fmt: skip
    for query, found in (
        (
            {"hook": "blocks.1.hook_resid_post", "architecture": "topk", "min_ev": 0.8, "max_l0": 6, "d_sae": WIDTH},
            [sae],
        ),
        ({"model": str(MODEL), "min_d_sae": WIDTH, "max_k": K}, [sae]),
        ({"hook": "blocks.2.hook_resid_post"}, []),
        ({"min_ev": 0.81}, []),
        ({"max_l0": 5.9}, []),
        ({"evaluation": str(EVALUATION), "limit": 1}, [sae]),
    ):
        items = site.reader.get("/v1/saes", params=query).raise_for_status().json()["items"]
        assert [item["ref"] for item in items] == found, query
    for kind, query in (("tokens", {"dataset": str(DATASET), "context_length": 48}), ("models", {"min_layers": 3}),
                        ("features", {"sae": sae, "min_n_features": WIDTH}), ("evaluations", {"sae": sae, "min_ev": 0.5}),
                        ("datasets", {"min_documents": DOCUMENTS})):  # fmt: skip
        assert len(site.reader.get(f"/v1/{kind}", params=query).raise_for_status().json()["items"]) == 1, kind
    for query in (
        {"min_hook": "x"},
        {"ev": "nan"},
        {"d_sae": "many"},
        {"d_sae": 2**64},
        {"documents": 3},
        {"hook": ""},
    ):
        refused = site.reader.get("/v1/saes", params=query)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), query
    assert site.reader.get("/v1/reports", params={"min_ev": 0}).status_code == 422, "reports have no fields"


def test_labels_and_conflicts(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/saes/{samples.sae.id}"
    body = (
        site.writer.patch(path, json={"name": "tiny sae", "tags": ["b", "a"], "notes": "try"}).raise_for_status().json()
    )
    assert (body["name"], body["tags"], body["notes"]) == ("tiny sae", ["a", "b"], "try")
    assert [i["name"] for i in site.reader.get("/v1/saes", params={"tag": "a"}).json()["items"]] == ["tiny sae"]
    refused = site.writer.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert str(samples.features) in refused.json()["referrers"]
    assert site.writer.patch(path, json={"name": ""}).json()["name"] is None


def test_a_range_is_a_part_or_a_problem(site: Site, samples: SampleArtifacts) -> None:
    name = site.reader.get(f"/v1/saes/{samples.sae.id}").json()["files"][0]["name"]
    path = f"/v1/saes/{samples.sae.id}/files/{name}"
    whole = site.reader.get(path)

    def asked(value: str, **more: str) -> Any:
        return site.reader.get(path, headers={"Range": value, **more})

    for value, part in (
        ("bytes=2-5", whole.content[2:6]),
        ("bytes=-3", whole.content[-3:]),
        ("bytes=1-", whole.content[1:]),
    ):
        assert (asked(value).status_code, asked(value).content) == (206, part)
    assert asked("bytes=0-1", **{"If-Range": whole.headers["etag"]}).status_code == 206
    for value in ("x", "bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"):
        assert (asked(value).status_code, asked(value).content) == (200, whole.content)
    assert asked("bytes=0-1", **{"If-Range": '"other"'}).status_code == 200
    for value in (f"bytes={len(whole.content)}-", "bytes=-0"):
        beyond = asked(value)
        assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
        assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"


def test_files_and_archives(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/saes/{samples.sae.id}"
    whole = site.reader.get(f"{path}/files/sae_weights.safetensors").raise_for_status()
    assert whole.content == site.store.files(samples.sae).path("sae_weights.safetensors").read_bytes()
    part = site.reader.get(f"{path}/files/sae_weights.safetensors", headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, whole.content[8:16])
    archive = site.reader.get(f"{path}/archive").raise_for_status()
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        names = tar.getnames()
        weights = tar.extractfile(f"{samples.sae.id}/sae_weights.safetensors")
        assert weights is not None
        assert weights.read() == whole.content
    assert f"{samples.sae.id}/cfg.json" in names
    curves = site.reader.get(f"{path}/curves", params={"points": 5}).raise_for_status().json()
    assert curves["steps"] == 40
    assert curves["columns"]["step"] == [0, 10, 20, 29, 39]
    assert site.reader.get(f"{path}/metrics").json() == {"ev": 0.8, "l0": 6.0}


@pytest.mark.parametrize("special", [True, False])
def test_a_preview_is_what_the_stage_would_make(site: Site, special: bool) -> None:
    body = {"model": str(MODEL), "text": TEXT, "add_special_tokens": special, "return_attention_mask": special}
    preview = site.reader.post("/v1/text/tokens", json=body).raise_for_status().json()
    tokens = preview["tokens"]
    text = [token["text"] for token in tokens if token["role"] == "data"]
    assert "".join(text) == TEXT
    assert [token["position"] for token in tokens] == list(range(len(tokens)))
    assert tokens[-1]["special"] is special, "the separator"
    assert preview["attention_mask"] == ([1] * len(tokens) if special else None)
    assert preview["counts"] == {
        "rows": 1, "tokens": len(tokens), "special": int(special), "regular": len(text), "characters": len(TEXT),
    }  # fmt: skip
    long = site.reader.post("/v1/text/tokens", json={**body, "text": "x" * 1001})
    assert long.status_code == 422


def test_a_preview_has_the_rows_that_the_options_give(site: Site) -> None:
    body = {"model": str(MODEL), "text": TEXT, "separator": "none"}
    whole = [token["id"] for token in site.reader.post("/v1/text/tokens", json=body).json()["tokens"]]
    more = {"context_length": 8, "stride": 3, "padding": "max_length", "padding_side": "left"}
    preview = site.reader.post("/v1/text/tokens", json={**body, **more}).raise_for_status().json()
    rows = preview["counts"]["rows"]
    assert rows == 1 + -(-(len(whole) - 8) // 5)
    assert [(t["row"], t["position"]) for t in preview["tokens"]] == [(r, p) for r in range(rows) for p in range(8)]
    assert [t["id"] for t in preview["tokens"] if t["role"] == "data"] == whole
    assert sum(t["role"] == "repeated" for t in preview["tokens"]) == 3 * (rows - 1)
    assert preview["attention_mask"] == [int(t["role"] != "pad") for t in preview["tokens"]]
    assert preview["tokens"][-1]["role"] == "data"
    for wrong, message in (
        ({"padding": "max_length"}, "`context_length`, which is not given"),
        ({"truncation": "cut", "stride": 2}, "set it to 0"),
        ({"add_special_tokens": False, "bos": "always"}, "leave out `bos: always`"),
        ({"context_length": 8, "truncation": "refuse"}, "do not fit into a row"),
    ):
        refused = site.reader.post("/v1/text/tokens", json={**body, **wrong})
        assert (refused.status_code, message in refused.json()["detail"]) == (422, True), refused.text


def test_which_features_fire_on_a_text(site: Site, samples: SampleArtifacts) -> None:
    """On the text of an example, the API finds the activations that the extraction stored."""
    path = f"/v1/features/{samples.features.id}/latents"
    best = site.reader.get(path, params={"sort": "max", "order": "desc", "limit": 1}).json()["items"][0]["latent"]
    example = site.reader.get(f"{path}/{best}/examples", params={"kind": "top"}).json()[0]
    before = example["tokens"][1 : example["at"] + 1]  # the first is the row's BOS, which the API puts in itself
    assert example["position"] == example["at"], "the window begins with the row"
    request = {"sae": str(samples.sae), "text": "".join(before), "top": 6, "latents": [best]}
    found = site.reader.post("/v1/text/features", json=request).raise_for_status().json()
    assert found["tokens"][0]["excluded"] == "bos"
    assert found["latents"][str(best)][-1] == pytest.approx(example["activation"], rel=1e-3)
    assert best in [one["latent"] for one in found["tokens"][-1]["top"]]
    assert max(one["max"] for one in found["top"]) == found["top"][0]["max"]
    absent = site.reader.post("/v1/text/features", json={**request, "latents": [96]})
    assert (absent.status_code, absent.json()["code"]) == (422, "invalid_request")


def test_jobs_that_use_the_memory_of_a_language_model_are_named(site: Site, samples: SampleArtifacts) -> None:
    body = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 32, "seed": 900,
            "resources": {"memory": (4 << 30) - (256 << 20)}}  # fmt: skip
    job = site.writer.post("/v1/tokens", json=body).raise_for_status().json()["job"]["id"]
    site.catalog.grant(job, 1, f"{job}-a1", "here")
    refused = site.reader.post("/v1/text/features", json={"sae": str(samples.sae), "text": "x"})
    site.catalog.lose(job, 1, "test", "over")
    assert (refused.status_code, refused.json()["code"]) == (503, "no_capacity")
    assert refused.json()["blocked_by"] == [job]
    assert int(refused.headers["retry-after"]) > 0


def test_problems_are_problem_details(site: Site) -> None:
    for response, status, code in (
        (site.reader.get("/v1/jobs/train-0123456789"), 404, "not_found"),
        (site.reader.get("/v1/nothing"), 404, "not_found"),
        (site.reader.get("/v1/jobs", params={"colour": "red"}), 422, "invalid_request"),
        (site.reader.get("/v1/jobs", params={"cursor": "WzFd!"}), 422, "invalid_request"),
        (site.reader.get("/v1/jobs", params={"cursor": "eyJhIjoxfQ"}), 422, "invalid_cursor"),
        (site.writer.put("/v1/jobs"), 405, "method_not_allowed"),
        (
            site.writer.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"}),
            400,
            "malformed_json",
        ),
    ):
        body = response.json()
        assert (response.status_code, body["code"], body["status"]) == (status, code, status)
        assert response.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "detail"} <= set(body)
    assert set(site.writer.put("/v1/jobs").headers["allow"].split(", ")) == {"GET", "POST"}


def test_the_document_describes_everything(site: Site) -> None:
    document = site.anonymous.get("/openapi.json").raise_for_status().json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (method, path, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        for field, body in schema.get("properties", {}).items():
            described = (
                "const" in body
                or "description" in body
                or "$ref" in body
                or any("$ref" in one for one in body.get("allOf", []))
            )
            assert described, f"{name}.{field} is not described"


def test_the_tables_of_the_documentation_are_those_of_the_registries() -> None:
    text = (code_root() / "docs" / "api.md").read_text(encoding="utf-8")
    assert description.kinds_table() in text
    assert description.filters_table() in text


def test_the_routes_of_the_documentation_exist(site: Site) -> None:
    paths = {re.sub(r"{\w+}", "X", path) for path in site.app.openapi()["paths"]}
    text = (code_root() / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"/v1/[\w/$%*#{}.-]*[\w}]", text)
    kind = r"/(KIND|\$MODEL|\$SAE)(?=/|$)"
    for one in named:
        path = re.sub(kind, lambda m: "/saes" if m[1] == "KIND" else "/saes/X", re.sub(r"{\w+}", "X", one))
        path = re.sub(r"/(ID|LATENT|NAME|42|\$id|download-0f3c9a7b21)(?=/|$)", "/X", path)
        assert path in paths or path.endswith("/ws"), one


def test_generators_of_clients_find_no_name_twice(site: Site) -> None:
    """They name the type of an object within a schema after both: Artifact's `summary` is their ArtifactSummary."""
    schemas = site.app.openapi()["components"]["schemas"]
    names = {name.casefold() for name in schemas}
    for name, schema in schemas.items():
        for field, body in schema.get("properties", {}).items():
            if body.get("type") == "object":
                inner = (name + body.get("title", field)).replace(" ", "").replace("_", "")
                assert inner.casefold() not in names, f"{name}.{field}"


def test_only_the_application_is_needed(site: Site) -> None:
    """The factory makes as many applications as one likes: nothing is kept at module level."""
    other = create_app(site.app.state.api.settings, site.catalog, site.store)
    assert other.openapi() == site.app.openapi()


def test_features_that_tell_groups_of_texts_apart(site: Site, samples: SampleArtifacts) -> None:
    """A group of one text many times over, against another: features that are active on it alone have an effect of 1."""
    a, b = ["the sea and the boat"] * 4, ["a dog ran home"] * 4
    body = {"sae": str(samples.sae), "a": a, "b": b, "top": 50}
    found = site.reader.post("/v1/text/contrast", json=body).raise_for_status().json()
    assert found["features"][0]["effect"] in (0, 1)
    assert found["chance"] <= 0.5
    effects = [abs(one["effect"] - 0.5) for one in found["features"]]
    assert effects == sorted(effects, reverse=True)
    for one in found["features"]:
        active = [
            site.reader.post("/v1/text/features", json={"sae": str(samples.sae), "text": t, "latents": [one["latent"]]}).json()
            for t in (a[0], b[0])
        ] if one is found["features"][0] else []  # fmt: skip
        for answer, mean in zip(active, (one["mean_a"], one["mean_b"]), strict=False):
            assert max(answer["latents"][str(one["latent"])]) == pytest.approx(mean, rel=1e-4)
    swapped = site.reader.post("/v1/text/contrast", json={**body, "a": b, "b": a}).json()
    assert swapped["features"][0]["effect"] == 1 - found["features"][0]["effect"]
    alone = site.reader.post("/v1/text/contrast", json={**body, "a": a[:1]})
    assert (alone.status_code, alone.json()["code"]) == (422, "invalid_request")


def test_similar_features_stand_beside_chance(site: Site, samples: SampleArtifacts) -> None:
    path = f"/v1/saes/{samples.sae.id}/latents/3/similar"
    found = site.reader.get(path, params={"sae": str(samples.sae), "limit": 4}).raise_for_status().json()
    assert found["features"][0] == {"latent": 3, "cosine": pytest.approx(1, abs=1e-5)}
    assert found["features"][1]["cosine"] < 1
    assert 0 < found["chance"] < 1
    neighbours = site.reader.get(f"/v1/features/{samples.features.id}/latents/3").json()["neighbours"]
    assert [one["latent"] for one in neighbours[:3]] == [one["latent"] for one in found["features"][1:]]
    assert site.reader.get(path, params={"sae": "saes/" + "9" * 16}).status_code == 404
    assert site.reader.get(path.replace("/3/", "/96/"), params={"sae": str(samples.sae)}).status_code == 404
