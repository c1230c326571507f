"""The manifest for KubeRay, as far as it can be read; head.sh and worker.sh are run by test_machines_life.py."""

from __future__ import annotations

import yaml

from cluster.machines.autoscaler import VARIABLE, declared
from cluster.machines.paths import code_root

SCRIPTS = code_root() / "cluster" / "machines" / "scripts"


def test_the_manifest_declares_its_groups_as_node_types() -> None:
    """KubeRay is not here to apply it; what it states twice must agree."""
    documents = {one["kind"]: one for one in yaml.safe_load_all((SCRIPTS / "kuberay.yaml").read_text())}
    spec = documents["RayCluster"]["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert documents["RayJob"]["spec"]["clusterSelector"] == {
        "ray.io/cluster": documents["RayCluster"]["metadata"]["name"]
    }
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in head["env"]}
    types = {one.name: one for one in declared(variables[VARIABLE], [])}
    assert len(types) == len(spec["workerGroupSpecs"])
    for group in spec["workerGroupSpecs"]:
        one, limits = types[group["groupName"]], group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert one.more == group["maxReplicas"]
        assert one.cpus == float(limits["cpu"])
        assert one.gpus == float(limits.get("nvidia.com/gpu", 0))
        assert one.memory == int(limits["memory"].removesuffix("Gi")) << 30
        assert group.get("labels", {}).items() <= one.labels.items()
