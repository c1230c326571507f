"""The OpenAPI document's description and tags, and the tables of docs/api.md."""

from __future__ import annotations

from typing import Any

from configs.stages import ARTIFACT_KINDS, STAGES

API_VERSION = "1"

DESCRIPTION = """
RayLens trains sparse autoencoders (SAEs) on a language model's activations and shows what each of their features responds
to. The API has all functions of the command line.

**Tokens.** Create one with `python -m serve_app token create NAME --scope write` and send it as
`Authorization: Bearer TOKEN`. A token with the scope `read` can read everything and change nothing.

**Artifacts and jobs.** An *artifact* is a dataset, a model, tokens, an SAE, features and so on. Its id is a hash of its
inputs and config: it is known before the job runs, and the same request never makes the artifact twice. A *job* makes
artifacts. A request for a job is answered with `202` at once: the job, the references of its artifacts and a `Location`.
Follow the job by its events (`/v1/jobs/{id}/events/stream`) until it has ended.

**The usual order**: a dataset and a model, tokens, SAEs, an evaluation and features, a report. Each request names its inputs
by reference, such as `datasets/67d5273bd9611bd1`. `POST /v1/jobs` takes a whole pipeline at once.

**Idempotency.** Send an `Idempotency-Key` with a request for a job; the same request with the same key gives the same job.

**Errors** are problem details (RFC 9457, `application/problem+json`). `code` is stable; `detail` says what would be right. A
job that this cluster can never run is refused with `cannot_fit`, its requirement, the cluster's capacity, and the largest
size that would fit. After a `503`, wait for `Retry-After` seconds.

**Lists** give `items` and `next`; send `next` as `cursor` to get the next page.
""".strip()

# Kinds whose stage makes more than one kind.
_KINDS = {
    "datasets": "Documents of text from the hub, a package, an upload or one of the server's folders",
    "models": "Language models: architecture, hook points, tokenizer",
}


def kind_title(kind: str) -> str:
    """What artifacts of a kind are, without a full stop: from the registry of stages."""
    return _KINDS.get(kind) or next(entry.title for entry in STAGES.values() if kind in entry.kinds)


def tags() -> list[dict[str, Any]]:
    """The tags of the document: one for each kind, and those of the other routes."""
    kinds = {kind: f"{kind_title(kind)}." for kind in ARTIFACT_KINDS}
    others = {
        "artifacts": "The artifacts of all kinds.",
        "lists": "Named lists of features, of any SAEs.",
        "uploads": "Files that a client sends piece by piece: sources of datasets and models.",
        "jobs": "Jobs make artifacts: one stage, or a pipeline of several.",
        "events": "The events of all jobs, as they happen.",
        "cluster": "The nodes: capacity, free resources, and which stages fit.",
        "text": "Queries about a short text, answered at once.",
        "access": "Sessions of browsers, and API tokens.",
        "system": "Health, readiness, versions and presets. Health and readiness need no token.",
    }
    return [{"name": name, "description": text} for name, text in {**kinds, **others}.items()]


def kinds_table() -> str:
    """The kinds of artifacts as the Markdown table of docs/api.md."""
    stages = {
        kind: entry.name for entry in reversed(STAGES.values()) for kind in entry.kinds
    }  # the first that makes it
    rows = [f"| `/v1/{kind}` | `{stages[kind]}` | {kind_title(kind)} |" for kind in ARTIFACT_KINDS]
    return "\n".join(["| path | made by | description |", "|---|---|---|", *rows]) + "\n"


def filters_table() -> str:
    """The filters of lists as the Markdown table of docs/api.md. Numbers also have `min_NAME` and `max_NAME`."""
    from cluster.catalog.index_fields import INDEX

    rows = []
    for kind in ARTIFACT_KINDS:
        fields = INDEX.get(kind, ())
        texts = ", ".join(f"`{field.name}`" for field in fields if field.type == "text")
        numbers = ", ".join(f"`{field.name}`" for field in fields if field.type != "text")
        rows += [f"| `{kind}` | {texts} | {numbers} |"] if fields else []
    return "\n".join(["| kind | texts | numbers |", "|---|---|---|", *rows]).replace("|  |", "| |") + "\n"
