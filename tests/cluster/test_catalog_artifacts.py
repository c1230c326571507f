"""Artifacts in the catalog: what people call them, what was made from them, who must not lose them."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.catalog import Catalog, CatalogError, InUse, JobRow, NameTaken, State
from configs.artifact_ids import ArtifactRef, parse_ref
from tests.cluster.catalog_rows import MANIFEST, REF, published, run, submit

TOKENS = {"kind": "tokens", "id": "0123456789abcdef", "stage": "tokenize", "inputs": {}}


def test_what_others_were_made_from_cannot_be_deleted(catalog: Catalog) -> None:
    published(catalog, "a" * 16, **TOKENS)
    published(catalog, "b" * 16)
    tokens, sae = ArtifactRef("tokens", "0123456789abcdef"), parse_ref(REF)
    with pytest.raises(InUse, match=f"^{tokens} cannot be deleted: {sae} needs it$") as caught:
        catalog.delete_artifact(tokens)
    assert caught.value.referrers == [str(sae)]
    assert catalog.artifact(tokens) is not None
    catalog.delete_artifact(sae)
    assert catalog.artifact(sae) is None
    catalog.delete_artifact(tokens)
    catalog.delete_artifact(tokens)  # again: nothing
    assert catalog.artifacts() == []


@pytest.mark.parametrize("role", ["input", "output"])
def test_what_a_live_job_needs_cannot_be_deleted(catalog: Catalog, role: str) -> None:
    published(catalog)
    refs: dict[str, Any] = {"inputs": {}, "outputs": []}
    refs |= {"inputs": {"sae": REF}} if role == "input" else {"outputs": [REF]}
    job = submit(catalog, "c" * 16, **refs)
    with pytest.raises(InUse, match=f"train job {job.job_id} needs it"):
        catalog.delete_artifact(parse_ref(REF))
    run(catalog, job, State.FAILED)
    catalog.delete_artifact(parse_ref(REF))


def test_many_referrers_are_counted(catalog: Catalog) -> None:
    published(catalog, **TOKENS)
    for n in range(7):
        published(catalog, f"{n}" * 16, id=f"{n}" * 16)
    with pytest.raises(InUse, match=r"saes/4444444444444444 and 2 more need it") as caught:
        catalog.delete_artifact(ArtifactRef("tokens", "0123456789abcdef"))
    assert len(caught.value.referrers) == 7


def test_an_artifact_takes_after_its_job(catalog: Catalog) -> None:
    job = submit(catalog, project="p", name="mine", tags=["b", "a", "a"], notes="n")
    run(catalog, job, State.RUNNING)
    catalog.publish(job.job_id, 1, MANIFEST)
    (row,) = catalog.artifacts()
    assert (row.ref, row.seq, row.created_by, row.project, row.name) == (REF, 1, "ada", "p", "mine")
    assert (row.tags, row.notes) == (["a", "b"], "n")
    catalog.set_labels(parse_ref(REF), name="yours", tags=["c"], notes="")
    catalog.publish(job.job_id, 1, MANIFEST | {"label": "new"})
    (row,) = catalog.artifacts()
    assert (row.label, row.name, row.tags, row.notes) == ("new", "yours", ["c"], ""), "people's words stay"


def test_a_name_is_one_artifacts_alone(catalog: Catalog) -> None:
    job = submit(catalog, name="mine", outputs=[REF, "saes/" + "e" * 16])
    run(catalog, job, State.RUNNING)
    catalog.publish(job.job_id, 1, MANIFEST)
    assert catalog.artifacts()[0].name is None, "the job makes two"
    catalog.set_labels(parse_ref(REF), name="best")
    catalog.publish(job.job_id, 1, MANIFEST | {"id": "e" * 16})
    with pytest.raises(NameTaken, match=f"'best' in project 'default' belongs to {REF}") as caught:
        catalog.set_labels(ArtifactRef("saes", "e" * 16), name="best")
    assert caught.value.holder == REF
    catalog.set_labels(parse_ref(REF), name="")
    assert catalog.set_labels(ArtifactRef("saes", "e" * 16), name="best").name == "best"


def test_an_artifact_from_its_manifest_alone(catalog: Catalog) -> None:
    row = catalog.record_artifact(MANIFEST | {"attempt": 3})
    assert (row.job_id, row.attempt, row.bytes, row.created_by, row.project) == (None, 3, 7, "", "default")
    catalog.record_artifact(MANIFEST | {"label": "new"})
    assert [(a.ref, a.label) for a in catalog.artifacts()] == [(REF, "new")]
    catalog.record_artifact(MANIFEST | TOKENS)
    with pytest.raises(InUse):
        catalog.delete_artifact(ArtifactRef("tokens", "0123456789abcdef"))
    job = published(catalog)
    catalog.record_artifact(MANIFEST)
    assert [a.job_id for a in catalog.artifacts("saes")] == [job.job_id], "who made it is not forgotten"


def test_labels_of_jobs(catalog: Catalog) -> None:
    job = submit(catalog, "a" * 16, name="one", tags=["x"], project="p")
    again = submit(catalog, "a" * 16, name="two", tags=["y"], notes="later")
    assert again.job_id == job.job_id
    row = catalog.job(job.job_id)
    assert (row.name, row.tags, row.notes, row.project) == ("one", ["x", "y"], "later", "p")
    with pytest.raises(NameTaken, match=f"'one' in project 'p' belongs to {job.job_id}"):
        submit(catalog, "b" * 16, name="one", project="p")
    assert catalog.jobs(fingerprint="b" * 16) == [], "nothing was submitted under a name that is taken"
    other = submit(catalog, "b" * 16, name="one")
    labelled = catalog.set_labels(job.job_id, name="three", tags=["z"])
    assert isinstance(labelled, JobRow)
    assert (labelled.name, labelled.tags, labelled.notes) == ("three", ["z"], "later")
    assert [j.id for j in catalog.jobs(tag="z")] == [job.job_id]
    assert catalog.jobs(tag="x") == []
    assert [j.id for j in catalog.jobs(name="one")] == [other.job_id]
    assert [j.id for j in catalog.jobs(project="p", created_by="ada", stage="train")] == [job.job_id]
    assert [j.id for j in catalog.jobs(before=other.attempt + 1)] == [job.job_id]
    for missing in ("nobody", ArtifactRef("saes", "e" * 16)):
        with pytest.raises(CatalogError, match="in the catalog"):
            catalog.set_labels(missing, notes="x")


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ({"name": ""}, "'' cannot be a name"),
        ({"name": " a"}, "no space at either end"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "a" * 101}, "1 to 100"),
        ({"project": ""}, "cannot be a project"),
        ({"tags": ["ok", "a\0"]}, "cannot be a tag"),
        ({"tags": [str(n) for n in range(33)]}, "33 tags are too many"),
        ({"notes": "n" * 10_001}, "10,001 characters"),
        ({"notes": "\0"}, "NUL"),
    ],
)
def test_labels_that_cannot_be(catalog: Catalog, labels: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        submit(catalog, **labels)
    assert catalog.jobs() == []


def test_artifacts_are_listed_newest_first_and_paged(catalog: Catalog) -> None:
    for n in range(5):
        catalog.record_artifact(MANIFEST | {"id": f"{n}" * 16, "kind": "saes" if n % 2 else "models", "inputs": {}})
    catalog.set_labels(ArtifactRef("saes", "1" * 16), tags=["good"], name="one")
    ids = [row.id[0] for row in catalog.artifacts()]
    assert ids == ["4", "3", "2", "1", "0"]
    first = catalog.artifacts(limit=2)
    assert [row.id[0] for row in catalog.artifacts(limit=2, before=first[-1].seq)] == ["2", "1"]
    assert [row.id[0] for row in catalog.artifacts("saes")] == ["3", "1"]
    assert [row.id[0] for row in catalog.artifacts(tag="good")] == ["1"]
    assert [row.id[0] for row in catalog.artifacts(name="one", project="default")] == ["1"]
    assert catalog.artifacts(created_by="ada") == catalog.artifacts(project="other") == []
