"""Whether a model server is there and has the model: asked before anything runs."""

from __future__ import annotations

import asyncio
from typing import Any

from configs.label_endpoint import LabelEndpoint
from sae.labels.endpoint.client import EndpointClient
from sae.labels.endpoint.errors import EndpointError, EndpointUnreachable
from sae.labels.endpoint.key import label_key
from sae.quoting import listed

_ATTEMPTS = 3
_TIMEOUT_S = 15.0


def check_endpoint(endpoint: LabelEndpoint) -> None:
    """Takes seconds at most. Raises EndpointError, EndpointUnreachable."""
    runtime = endpoint.runtime
    brief = runtime.model_copy(update={"attempts": _ATTEMPTS, "timeout_s": min(_TIMEOUT_S, runtime.timeout_s)})
    asyncio.run(_check(endpoint.model_copy(update={"runtime": brief})))


async def _check(endpoint: LabelEndpoint) -> None:
    async with EndpointClient(endpoint, label_key()) as client:
        names = await _names(client)
        if endpoint.model in names:
            return
        # No list, or one without the model: some servers take names that they do not list. One token says whether this does.
        one_word = [{"role": "user", "content": "Say yes."}]
        try:
            await client.complete({"model": endpoint.model, "messages": one_word, endpoint.token_limit: 1})
        except EndpointError as error:
            raise EndpointError(f"{error} (it lists {listed(names, 5)})" if names else str(error)) from None


async def _names(client: EndpointClient) -> list[str]:
    """The models by name; none if the server has no list in OpenAI's form, or fails to make it."""
    try:
        found: Any = await client.models(_ATTEMPTS)
        # RayLens lists models that have no chat template, too: one token says whether this one has.
        return [str(one["id"]) for one in found["data"] if one.get("owned_by") != "raylens"]
    except (AttributeError, KeyError, TypeError):
        return []
    except EndpointUnreachable:
        if any(why.startswith("status_") for why in client.failures):
            return []
        raise
