"""What the API is measured on: 10,000 jobs, 10,000 artifacts and a set of 16,384 features."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.catalog import Catalog
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef
from sae.formats.features import EXAMPLES_SCHEMA, FEATURES_SCHEMA, FeaturesInfo, TableWriter, write_info
from tests.serve_app.sample_artifacts import SampleArtifacts

ROWS, FEATURES = 10_000, 16_384
SET = ArtifactRef("features", "1234567890abcdef")


def fill(catalog: Catalog, store: Store, samples: SampleArtifacts) -> None:
    """Adds the rows and the feature set."""
    stages = ("download", "tokenize", "train", "extract")
    for i in range(ROWS):
        job = catalog.submit(
            stage=stages[i % 4], fingerprint=f"{i:016x}", config={"seed": i, "rows": 1600, "lr": 1e-3}, requirement={"cpus": 1},
            outputs=[f"saes/{i:016x}"], inputs={"tokens": "tokens/" + "1" * 16}, created_by="bench", drive=False,
            name=f"job {i}", tags=[f"t{i % 7}"],
        )  # fmt: skip
        if i % 10:
            catalog.request_cancel(job.job_id)
    for i in range(ROWS):
        catalog.record_artifact(_manifest(i).model_dump(mode="json"))
    feature_set(store, samples, SET, FEATURES)
    manifest = store.manifest(SET)
    assert manifest is not None
    catalog.record_artifact(manifest.model_dump(mode="json"))


def _manifest(i: int) -> Manifest:
    summary = {"ev": 0.8, "l0": 32.0, "d_sae": 4608, "hook": "blocks.7.hook_resid_post"}
    return Manifest(
        kind="saes", id=f"{i + (1 << 40):016x}", stage="train", stage_version=1, attempt=1, label=f"sae {i}", summary=summary,
        inputs={"tokens": "tokens/" + "1" * 16},
    )  # fmt: skip


def feature_set(store: Store, samples: SampleArtifacts, ref: ArtifactRef, n_features: int) -> None:
    """A features artifact of made-up values, without examples."""
    draw = np.random.default_rng(0)
    density = draw.lognormal(-6, 1.5, n_features).clip(0, 1)
    count = (density * 1e6).astype(np.int64)
    words = np.array([f" word{n}" for n in range(3000)])
    lists = {"promoted": 10, "suppressed": 10}
    columns = {
        "feature": np.arange(n_features), "count": count, "density": density, "sum": count * 2.0, "sum_squares": count * 5.0,
        "sum_cubes": count * 9.0, "sum_fourths": count * 20.0, "max": draw.lognormal(2, 0.5, n_features).astype(np.float32),
        "quantiles": draw.random((n_features, 7)).tolist(), "part_edges": draw.random((n_features, 6)).tolist(),
        "histogram_bins": [list(range(20))] * n_features, "histogram_counts": [[5] * 20] * n_features,
        "neighbours": draw.integers(0, n_features, (n_features, 10)).tolist(),
        "neighbour_cosines": draw.random((n_features, 10)).tolist(),
    }  # fmt: skip
    for side, each in lists.items():
        ids = draw.integers(0, 3000, (n_features, each))
        columns |= {
            side: ids.tolist(),
            f"{side}_logits": draw.random((n_features, each)).tolist(),
            f"{side}_tokens": words[ids].tolist(),
        }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with TableWriter(folder / "features.parquet", FEATURES_SCHEMA) as writer:
            for start in range(0, n_features, 1024):
                writer.write({name: values[start : start + 1024] for name, values in columns.items()})
        with TableWriter(folder / "examples.parquet", EXAMPLES_SCHEMA) as writer:
            writer.write({field.name: pa.array([], field.type) for field in EXAMPLES_SCHEMA})
        info = FeaturesInfo(
            hook="blocks.1.hook_resid_post", split="train", rows=26, context_length=48, tokens=1248, data_positions=1000,
            excluded={}, n_features=n_features, alive=n_features, l0=32.0, quantile_probabilities=(0.1, 0.5, 0.9),
            histogram={"per_octave": 18, "lowest": -300, "bins": 600}, window={"before": 32, "after": 16}, settings={},
            no_logit_lens=None,
            inputs={"sae": str(samples.sae), "tokens": "tokens/" + "1" * 16, "model": "models/" + "0" * 16},
        )  # fmt: skip
        write_info(folder / "features.json", info)
        files = tuple(store.put(ref, 1, path.name, path) for path in sorted(folder.iterdir()))
        store.commit(Manifest(kind=ref.kind, id=ref.id, stage="extract", stage_version=1, attempt=1, files=files))
