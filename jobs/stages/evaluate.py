"""Evaluate: measures SAEs on held-out documents, beside their controls; one evaluation artifact an SAE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.evaluate import EvaluateConfig
from configs.sae_origin import sae_origin
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actors.evaluator import Chunk, EvaluatorSettings
    from cluster.store import Store
    from sae.metrics.batch_evaluation import RowResults

VERSION = 4
_NAMING = ("sae", "controls", "seeds", "compare_with")  # what they name counts by its ids
_CHUNK_BYTES = 2300  # of a chunk's file beside its arrays
_LATENT_BYTES = 8  # in density.parquet
_METRICS_BYTES = 8000
_CONTROL_BYTES = 3500  # in metrics.json


class Beside(NamedTuple):
    """What an SAE is measured beside: controls by name, and the same SAE with other seeds."""

    controls: dict[str, ArtifactRef]
    seeds: tuple[ArtifactRef, ...]


def inputs(config: EvaluateConfig) -> dict[str, StageConfig | str]:
    """The SAE, or the training run whose SAEs are all measured; and those that they are measured beside."""
    trained = config.trained_beside()
    more: dict[str, StageConfig | str] = {} if trained is None else {"beside": trained}
    return {"sae": config.sae, **more, **{f"compared_{i}": ref for i, ref in enumerate(config.compare_with)}}


def outputs(config: EvaluateConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One evaluation an SAE, named by it and what it is measured beside, so that it is the same however these are referred to."""
    science = {key: value for key, value in config.science().items() if key not in _NAMING}
    found = []
    for sae, others in zip(inputs["sae"], _compared(config, inputs), strict=True):
        names = {"sae": str(sae), **{f"beside.{i}": str(ref) for i, ref in enumerate(others)}}
        found.append(Output(ArtifactRef("evaluations", fingerprint("evaluate", VERSION, science, names)), f"of {sae}"))
    return found


def store_bytes(config: EvaluateConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the chunks' sums, and of the artifacts."""
    total = 0.0
    for sae, others in zip(inputs["sae"], _compared(config, inputs), strict=True):
        manifest = store.files(sae).manifest
        rows = min(config.rows, _available(store, manifest.inputs, config.split))
        cfg = json.loads(store.files(sae).path("cfg.json").read_text())
        d_in, d_sae, chunks = int(cfg.get("d_out", cfg["d_in"])), int(cfg["d_sae"]), -(-rows // config.rows_per_chunk)
        loss_rows = min(rows, config.loss_rows) if "tokens" in manifest.inputs else 0
        pieces = _documents_of_a_row(store, manifest.inputs, config.split)
        hooks = len(cfg["metadata"].get("hook_names", ()))
        sums = rows * (d_in + 9 + 3 * hooks) + loss_rows * 9 + pieces * (rows + loss_rows) * 10
        each = 8 * (sums + (chunks + 5) * d_sae) + chunks * _CHUNK_BYTES + _CONTROL_BYTES
        total += each * (1 + len(others)) + d_sae * (_LATENT_BYTES + 8 * len(others)) + _METRICS_BYTES - _CONTROL_BYTES
    return int(total)


def _compared(config: EvaluateConfig, inputs: dict[str, list[ArtifactRef]]) -> list[list[ArtifactRef]]:
    """For each SAE those that it is measured beside: as EvaluateConfig.beside() or `compare_with` lists them."""
    if not (config.controls or config.seeds or config.compare_with):
        return [[] for _ in inputs["sae"]]
    if not isinstance(config.sae, TrainConfig):
        return [[inputs[f"compared_{i}"][0] for i in range(len(config.compare_with))]]
    refs = dict(zip(config.sae.saes, inputs["sae"], strict=True))
    if (trained := config.trained_beside()) is not None:
        refs |= dict(zip(trained.saes, inputs["beside"], strict=True))
    return [[refs[other] for other in config.beside(sae)] for sae in config.sae.saes]


def run(job: JobContext) -> None:
    """Measures every SAE that has no evaluation yet, one after the other."""
    missing = job.missing()
    for sae, output, others in zip(job.inputs["sae"], job.outputs, _compared(job.config, job.inputs), strict=True):
        if output in missing:
            _evaluate(job, sae, output, _sorted(job.store, sae, others))


def _sorted(store: Store, sae: ArtifactRef, others: list[ArtifactRef]) -> Beside:
    """Controls and seeds among what an SAE is compared with. Raises ValueError for one that is neither."""
    controls: dict[str, ArtifactRef] = {}
    seeds: list[ArtifactRef] = []
    if not others:
        return Beside(controls, ())
    own = _trained(store, sae)
    for ref in others:
        other = _trained(store, ref)
        frozen = str(other["frozen"])
        if {**other, "frozen": own["frozen"], "seed": own["seed"]} != own:
            differs = [
                key for key in {**own, **other} if own.get(key) != other.get(key) and key not in ("frozen", "seed")
            ]
            raise ValueError(
                f"{ref} is neither a control nor another seed of {sae}: it differs in {', '.join(differs)}"
            )
        if frozen == own["frozen"]:
            seeds.append(ref)
        else:
            name = f"frozen {frozen}" if other["seed"] == own["seed"] else f"frozen {frozen}, seed {other['seed']}"
            controls[name.replace("frozen soft_decoder", "softly frozen decoder")] = ref
    return Beside(controls, tuple(seeds))


def _trained(store: Store, sae: ArtifactRef) -> dict[str, Any]:
    """The config that an SAE was trained with. Raises ValueError if it was not trained here."""
    manifest = store.files(sae).manifest
    if manifest.stage == "import":
        raise ValueError(
            f"{sae} was imported: how and on what it was trained is not known here, so no other SAE can be its control or "
            "another seed of it. Leave compare_with out"
        )
    training = json.loads(store.files(sae).path("training.json").read_text())
    if not training.get("config", {}).get("saes"):
        raise ValueError(f"{sae} was not trained here, so it is not known what its controls and other seeds are")
    return dict(training["config"]["saes"][0])


def _evaluate(job: JobContext, sae: ArtifactRef, output: Output, beside: Beside) -> None:
    """Measures the chunks that no earlier attempt finished, adds up all of them, and publishes."""
    from actors.evaluator import make_evaluator
    from actors.pool import run_chunks
    from sae.formats.evaluation import write_evaluation
    from sae.metrics.chunk_results import results_name
    from sae.metrics.weights import NAME

    settings = _settings(job, sae, output.ref, beside)
    chunks = _chunks(job, settings)
    finished = job.store.parts(output.ref)
    todo = [chunk for chunk in chunks if results_name(chunk.start) not in finished]
    rows = chunks[-1].stop
    done = rows - sum(chunk.stop - chunk.start for chunk in todo)
    number = job.outputs.index(output) + 1
    phase = "evaluate" if len(job.outputs) == 1 else f"evaluate {number} of {len(job.outputs)}"
    job.progress.start(phase, rows, "rows", done)

    def on_done(chunk: Chunk, measured: int) -> None:
        nonlocal done
        done += measured
        job.progress.update(done)

    requirement = job.requirement
    made = [None] if NAME not in finished else []
    if not run_chunks(
        lambda: make_evaluator(job.store, settings, requirement),
        todo,
        requirement.workers,
        "measure",
        on_done,
        job.stop_requested,
    ) or not run_chunks(
        lambda: make_evaluator(job.store, settings, requirement),
        made,
        1,
        "weights",
        lambda *_: None,
        job.stop_requested,
    ):
        raise Stopped(f"stopped after {done} of {rows} rows; the finished chunks are kept")
    metrics, counts, stability = _figures(job, sae, output.ref, chunks, beside)
    metrics |= {
        "sae": str(sae),
        "split": settings.split if settings.activations is None else "heldout",
        "lm_dtype": settings.lm_dtype,
        "policy": settings.policy.model_dump(mode="json"),
    }
    names = write_evaluation(job.scratch, metrics, counts, stability)
    files = [job.store.put(output.ref, job.attempt, name, job.scratch / name) for name in names]
    sources = {"sae": [sae]} | ({"beside": [*beside.controls.values(), *beside.seeds]} if any(beside) else {})
    job.publish(output, files, metrics, inputs=sources)


def _figures(
    job: JobContext, sae: ArtifactRef, output: ArtifactRef, chunks: list[Chunk], beside: Beside
) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.float64]]:
    """The metrics with the truth card, positions at which each latent is active, and each latent's stability."""
    from sae.metrics.planted import recovery
    from sae.metrics.summary import summarise
    from sae.metrics.truth_card import Measured, truth_card
    from sae.metrics.weights import NAME, load_weights, weight_figures

    weights = load_weights(job.store.part_files(output).path(NAME))
    names = {"sae": sae, **beside.controls}
    summaries = [summarise(_results(job, output, chunks, number)) for number in range(len(names))]
    measured = [
        Measured(name, str(ref), one.evidence, own)
        for (name, ref), one, own in zip(names.items(), summaries, weights, strict=True)
    ]
    metrics, evidence, own = summaries[0].metrics, summaries[0].evidence, weights[0]
    metrics["weights"] = weight_figures(own)
    if "ev_of_hooks" in metrics:  # of a crosscoder
        hooks = json.loads(job.store.files(sae).path("cfg.json").read_text())["metadata"]["hook_names"]
        metrics["ev_of_hooks"] = dict(zip(hooks, metrics["ev_of_hooks"], strict=True))
    if evidence.planted is not None:
        found = recovery(evidence.counts, evidence.planted, own.nearest)
        metrics["planted"] = {
            "mcc": float(own.planted.mean()),
            "f1": float(found.f1.mean()) if len(found.f1) else None,
            "precision": float(found.precision.mean()) if len(found.f1) else None,
            "recall": float(found.recall.mean()) if len(found.f1) else None,
            "uniqueness": found.features / len(found.f1) if len(found.f1) else None,
            "features": len(evidence.planted.fired),
            "l0": float(evidence.planted.fired.sum() / evidence.positions),
        }
    unit = "documents" if evidence.planted is None else "rows"
    metrics["card"] = truth_card(measured, [str(ref) for ref in beside.seeds], unit)
    return metrics, summaries[0].counts, own.stability


def _results(job: JobContext, output: ArtifactRef, chunks: list[Chunk], sae: int) -> Iterator[RowResults]:
    """What was measured of an SAE, the first or a control, in row order, one chunk at a time."""
    from sae.metrics.chunk_results import load_results, results_name

    files = job.store.part_files(output)
    for chunk in chunks:
        yield load_results(files.path(results_name(chunk.start)))[sae]


def _settings(job: JobContext, sae: ArtifactRef, output: ArtifactRef, beside: Beside) -> EvaluatorSettings:
    """The SAE is measured with the model, the tokens and the policy, or the planted activations, that it was trained with."""
    from actors.evaluator import EvaluatorSettings

    config: EvaluateConfig = job.config
    manifest = job.store.files(sae).manifest
    planted = "tokens" not in manifest.inputs
    return EvaluatorSettings(
        sae=sae,
        output=output,
        model=None if planted else parse_ref(manifest.inputs["model"], "models"),
        tokens=None if planted else parse_ref(manifest.inputs["tokens"], "tokens"),
        split=config.split,
        policy=sae_origin(manifest.config).policy,
        lm_dtype=config.lm_dtype,
        batch_rows=config.batch_rows,
        loss_rows=config.loss_rows,
        attempt=job.attempt,
        controls=tuple(beside.controls.values()),
        seeds=beside.seeds,
        activations=parse_ref(manifest.inputs["activations"], "activations") if planted else None,
    )


def _chunks(job: JobContext, settings: EvaluatorSettings) -> list[Chunk]:
    """Chunks of the split's first `rows` rows."""
    from actors.evaluator import Chunk

    config: EvaluateConfig = job.config
    available = _available(job.store, job.store.files(settings.sae).manifest.inputs, settings.split)
    rows = min(config.rows, available)
    if rows < config.rows:
        job.progress.log(f"split {settings.split!r} has {available} rows, not {config.rows}")
    size = config.rows_per_chunk
    return [Chunk(start, min(start + size, rows)) for start in range(0, rows, size)]


def _available(store: Store, trained_on: dict[str, str], split: str) -> int:
    """Rows to measure on that an SAE's inputs have: of a split of its tokens, or held-out planted ones."""
    from sae.formats.tokens import TokensReader

    if "tokens" not in trained_on:
        return int(store.files(parse_ref(trained_on["activations"], "activations")).manifest.summary["heldout_rows"])
    tokens = parse_ref(trained_on["tokens"], "tokens")
    return TokensReader(store.files(tokens), split).n_rows


def _documents_of_a_row(store: Store, trained_on: dict[str, str], split: str) -> float:
    """Documents that have positions in a row, on average and about."""
    if "tokens" not in trained_on:
        return 1
    info = json.loads(store.files(parse_ref(trained_on["tokens"], "tokens")).path("tokens.json").read_text())
    found = info["splits"].get(split, {})
    documents, rows = int(found.get("documents", 0)), int(found.get("rows", 0))
    return max(1.0, documents / max(1, rows))


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
