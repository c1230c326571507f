"""What a report is made from, read from the artifacts' files. No torch: weights are never opened."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.data_positions import SpeakerName
from sae.formats.artifact_files import ArtifactFilesLike
from sae.formats.evaluation import read_metrics
from sae.formats.features import FeaturesReader
from sae.formats.labels import LabelsReader
from sae.formats.probes import read_probes
from sae.formats.tokens import TokensReader
from sae.report.token_text import TokenText

CURVES, SAE_CONFIG, TOKENIZER, MODEL_CONFIG = "curves.parquet", "cfg.json", "tokenizer.json", "config.json"
TRAINING = "training.json"


class ReportError(ValueError):
    """A report that cannot be made; the message says what is wrong, where, and what would be right."""


class Artifacts(NamedTuple):
    """Files of the artifacts that a report is about."""

    features: ArtifactFilesLike
    evaluation: ArtifactFilesLike
    sae: ArtifactFilesLike
    tokens: ArtifactFilesLike
    model: ArtifactFilesLike
    labels: ArtifactFilesLike | None = None
    probes: ArtifactFilesLike | None = None


class Sources(NamedTuple):
    """The same, opened. `sae` is cfg.json, `probes` is probes.json, `curves` has one row a training step, none if imported."""

    features: FeaturesReader
    metrics: dict[str, Any]
    sae: dict[str, Any]
    model: dict[str, Any]
    curves: pa.Table
    tokens: TokensReader
    token_text: TokenText
    labels: LabelsReader | None
    probes: dict[str, Any] | None


def open_sources(artifacts: Artifacts) -> Sources:
    """Opens everything. Raises ReportError if an artifact lacks a file or if two of them do not belong together."""
    features = FeaturesReader(artifacts.features)
    metrics = read_metrics(artifacts.evaluation)
    own = features.info.inputs.get("sae")
    if metrics.get("sae") != own:
        raise ReportError(
            f"the features are those of {own} and the evaluation is that of {metrics.get('sae')}: "
            f"a report needs both of one SAE"
        )
    sae = _json(artifacts.sae, SAE_CONFIG, "an SAE")
    if sae["d_sae"] != features.info.n_features:
        raise ReportError(f"{own} has {sae['d_sae']} latents, but {features.info.n_features} features were extracted")
    return Sources(
        features,
        metrics,
        sae,
        _json(artifacts.model, MODEL_CONFIG, "a language model"),
        _curves(artifacts.sae),
        TokensReader(artifacts.tokens, features.info.split, speakers_of(artifacts.sae)),
        TokenText(_path(artifacts.model, TOKENIZER, "a language model").read_text(encoding="utf-8")),
        None if artifacts.labels is None else _labels(artifacts.labels, str(own)),
        None if artifacts.probes is None else _probes(artifacts.probes, str(own)),
    )


def _labels(files: ArtifactFilesLike, sae: str) -> LabelsReader:
    labels = LabelsReader(files)
    _check_same(sae, "labels", labels.info.inputs["sae"])
    return labels


def _probes(files: ArtifactFilesLike, sae: str) -> dict[str, Any]:
    probes = read_probes(files)
    _check_same(sae, "probes", probes["sae"])
    return probes


def _check_same(sae: str, what: str, other: str) -> None:
    if other != sae:
        raise ReportError(
            f"the features are those of {sae} and the {what} are those of {other}: a report needs both of one SAE"
        )


def _curves(sae: ArtifactFilesLike) -> pa.Table:
    training = _json(sae, TRAINING, "an SAE") if TRAINING in sae.names else {}
    if "imported" in training:
        return pa.table({"tokens": pa.array([], pa.float64())})
    return pq.read_table(_path(sae, CURVES, "an SAE"))


def speakers_of(sae: ArtifactFilesLike) -> list[SpeakerName]:
    """Those that the SAE was trained on; none are named if it was on all, or if its training is not known."""
    training = _json(sae, TRAINING, "an SAE") if TRAINING in sae.names else {}
    return list(training.get("config", {}).get("policy", {}).get("speakers", ()))


def _path(files: ArtifactFilesLike, name: str, what: str) -> Any:
    if name not in files.names:
        raise ReportError(f"{what} without {name}: it holds {', '.join(files.names) or 'no files'}; make it again")
    return files.path(name)


def _json(files: ArtifactFilesLike, name: str, what: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(_path(files, name, what).read_text(encoding="utf-8"))
    return body
