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
    features: ArtifactRef,
    evaluation: ArtifactRef,
    output: ArtifactRef,
    attempt: int,
    config: ReportConfig,
    threads: int,
) -> tuple[list[StoredFile], dict[str, Any]]:
    """Gives the stored files and what report.json holds. Raises ReportError, StoreError."""
    import pyarrow as pa

    from sae.formats.features import FeaturesReader
    from sae.report.build import HTML, JSON, build_report
    from sae.report.sources import Artifacts

    pa.set_cpu_count(threads)
    files = store.files(features)
    read = FeaturesReader(files).info.inputs
    sae, tokens, model = (store.files(parse_ref(read[role])) for role in ("sae", "tokens", "model"))
    with temporary_folder() as scratch:
        folder = Path(scratch)
        body = build_report(Artifacts(files, store.files(evaluation), sae, tokens, model), config, folder)
        return [store.put(output, attempt, name, folder / name) for name in (HTML, JSON)], body
