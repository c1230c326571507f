"""The API as a Serve application: stateless replicas on the head, beside the catalog.

    python -m serve_app up                      # what `python -m cluster up` calls
    python -m serve_app config > api.yaml       # the same for `serve deploy api.yaml`

The service reserves no CPU: all are for jobs.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from cluster.machines.paths import code_root
from cluster.machines.ray_environment import SERVE
from configs.settings import PREFIX, Settings
from serve_app.settings import ApiSettings

API, INTERACTIVE = "api", "interactive"
HEAD = {"raylens.io/role": "head"}  # the label that `up` gives its head, where SQLite and the logs are


class Arguments(BaseModel):
    """Arguments of the API in a Serve config file."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    host: str = Field("127.0.0.1", description="Address that Serve's HTTP proxy listens on.")
    port: int = Field(8000, description="Its port.")
    others: bool = Field(
        False, alias="i_understand_that_others_can_reach_it", description="Needed for an address other than loopback."
    )
    replicas: int = Field(
        2, ge=1, le=32, description="Number of replicas: with two, the API answers while one restarts."
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the interactive language models run.")
    anywhere: bool = Field(False, description="Replicas on any node, which needs a catalog that all nodes reach.")


class LanguageModelArguments(BaseModel):
    """Arguments of the language models in a Serve config file."""

    model_config = ConfigDict(extra="forbid")

    device: Literal["cpu", "cuda"] = Field("cpu", description="Where models run.")
    anywhere: bool = Field(False, description="On any node.")


@serve.ingress()
class Replica:
    """One replica."""

    def __init__(self, arguments: Arguments) -> None:
        self._given = arguments

    def __serve_build_asgi_app__(self) -> FastAPI:
        from cluster.catalog import open_catalog
        from cluster.store import Store
        from serve_app.app import create_app
        from serve_app.language_models.interactive import Client
        from serve_app.security.tokens import Tokens, check_exposure

        settings = ApiSettings.from_environment(self._given.host, self._given.port, self._given.device)
        check_exposure(settings.host, Tokens(settings.home), self._given.others)
        return create_app(settings, open_catalog(), Store.open(), Client(INTERACTIVE))


def api(given: Arguments | dict[str, Any]) -> serve.Application:
    """The application `api`, for `serve.run` and for Serve config files, which give a mapping."""
    arguments = Arguments.model_validate(given)
    deployment = serve.deployment(
        Replica,
        name="Api",
        num_replicas=arguments.replicas,
        ray_actor_options={"num_cpus": 0, **actor_options(arguments.anywhere)},
        # An open stream is one of these. The guard refuses before, with a problem (ApiSettings.requests).
        max_ongoing_requests=1000,
        max_queued_requests=2000,
        backpressure_config={"status_code": 503, "retry_after_s": 2},
        # Serve notices at once that a replica has died; this is for one that hangs.
        health_check_period_s=1.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.5,
    )
    return deployment.bind(arguments)


def interactive(given: LanguageModelArguments | dict[str, Any]) -> serve.Application:
    """The application `interactive`, likewise."""
    from cluster.store import Store
    from serve_app.language_models.interactive import application

    arguments = LanguageModelArguments.model_validate(given)
    gpus = 1.0 if arguments.device == "cuda" else 0.0
    # A GPU can be on any node; a model on CPUs stays on the head, which has the store.
    options = actor_options(arguments.anywhere or arguments.device == "cuda")
    return application(Store.open().url, arguments.device, gpus, options)


def actor_options(anywhere: bool) -> dict[str, Any]:
    """Options of replicas: their node, and their environment, with the code of this checkout if it is one."""
    # The catalog's URL can contain a password, and the key is one: replicas have them from their node's environment.
    secret = ("database_url", "label_key")
    own = (f"{PREFIX}{name.upper()}" for name in Settings.model_fields if name not in secret)
    names = (*own, "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "HF_TOKEN_PATH")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment |= SERVE
    if (code_root() / "pyproject.toml").is_file():
        environment["PYTHONPATH"] = str(code_root())
    where = {} if anywhere else {"label_selector": HEAD}
    return {**where, "runtime_env": {"env_vars": environment}}


def config(host: str, port: int, replicas: int, device: str, others: bool = False) -> dict[str, Any]:
    """A Serve config file, as a mapping."""
    root = str(code_root())
    paths = {"PYTHONPATH": root} if (code_root() / "pyproject.toml").is_file() else {}
    arguments: dict[str, Any] = {"host": host, "port": port, "replicas": replicas, "device": device}
    if others:
        arguments["i_understand_that_others_can_reach_it"] = True
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port, "request_timeout_s": None},
        "applications": [
            {
                "name": API, "route_prefix": "/", "import_path": "serve_app.deployment:api", "args": arguments,
                "runtime_env": {"env_vars": dict(paths)},
            },
            {
                "name": INTERACTIVE, "route_prefix": None, "import_path": "serve_app.deployment:interactive",
                "args": {"device": device}, "runtime_env": {"env_vars": dict(paths)},
            },
        ],
    }  # fmt: skip
