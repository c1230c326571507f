"""Several nodes on one machine: what a real cluster of four offers, whether work fits it, and what doctor says of it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.machines.autoscaler import declared
from cluster.machines.paths import code_root
from cluster.machines.ray_environment import apply_temporary
from configs.requirements import Capacity, Fit, NodeType, Requirement, fit, from_json
from tests.cluster.nodes import cluster, environment_of, python

GIB = 2**30
# Four nodes with made-up GPUs and labels, that live until standard input is closed.
_FOUR = """
import os
import sys
from ray.cluster_utils import Cluster
os.makedirs("/tmp/ray", exist_ok=True)  # Ray writes the head's address there, whatever its temp_dir is
cluster = Cluster(
    initialize_head=True,
    head_node_args={
        "num_cpus": 2, "memory": 8 << 30, "labels": {"zone": "a"}, "temp_dir": sys.argv[1], "include_dashboard": False
    },
)
cluster.add_node(num_cpus=4, memory=16 << 30, labels={"zone": "b"})
for zone in "ab":
    cluster.add_node(
        num_cpus=4, num_gpus=1, memory=16 << 30, labels={"zone": zone, "gpu": "a100", "ray.io/node-group": "gpus"}
    )
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
_JOIN = """
import json, os, sys, time
from cluster.machines.discover import ClusterTarget
from cluster.machines.connection import connected
target = ClusterTarget(os.environ["RAY_ADDRESS"], "the test says so")
with connected(target, bring_code=False):
    import ray
    from cluster.machines.capacity import cluster_capacity
    from configs.requirements import to_json
    {}
"""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a command that uses a cluster of four nodes."""
    environment = environment_of(tmp_path_factory.mktemp("home"), RAY_AUTH_MODE="disabled")
    environment |= {"RAY_enable_autoscaler_v2": "1", "RAY_enable_infeasible_task_early_exit": "1"}
    environment["AUTOSCALER_UPDATE_INTERVAL_S"] = "5"  # Ray's own: what is infeasible is told as often
    apply_temporary(environment)  # no test reads the statistics of these nodes
    with tempfile.TemporaryDirectory(prefix="rl", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", _FOUR, folder],
            env=environment,
            cwd=code_root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address
            yield {**environment, "RAY_ADDRESS": address}
        finally:
            process.communicate(timeout=60)


def _asked(four: dict[str, str], code: str, **more: str) -> Any:
    return python(_JOIN.format(code), {**four, **more})


def test_what_four_nodes_offer_and_what_fits(four: dict[str, str]) -> None:
    capacity = from_json(_asked(four, "print(json.dumps(to_json(cluster_capacity(GIB))))".replace("GIB", str(GIB))))
    assert sorted((n.cpus, n.gpus, n.labels["zone"]) for n in capacity.nodes) == [
        (2, 0, "a"),
        (4, 0, "b"),
        (4, 1, "a"),
        (4, 1, "b"),
    ]
    assert all(n.free_cpus == n.cpus and n.free_memory == n.memory for n in capacity.nodes)
    assert capacity.store_free == GIB
    for requirement, answer, largest in (
        (Requirement(workers=2, gpus=1), Fit.NOW, 2),
        (Requirement(workers=3, gpus=1), Fit.NEVER, 2),
        (Requirement(gpus=1, labels={"zone": "a"}), Fit.NOW, 1),
        (Requirement(workers=2, gpus=1, labels={"zone": "a"}), Fit.NEVER, 1),
        (Requirement(workers=3, cpus=3), Fit.NOW, 3),  # 14 CPUs, but a worker stays on one node
        (Requirement(workers=4, cpus=3), Fit.NEVER, 3),
        (Requirement(cpus=5), Fit.NEVER, 0),
        (Requirement(workers=2, labels={"gpu": "!a100"}), Fit.NOW, 6),
    ):
        verdict = fit(requirement, capacity)
        assert (verdict.fit, verdict.largest_workers) == (answer, largest), verdict.reason


_HOLD = """
    @ray.remote(num_cpus=1, num_gpus=1, label_selector={"zone": "a"})
    class Holder:
        def ready(self):
            return True
    holder = Holder.remote()
    ray.get(holder.ready.remote())
    while sum(node.free_gpus for node in cluster_capacity().nodes) > 1:  # Ray tells it a moment later
        time.sleep(0.2)
    print(json.dumps(to_json(cluster_capacity())))
""".strip()


def test_what_is_taken_is_taken_on_its_node(four: dict[str, str]) -> None:
    capacity = from_json(_asked(four, _HOLD))
    (node,) = [n for n in capacity.nodes if n.gpus and n.labels["zone"] == "a"]
    assert (node.free_cpus, node.free_gpus) == (3, 0)
    held = {"train job x": Requirement(gpus=1, labels={"zone": "a"})}
    waits = fit(Requirement(workers=2, gpus=1), capacity, held)
    assert (waits.fit, waits.blocked_by) == (Fit.LATER, ("train job x",))
    assert fit(Requirement(gpus=1), capacity, held).fit is Fit.NOW
    assert fit(Requirement(gpus=1, labels={"zone": "in(a,c)"}), capacity).blocked_by == (
        "work that is not in this catalog",
    )


SELECTORS = ["a", "!a", "in(a, b)", "!in(a, b)", "a100", "!a100", "c", "!in(c, d)"]
_SELECT = """
    from configs.requirements import Requirement
    @ray.remote
    def node():
        return ray.get_runtime_context().get_node_id()
    found = []
    asked = [(key, selector) for key in ("zone", "gpu") for selector in SELECTORS]
    # Each of a size of its own: Ray fails all waiting work of a size when one of that size asks for labels of no node.
    tasks = [
        node.options(num_cpus=(n + 1) / 1000, label_selector=Requirement(labels={key: selector}).labels).remote()
        for n, (key, selector) in enumerate(asked)
    ]
    for (key, selector), task in zip(asked, tasks, strict=True):
        try:
            found.append([key, selector, ray.get(task, timeout=60)])
        except ray.exceptions.TaskUnschedulableError:
            found.append([key, selector, None])
    print(json.dumps([found, to_json(cluster_capacity())]))
""".strip()


def test_ray_means_the_same_by_a_selector(four: dict[str, str]) -> None:
    """`zone` is a label that every node carries; `gpu` one that two do not."""
    found, said = _asked(four, _SELECT.replace("SELECTORS", repr(SELECTORS)))
    capacity = from_json(said)
    assert len(found) == 2 * len(SELECTORS)
    for key, selector, where in found:
        requirement = Requirement(cpus=0.1, labels={key: selector})
        assert (fit(requirement, capacity).fit is Fit.NOW) == (where is not None), (key, selector)
        if where is not None:
            node = Capacity([n for n in capacity.nodes if n.labels["ray.io/node-id"] == where])
            assert fit(requirement, node).fit is Fit.NOW, (key, selector)


def test_doctor_reads_well(four: dict[str, str]) -> None:
    fits = cluster(["doctor", "--profile", "local"], four)
    assert fits.returncode == 0, fits.stdout + fits.stderr
    assert "All stages can run here." in fits.stdout
    assert "ok   catalog: readable, 0 jobs live" in fits.stdout
    assert "recovery  only when you run the same command again" in fits.stdout
    rows = {line.split()[0]: line.split() for line in fits.stdout.splitlines() if line.strip()}
    assert rows["train"][:2] + rows["train"][-1:] == ["train", "1", "yes"]
    auto = cluster(["doctor"], four)
    assert "Stages, profile auto, which is gpu here: there is a GPU" in auto.stdout
    assert auto.returncode == 0, auto.stdout
    nodes = auto.stdout.partition("Nodes, free of total\n")[2].partition("\n\n")[0].splitlines()
    assert len(nodes) == 5
    assert sum("1 of 1" in line and "gpu=a100" in line for line in nodes) == 2
    assert [line.strip() for line in auto.stdout.splitlines()] == [line.rstrip() for line in auto.stdout.splitlines()]
    assert all(len(line) <= 130 for line in auto.stdout.splitlines())


_REPORT = """
    from ray.core.generated.autoscaler_pb2 import ClusterConfig
    from ray._private.worker import global_worker
    config = ClusterConfig()
    for name, cpus, gpus, most in (("gpus", 4, 1, 3), ("big", 64, 8, 2), ("endless", 8, 0, -1)):
        group = config.node_group_configs.add(name=name, max_count=most)
        group.resources.update({"CPU": cpus, "memory": 16 << 30, **({"GPU": gpus} if gpus else {})})
    config.node_group_configs[1].resources["accelerator_type:H100"] = 1
    config.max_resources["GPU"] = 12
    global_worker.gcs_client.report_cluster_config(config.SerializeToString())
    print(json.dumps(to_json(cluster_capacity())))
""".strip()


def test_what_the_autoscaler_reported_to_the_head_is_offered(four: dict[str, str]) -> None:
    capacity = from_json(_asked(four, _REPORT))
    assert capacity.node_types == (
        # Two run already; labels that both of them carry.
        NodeType("gpus", 4, 1, 16 * GIB, {"ray.io/node-group": "gpus", "gpu": "a100"}, 1, False),
        # Two of eight GPUs would make 18 in all, and 12 are allowed: one.
        NodeType("big", 64, 8, 16 * GIB, {"ray.io/node-group": "big", "ray.io/accelerator-type": "H100"}, 1, False),
        NodeType("endless", 8, 0, 16 * GIB, {"ray.io/node-group": "endless"}, None, False),
    )
    assert fit(Requirement(workers=3, cpus=4, gpus=1), capacity).adds == (("gpus", 1),)
    assert fit(Requirement(gpus=8, labels={"ray.io/accelerator-type": "H100"}), capacity).fit is Fit.GROW
    assert fit(Requirement(gpus=8, labels={"ray.io/accelerator-type": "A100"}), capacity).fit is Fit.NEVER
    # What the head's environment says goes before what was reported.
    said = '[{"name": "gpus", "cpus": 4, "gpus": 1, "memory": 1073741824, "labels": {"tier": "x"}, "max": 5}]'
    types = from_json(
        _asked(four, "print(json.dumps(to_json(cluster_capacity())))", RAYLENS_NODE_TYPES=said)
    ).node_types
    assert [(one.name, one.more, one.all_labels) for one in types] == [
        ("gpus", 3, True),
        ("big", 1, False),
        ("endless", None, False),
    ]


def test_node_types_that_are_said_are_checked() -> None:
    from cluster.machines.errors import ClusterError

    assert declared(None, []) == ()
    for text, said in (
        ("{", "Invalid JSON"),
        ('[{"name": "a"}]', "0.cpus: Field required"),
        ('[{"name": "a", "cpus": 1, "memory": 1, "max": -1}]', "0.max"),
        ('[{"name": "a", "cpus": 1, "memory": 1, "max": 1, "labels": {"a b": "c"}}]', "a key is NAME"),
    ):
        with pytest.raises(ClusterError, match="RAYLENS_NODE_TYPES is not a JSON list of node types") as caught:
            declared(text, [])
        assert said in str(caught.value)


def test_the_autoscaler_is_asked_for_what_waits(four: dict[str, str]) -> None:
    code = """
    from cluster.machines.autoscaler import request_nodes
    from configs.requirements import Requirement
    from ray._private.worker import global_worker
    from ray.autoscaler.v2.sdk import get_cluster_resource_state
    def asked():
        found = get_cluster_resource_state(global_worker.gcs_client).cluster_resource_constraints
        return [
            [dict(one.request.resources_bundle), one.count, str(one.request.label_selectors)]
            for constraint in found for one in constraint.resource_requests
        ]
    request_nodes([Requirement(workers=3, cpus=2, gpus=1, labels={"zone": "in(a, b)"}), Requirement(cpus=0)])
    first = asked()
    request_nodes([])
    print(json.dumps([first, asked()]))
""".strip()
    first, after = _asked(four, code)
    ((resources, count, selectors),) = first
    assert (resources, count) == ({"CPU": 2.0, "GPU": 1.0}, 3)
    assert "zone" in selectors and '"b"' in selectors
    assert after == []


def test_what_a_cluster_of_its_own_would_offer(tmp_path: Path) -> None:
    said = python(
        "import json; from cluster.machines.capacity import local_capacity; from configs.requirements import to_json; "
        "print(json.dumps(to_json(local_capacity())))",
        environment_of(tmp_path, RAYLENS_CPUS="3", CUDA_VISIBLE_DEVICES="0,1"),
    )
    (node,) = from_json(said).nodes
    assert (node.cpus, node.free_cpus, node.gpus, node.free_gpus) == (3, 3, 2, 2)
    assert node.memory > 0
