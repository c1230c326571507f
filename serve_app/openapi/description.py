"""What the OpenAPI document says about the whole."""

from __future__ import annotations

API_VERSION = "1"

DESCRIPTION = """
RayLens trains sparse autoencoders (SAEs) on a language model's activations and shows what each of their features
responds to. Everything that its command line does can be asked for here.

**Tokens.** Make one with `python -m serve_app token create NAME --scope write` and send it as
`Authorization: Bearer TOKEN`. A token with scope `read` may look at everything and change nothing.

**Artifacts and jobs.** What is made is an *artifact*: a dataset, a model, a tokenization, an SAE, a feature set and so
on. Its id is a hash of what it is made from and how, so it is known before the work begins, and the same request never
makes it twice. What makes it is a *job*. A request for one answers `202` at once, with the job, the references of its
artifacts and a `Location`. Follow it by its events (`/v1/jobs/{id}/events/stream`) until it has ended.

**The usual order**: a dataset and a model, a tokenization, SAEs, an evaluation and a feature set, a report. Each names
what it is made from by reference, such as `datasets/67d5273bd9611bd1`. `POST /v1/jobs` takes a whole pipeline at once.

**Doing it once.** Send an `Idempotency-Key` of your own with a request for a job; sending it again gives the same job.

**Errors** are problem details (RFC 9457, `application/problem+json`). Look at `code`, which is stable, and read
`detail`, which says what would be right. A job that can never run on this cluster is refused with `cannot_fit`, what it
needs, what there is, and the largest size that would fit. After a `503`, wait for `Retry-After` seconds.

**Lists** give `items` and `next`; send `next` back as `cursor` for the next page.
""".strip()

TAGS = [
    {"name": "datasets", "description": "Documents of text, from the hub, a package or one of the server's folders."},
    {"name": "models", "description": "Language models: architecture, hook points, tokenizer."},
    {"name": "tokens", "description": "Datasets packed into rows of tokens, with statistics."},
    {"name": "activations", "description": "Activations that were written once, for any number of training runs."},
    {"name": "saes", "description": "Sparse autoencoders: training, metrics, curves, download as SAELens folders."},
    {"name": "evaluations", "description": "How good an SAE is on held-out documents."},
    {"name": "features", "description": "What each feature of an SAE responds to."},
    {"name": "reports", "description": "One page about one SAE, to open in a browser."},
    {"name": "jobs", "description": "What makes artifacts: any stage, or a pipeline of several."},
    {"name": "events", "description": "What happens to all jobs, as it happens."},
    {"name": "cluster", "description": "The machines: what they have, what is free, what would fit."},
    {"name": "quick work", "description": "Questions that are answered at once."},
    {"name": "system", "description": "Health and readiness. No token needed."},
]
