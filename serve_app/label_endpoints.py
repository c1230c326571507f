"""Model servers that requests may have labels asked of: those that the operator names.

The server's own key goes to them, and what they answer is shown, so a client must not choose any address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.base import Config
from configs.label_endpoint import LabelEndpoint
from serve_app.errors import ApiError


def check_label_endpoints(value: Any, allowed: Sequence[str]) -> None:
    """Raises ApiError (422) if a config has, at any depth, a model server that is not among the `allowed` base URLs."""
    if isinstance(value, LabelEndpoint):
        if value.url not in [url.rstrip("/") for url in allowed]:
            raise ApiError(
                422,
                "endpoint_not_allowed",
                f"`endpoint.url`: {value.url} is not among the model servers that this server may ask "
                "(RAYLENS_LABEL_ENDPOINTS, base URLs joined by `,`)",
            )
    elif isinstance(value, Config):
        for name in type(value).model_fields:
            check_label_endpoints(getattr(value, name), allowed)
    elif isinstance(value, tuple):
        for item in value:
            check_label_endpoints(item, allowed)
