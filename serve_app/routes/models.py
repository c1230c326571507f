"""Language models, with architecture and hook points."""

from __future__ import annotations

from typing import Any

from configs.requirements import Capacity
from jobs.life.submit import capacity_of
from sae.text.tokenization_preview import StoredTokenizer
from serve_app import artifact_requests
from serve_app.dependencies import Api
from serve_app.errors import DETAIL_CHARACTERS, ApiError
from serve_app.language_models.model_memory import BYTES
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.models import Model, ModelPage, SpecialToken, WeightMemory
from serve_app.schemas.requests import ModelRequest
from serve_app.security.redaction import redact

_FIGURES = ("architecture", "n_layers", "d_model", "vocab_size", "context_length", "parameters")


def _read(api: Api, id: str) -> Model:
    figures = {name: artifact_requests.row_of(api, "models", id).summary.get(name) for name in _FIGURES}
    artifact_requests.files_of(api, "models", id)
    return artifact_requests.artifact_detail(
        api, Model, "models", id, **figures, **_summary(api, id), memory=_memory(api, figures["parameters"])
    )


def _summary(api: Api, id: str) -> dict[str, Any]:
    """Hook points and special tokens, or why there are none: a model that cannot be read has its details all the same."""
    try:
        summary = api.model_summaries.get(id)
    except ApiError as error:
        return {"hooks": [], "hooks_unknown": redact(error.detail)[:DETAIL_CHARACTERS], "special_tokens": []}
    tokens = _special_tokens(summary.tokenizer)
    return {"hooks": summary.hooks, "hooks_unknown": summary.why or None, "special_tokens": tokens}


def _special_tokens(tokenizer: StoredTokenizer) -> list[SpecialToken]:
    by_role = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    named = [(role, id) for role, id in by_role.items() if id is not None]
    others = [("other", id) for id in tokenizer.all_special_ids if id not in by_role.values()]
    texts = tokenizer.backend_tokenizer.id_to_token
    return [SpecialToken(role=role, id=id, text=texts(id) or "") for role, id in (*named, *others)]


def _memory(api: Api, parameters: int | None) -> list[WeightMemory]:
    if parameters is None:
        return []
    nodes = (capacity_of(api.catalog) or Capacity(())).nodes
    return [
        WeightMemory(
            dtype=dtype,
            bytes=parameters * size,
            nodes=sum(node.memory >= parameters * size for node in nodes),
            free_nodes=sum(node.free_memory >= parameters * size for node in nodes),
        )
        for dtype, size in BYTES.items()
    ]


router = artifact_routes("models", ModelRequest, Model, _read, ModelPage)
