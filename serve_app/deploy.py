"""Starts and ends both Serve applications on the running cluster."""

from __future__ import annotations

from typing import Any

from cluster.machines.connection import connected
from cluster.machines.discover import discover
from cluster.machines.errors import ClusterError
from cluster.machines.ports import answers, free_ports, is_free
from serve_app.settings import DEFAULT_PORT, is_loopback


def up(host: str, port: int, replicas: int, device: str, others: bool = False) -> str:
    """Deploys the API and the language models, and returns once the API answers. Gives its URL. Raises ClusterError.

    Port 0: where they run already, else the usual port, or any free one if that is taken.

    On a cluster where they run already, new code and settings replace the old.
    """
    target = discover()
    if target.temporary:
        raise ClusterError("no cluster is running: `python -m cluster up`")
    with connected(target, bring_code=False):
        from ray import serve

        from serve_app.deployment import API, INTERACTIVE, Arguments, LanguageModelArguments, api, interactive

        port = _settle(host, port)
        serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port, "request_timeout_s": None})
        anywhere = not _head_is_labelled()
        chosen = device if device != "auto" else _device()
        arguments = Arguments(host=host, port=port, replicas=replicas, device=chosen, anywhere=anywhere, others=others)
        serve.run(api(arguments), name=API, route_prefix="/")
        models = LanguageModelArguments(device=chosen, anywhere=anywhere)
        serve.run(interactive(models), name=INTERACTIVE, route_prefix=None)
        _check_address(host, port)
    return f"http://{_reachable(host)}:{port}"


def down() -> None:
    """Ends both applications and Serve's own processes. Raises ClusterError if no cluster is running."""
    target = discover()
    if target.temporary:
        raise ClusterError("no cluster is running")
    with connected(target, bring_code=False):
        from ray import serve

        serve.shutdown()


def running_url() -> str:
    """The URL of the API of the running cluster. Raises ClusterError."""
    target = discover()
    if target.temporary:
        raise ClusterError("no cluster is running: `python -m cluster up`")
    with connected(target, bring_code=False):
        from ray import serve

        if not serve.status().proxies:
            raise ClusterError("the API is not up: `python -m serve_app up`")
        options = serve.context._get_global_client().http_config
        return f"http://{_reachable(options.host)}:{options.port}"


def _settle(host: str, port: int) -> int:
    """The port to serve on. Raises ClusterError if it is taken, or if Serve listens elsewhere."""
    from ray import serve

    if not serve.status().proxies:
        if port and answers(f"{_reachable(host)}:{port}", 0.5):
            raise ClusterError(f"something listens on {host}:{port} already: give another --port")
        return port or (DEFAULT_PORT if is_free(DEFAULT_PORT) else free_ports(1)[0])
    # The first start of Serve decides its address, and replicas must know it: they accept other tokens on loopback.
    options = serve.context._get_global_client().http_config
    if options.host != host or port not in (0, options.port):
        raise ClusterError(
            f"the API listens on {options.host}:{options.port} already: `python -m serve_app down`, then up again"
        )
    return int(options.port)


def _check_address(host: str, port: int) -> None:
    """Raises ClusterError if Serve listens elsewhere: its address is settled by whoever started it first."""
    if not answers(f"{_reachable(host)}:{port}", 5.0):
        raise ClusterError(
            f"nothing answers at {host}:{port}: Serve runs at another address. `python -m serve_app down`, then up again"
        )


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") or (is_loopback(host) and host != "::1") else host


def _head_is_labelled() -> bool:
    return any("raylens.io/role" in (node.get("Labels") or {}) for node in _nodes())


def _device() -> str:
    return "cuda" if any(node["Resources"].get("GPU", 0) for node in _nodes()) else "cpu"


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]
