"""Asking the autoscaler for nodes that waiting jobs need."""

from __future__ import annotations

from collections.abc import Sequence

from configs.requirements import Requirement


def ask(needs: Sequence[Requirement]) -> None:
    """Tells the connected cluster's autoscaler to be large enough for all of these at once; each call replaces the last.

    Ray counts them against all that the cluster has, not against what is free: pass what was granted as well as what
    waits for nodes, and nothing once nothing waits. Without an autoscaler it has no effect.
    """
    import ray
    from ray.autoscaler.v2.sdk import request_cluster_resources

    bundles = [bundle for need in needs for bundle in [_bundle(need)] * need.workers if bundle["resources"]]
    request_cluster_resources(ray.get_runtime_context().gcs_address, bundles)


def _bundle(need: Requirement) -> dict[str, dict[str, float] | dict[str, str]]:
    resources = {"CPU": need.cpus, "GPU": need.gpus, "memory": need.memory}
    return {
        "resources": {name: value for name, value in resources.items() if value},
        "label_selector": dict(need.labels),
    }
