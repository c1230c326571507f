"""Whether a model server is there and has the model: asked before anything runs."""

from __future__ import annotations

import asyncio
from typing import Any

from configs.label_endpoint import LabelEndpoint
from sae.labels.endpoint.client import EndpointClient
from sae.labels.endpoint.errors import EndpointError
from sae.labels.endpoint.key import label_key
from sae.quoting import listed, quoted

_ATTEMPTS = 3
_TIMEOUT_S = 15.0


def check_endpoint(endpoint: LabelEndpoint) -> None:
    """Takes seconds at most. Raises EndpointError, EndpointUnreachable."""
    runtime = endpoint.runtime
    brief = runtime.model_copy(update={"attempts": _ATTEMPTS, "timeout_s": min(_TIMEOUT_S, runtime.timeout_s)})
    asyncio.run(_check(endpoint.model_copy(update={"runtime": brief})))


async def _check(endpoint: LabelEndpoint) -> None:
    async with EndpointClient(endpoint, label_key()) as client:
        names = _names(await client.models(_ATTEMPTS))
        if names is None:  # a server without the list: one token says whether it has the model
            one_word = [{"role": "user", "content": "Say yes."}]
            await client.complete({"model": endpoint.model, "messages": one_word, endpoint.token_limit: 1})
        elif endpoint.model not in names:
            there = listed(names, 5) if names else "none"
            raise EndpointError(
                f"the model server {endpoint.url} has no model {quoted(endpoint.model)}; it has {there}"
            )


def _names(found: Any) -> list[str] | None:
    """Models by name, out of OpenAI's list; None for anything else."""
    try:
        return [str(one["id"]) for one in found["data"]]
    except (KeyError, TypeError):
        return None
