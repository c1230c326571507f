"""`python -m cluster status` and `doctor`. As __main__, this module may import machines, catalog and store."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple

from cluster.catalog import DISPATCHER, Catalog, CatalogError, open_catalog
from cluster.machines.cli_tables import nodes_table, stages_table
from cluster.machines.discover import ClusterTarget, discover
from cluster.machines.doctor import checks, cluster_state, describe, recovery, stages
from cluster.machines.node_records import recorded_nodes
from cluster.machines.processes import is_alive
from cluster.store import Store
from configs.requirements import Fit, FitResult, Requirement


class Finding(NamedTuple):
    """The result of one check."""

    fine: bool
    message: str

    def __str__(self) -> str:
        return f"{'ok ' if self.fine else 'BAD'}  {self.message}"


def status() -> int:
    """Says which cluster commands use, and its nodes."""
    target = discover()
    print(describe(target))
    if target.head is not None:
        print(f"dashboard {target.head.dashboard}, metrics http://127.0.0.1:{target.head.metrics_port}/metrics")
    for _, joined in recorded_nodes():
        print(f"this machine joined {joined.address}: {'running' if is_alive(joined) else 'its process is gone'}")
    print(f"\nNodes, free of total\n{nodes_table(cluster_state(target).capacity)}")
    return 0


def doctor(profile_name: str) -> int:
    """Says what would stop a job before it starts. Gives 1 if anything would, else 0."""
    store = Store.open()
    readable, catalog = _catalog()
    findings = [*(Finding(*one) for one in checks(store.check)), readable]
    print("\n".join(map(str, findings)))
    target = discover()
    state = cluster_state(target, store.free_bytes())
    with catalog or nullcontext():
        recovers = _recovery(target, catalog, state.session)
        admitted = _admitted(catalog, state.session) if catalog is not None else {}
    print(f"\ncluster   {describe(target)}\nrecovery  {recovers.message}")
    print(f"\nNodes, free of total\n{nodes_table(state.capacity)}")
    profile, title, verdicts = stages(state.capacity, profile_name, admitted)
    print(f"\nStages, profile {title}\n{stages_table(profile, verdicts)}")
    bad = sum(not one.fine for one in [*findings, recovers])
    print(f"\n{_summary(bad, verdicts)}")
    return 1 if bad or any(verdict.fit is Fit.NEVER for verdict in verdicts.values()) else 0


def _catalog() -> tuple[Finding, Catalog | None]:
    try:
        catalog = open_catalog()
        live = len(catalog.live())
        return Finding(True, f"catalog: readable, {live} job{'s' * (live != 1)} live"), catalog
    except CatalogError as error:
        return Finding(False, f"catalog: {error}"), None


def _recovery(target: ClusterTarget, catalog: Catalog | None, session: str) -> Finding:
    if target.head is None or catalog is None:
        return Finding(True, recovery(target))
    row = catalog.lease_row(DISPATCHER)
    if row is not None and row.held and row.data.get("cluster") == session:
        return Finding(True, recovery(target))
    return Finding(
        False, "BAD: no dispatcher admits or recovers jobs on this cluster; `python -m cluster up` starts one"
    )


def _admitted(catalog: Catalog, session: str) -> dict[str, Requirement]:
    """Requirements of the admitted jobs of this cluster, by their names in messages."""
    return {
        f"{row.stage} job {row.id}": Requirement.model_validate(row.requirement)
        for row, attempt in catalog.live()
        if attempt.cluster == session and attempt.admitted and catalog.dead_driver(attempt) is None
    }


def _summary(bad: int, verdicts: Mapping[str, FitResult]) -> str:
    never = [stage for stage, verdict in verdicts.items() if verdict.fit is Fit.NEVER]
    later = [stage for stage, verdict in verdicts.items() if verdict.fit in (Fit.LATER, Fit.GROW)]
    waits = f"{', '.join(later)} would have to wait" if later else ""
    if not bad and not never:
        return f"All stages can run here{waits and f'; just now {waits}'}."
    parts = [
        f"{bad} check{'s' * (bad > 1)} failed" if bad else "",
        f"{', '.join(never)} can never run here" if never else "",
        waits,
    ]
    return f"{'; '.join(filter(None, parts))}. See above for why, and what to change."
