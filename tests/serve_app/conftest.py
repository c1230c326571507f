"""A running server of the API on a real catalog and store, in this process: the application without Serve."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import uvicorn

from cluster.catalog import Catalog, open_catalog
from cluster.store import Store
from configs.requirements import to_json
from serve_app.app import create_app
from serve_app.security.tokens import Tokens
from serve_app.settings import ApiSettings
from tests.serve_app.sample_artifacts import SampleArtifacts, make_samples
from tests.serve_app.served import CAPACITY


class Site(NamedTuple):
    """A server, what it stands on, and clients with and without a token."""

    url: str
    home: Path
    catalog: Catalog
    store: Store
    app: Any
    tokens: Tokens
    reader: httpx2.Client
    writer: httpx2.Client
    anonymous: httpx2.Client


class Answers:
    """The interactive language models in this process: the same class as the deployment's, without Serve."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._models: dict[str, Any] = {}
        self.steered_to_the_end: list[bool] = []

    async def __call__(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        models, lm = await self._model(key)
        return await asyncio.to_thread(models.answer, lm, request)

    async def steer(self, key: str, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        models, lm = await self._model(key)
        stopped = threading.Event()
        items = models.steer(lm, key, request, stopped.is_set)
        item: dict[str, Any] | None = {}
        try:
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                if item:  # as interactive.Client
                    yield item
        finally:
            stopped.set()
            self.steered_to_the_end.append(item is None)

    async def _model(self, key: str) -> tuple[Any, Any]:
        from serve_app.language_models.pool import LanguageModelPool

        models = self._models.setdefault("", LanguageModelPool(self._store, "cpu"))
        lm = self._models.get(key) or await asyncio.to_thread(models.load, key)
        self._models[key] = lm
        return models, lm


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> SampleArtifacts:
    """One artifact of each kind. Tests that delete make their own."""
    with pytest.MonkeyPatch.context() as patch:
        return make_samples(tmp_path_factory.mktemp("samples"), tiny_gpt2, patch)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, samples: SampleArtifacts) -> Iterator[Site]:
    """The server."""
    home = tmp_path_factory.mktemp("home")
    (home / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch, open_catalog(f"sqlite:///{home}/catalog.db") as catalog:
        patch.setenv("RAYLENS_HOME", str(home))
        patch.setenv("RAYLENS_CACHE", str(home / "cache"))
        samples.record(catalog)
        catalog.lease("dispatcher", "nobody", {"cluster": "here", "capacity": to_json(CAPACITY)})
        app = create_app(
            ApiSettings(home=home, data_roots=(home / "data",)), catalog, samples.store, Answers(samples.store)
        )
        tokens = Tokens(home)
        with serving(app) as url, _client(url, None) as anonymous:
            _, read = tokens.create("reader", ["read"])
            _, write = tokens.create("writer", ["write"])
            with _client(url, read) as reader, _client(url, write) as writer:
                yield Site(url, home, catalog, samples.store, app, tokens, reader, writer, anonymous)


class serving:
    """A uvicorn server of an application, in a thread, while the block runs; gives its URL."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(15)


def _client(url: str, token: str | None) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.Client(base_url=url, headers=headers, timeout=150, trust_env=False)
