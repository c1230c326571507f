"""The report in one Ray task: reads artifacts, writes report.html and report.json, stores them. No model is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray

from actors.error_serialization import errors_as_text
from actors.worker_setup import temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.report import ReportConfig


@ray.remote
@errors_as_text
def make_report(
    store: Store,
    inputs: dict[str, ArtifactRef],
    output: ArtifactRef,
    attempt: int,
    config: ReportConfig,
    threads: int,
) -> tuple[list[StoredFile], dict[str, Any]]:
    """Gives the stored files and what report.json holds. `inputs`: features, evaluation and, if there are any, labels and probes.

    Raises ReportError, StoreError.
    """
    import pyarrow as pa

    from sae.formats.features import FeaturesReader
    from sae.report.build import HTML, JSON, build_report
    from sae.report.sources import Artifacts

    pa.set_cpu_count(threads)
    given = {role: store.files(ref) for role, ref in inputs.items()}
    read = FeaturesReader(given["features"]).info.inputs
    given |= {role: store.files(parse_ref(read[role])) for role in ("sae", "tokens", "model")}
    with temporary_folder() as scratch:
        folder = Path(scratch)
        body = build_report(Artifacts(**given), config, folder)
        return [store.put(output, attempt, name, folder / name) for name in (HTML, JSON)], body
