"""Artifacts in the catalog: what people call them, what was made from them, who must not lose them."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.records import InUse, JobRow, NameTaken, Records, RecordsError, State
from configs.identity import ArtifactRef, parse_ref
from tests.cluster.catalog import MANIFEST, REF, published, run, submit

TOKENS = {"kind": "tokens", "id": "0123456789abcdef", "stage": "tokenize", "inputs": {}}


def test_what_others_were_made_from_cannot_be_deleted(records: Records) -> None:
    published(records, "a" * 16, **TOKENS)
    published(records, "b" * 16)
    tokens, sae = ArtifactRef("tokens", "0123456789abcdef"), parse_ref(REF)
    with pytest.raises(InUse, match=f"^{tokens} cannot be deleted: {sae} needs it$") as caught:
        records.delete_artifact(tokens)
    assert caught.value.referrers == [str(sae)]
    assert records.artifact(tokens) is not None
    records.delete_artifact(sae)
    assert records.artifact(sae) is None
    records.delete_artifact(tokens)
    records.delete_artifact(tokens)  # again: nothing
    assert records.artifacts() == []


@pytest.mark.parametrize("role", ["input", "output"])
def test_what_a_live_job_needs_cannot_be_deleted(records: Records, role: str) -> None:
    published(records)
    refs: dict[str, Any] = {"inputs": {}, "outputs": []}
    refs |= {"inputs": {"sae": REF}} if role == "input" else {"outputs": [REF]}
    job = submit(records, "c" * 16, **refs)
    with pytest.raises(InUse, match=f"train job {job.job_id} needs it"):
        records.delete_artifact(parse_ref(REF))
    run(records, job, State.FAILED)
    records.delete_artifact(parse_ref(REF))


def test_many_referrers_are_counted(records: Records) -> None:
    published(records, **TOKENS)
    for n in range(7):
        published(records, f"{n}" * 16, id=f"{n}" * 16)
    with pytest.raises(InUse, match=r"saes/4444444444444444 and 2 more need it") as caught:
        records.delete_artifact(ArtifactRef("tokens", "0123456789abcdef"))
    assert len(caught.value.referrers) == 7


def test_an_artifact_takes_after_its_job(records: Records) -> None:
    job = submit(records, project="p", name="mine", tags=["b", "a", "a"], notes="n")
    run(records, job, State.RUNNING)
    records.publish(job.job_id, 1, MANIFEST)
    (row,) = records.artifacts()
    assert (row.ref, row.seq, row.created_by, row.project, row.name) == (REF, 1, "ada", "p", "mine")
    assert (row.tags, row.notes) == (["a", "b"], "n")
    records.set_labels(parse_ref(REF), name="yours", tags=["c"], notes="")
    records.publish(job.job_id, 1, MANIFEST | {"label": "new"})
    (row,) = records.artifacts()
    assert (row.label, row.name, row.tags, row.notes) == ("new", "yours", ["c"], ""), "people's words stay"


def test_a_name_is_one_artifacts_alone(records: Records) -> None:
    job = submit(records, name="mine", outputs=[REF, "saes/" + "e" * 16])
    run(records, job, State.RUNNING)
    records.publish(job.job_id, 1, MANIFEST)
    assert records.artifacts()[0].name is None, "the job makes two"
    records.set_labels(parse_ref(REF), name="best")
    records.publish(job.job_id, 1, MANIFEST | {"id": "e" * 16})
    with pytest.raises(NameTaken, match=f"'best' in project 'default' belongs to {REF}") as caught:
        records.set_labels(ArtifactRef("saes", "e" * 16), name="best")
    assert caught.value.holder == REF
    records.set_labels(parse_ref(REF), name="")
    assert records.set_labels(ArtifactRef("saes", "e" * 16), name="best").name == "best"


def test_an_artifact_from_its_manifest_alone(records: Records) -> None:
    row = records.record_artifact(MANIFEST | {"attempt": 3})
    assert (row.job_id, row.attempt, row.bytes, row.created_by, row.project) == (None, 3, 7, "", "default")
    records.record_artifact(MANIFEST | {"label": "new"})
    assert [(a.ref, a.label) for a in records.artifacts()] == [(REF, "new")]
    records.record_artifact(MANIFEST | TOKENS)
    with pytest.raises(InUse):
        records.delete_artifact(ArtifactRef("tokens", "0123456789abcdef"))
    job = published(records)
    records.record_artifact(MANIFEST)
    assert [a.job_id for a in records.artifacts("saes")] == [job.job_id], "who made it is not forgotten"


def test_labels_of_jobs(records: Records) -> None:
    job = submit(records, "a" * 16, name="one", tags=["x"], project="p")
    again = submit(records, "a" * 16, name="two", tags=["y"], notes="later")
    assert again.job_id == job.job_id
    row = records.job(job.job_id)
    assert (row.name, row.tags, row.notes, row.project) == ("one", ["x", "y"], "later", "p")
    with pytest.raises(NameTaken, match=f"'one' in project 'p' belongs to {job.job_id}"):
        submit(records, "b" * 16, name="one", project="p")
    assert records.jobs(fingerprint="b" * 16) == [], "nothing was submitted under a name that is taken"
    other = submit(records, "b" * 16, name="one")
    labelled = records.set_labels(job.job_id, name="three", tags=["z"])
    assert isinstance(labelled, JobRow)
    assert (labelled.name, labelled.tags, labelled.notes) == ("three", ["z"], "later")
    assert [j.id for j in records.jobs(tag="z")] == [job.job_id]
    assert records.jobs(tag="x") == []
    assert [j.id for j in records.jobs(name="one")] == [other.job_id]
    assert [j.id for j in records.jobs(project="p", created_by="ada", stage="train")] == [job.job_id]
    assert [j.id for j in records.jobs(before=other.attempt + 1)] == [job.job_id]
    for missing in ("nobody", ArtifactRef("saes", "e" * 16)):
        with pytest.raises(RecordsError, match="in the catalog"):
            records.set_labels(missing, notes="x")


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
def test_labels_that_cannot_be(records: Records, labels: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        submit(records, **labels)
    assert records.jobs() == []


def test_artifacts_are_listed_newest_first_and_paged(records: Records) -> None:
    for n in range(5):
        records.record_artifact(MANIFEST | {"id": f"{n}" * 16, "kind": "saes" if n % 2 else "models", "inputs": {}})
    records.set_labels(ArtifactRef("saes", "1" * 16), tags=["good"], name="one")
    ids = [row.id[0] for row in records.artifacts()]
    assert ids == ["4", "3", "2", "1", "0"]
    first = records.artifacts(limit=2)
    assert [row.id[0] for row in records.artifacts(limit=2, before=first[-1].seq)] == ["2", "1"]
    assert [row.id[0] for row in records.artifacts("saes")] == ["3", "1"]
    assert [row.id[0] for row in records.artifacts(tag="good")] == ["1"]
    assert [row.id[0] for row in records.artifacts(name="one", project="default")] == ["1"]
    assert records.artifacts(created_by="ada") == records.artifacts(project="other") == []
