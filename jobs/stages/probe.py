"""Probe: what SAEs' latents say about labelled documents, beside controls; one probes artifact an SAE."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.probe import ProbeConfig
from configs.sae_origin import sae_origin
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.prober import Chunk, FiguresTask, ProberSettings
    from cluster.store import Store
    from sae.probing.documents import Labelled

VERSION = 1
_NAMING = ("sae", "tokens", "compare_with")  # what they name counts by its ids
_CODE_BYTES = 8  # of one latent that is active in a row
_CHUNK_BYTES = 600  # of a chunk's file beside its arrays
_FIGURE_BYTES = 700  # of one figure with its controls in probes.json


def inputs(config: ProbeConfig) -> dict[str, StageConfig | str]:
    """The SAE, or the training run whose SAEs are all probed; the labelled tokens; and the SAEs that stand beside."""
    beside = {f"beside_{i}": ref for i, ref in enumerate(config.compare_with)}
    return {"sae": config.sae, "tokens": config.tokens, **beside}


def outputs(config: ProbeConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One artifact an SAE, named by it, the tokens and what stands beside, however these are referred to."""
    science = {key: value for key, value in config.science().items() if key not in _NAMING}
    others = {role: str(refs[0]) for role, refs in inputs.items() if role != "sae"}
    return [
        Output(ArtifactRef("probes", fingerprint("probe", VERSION, science, {"sae": str(sae), **others})), f"of {sae}")
        for sae in inputs["sae"]
    ]


def store_bytes(config: ProbeConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the rows' sums, at most about: a row has at most as many active latents as it has positions times L0."""
    documents = _documents(config, inputs["tokens"][0], store)
    rows, total = len(documents.row), 0
    length = int(json.loads(store.files(inputs["tokens"][0]).path("tokens.json").read_text())["context_length"])
    beside = [refs[0] for role, refs in inputs.items() if role.startswith("beside_")]
    for sae in inputs["sae"]:
        cfgs = [json.loads(store.files(ref).path("cfg.json").read_text()) for ref in (sae, *beside)]
        active = sum(
            min(int(cfg["d_sae"]), length * _l0(store, ref, cfg)) for ref, cfg in zip((sae, *beside), cfgs, strict=True)
        )
        total += rows * (8 * (int(cfgs[0]["d_in"]) + 1 + len(cfgs)) + int(_CODE_BYTES * active))
    figures = (len(documents.classes) + 1) * (len(config.k) + 1) + 4 * len(config.ablated)
    chunks = -(-rows // config.rows_per_chunk)
    return total + len(inputs["sae"]) * (chunks * _CHUNK_BYTES + figures * _FIGURE_BYTES)


def _l0(store: Store, ref: ArtifactRef, cfg: dict[str, Any]) -> float:
    from configs.architectures import target_l0

    planned = sae_origin(store.files(ref).manifest.config).planned_l0
    return float(planned or target_l0(cfg) or int(cfg["d_sae"]) / 10)


def run(job: JobContext) -> None:
    """Probes every SAE that has no artifact yet, one after the other."""
    missing = job.missing()
    if not missing:
        return
    beside = tuple(refs[0] for role, refs in job.inputs.items() if role.startswith("beside_"))
    pairs = [(sae, out) for sae, out in zip(job.inputs["sae"], job.outputs, strict=True) if out in missing]
    for sae, _ in pairs:
        _check_saes(job.store, sae, beside, job.one("tokens"))
    documents = _split_documents(job)
    for sae, output in pairs:
        _probe(job, sae, beside, output, documents)


def _check_saes(store: Store, sae: ArtifactRef, beside: tuple[ArtifactRef, ...], tokens: ArtifactRef) -> None:
    """Raises ValueError for an SAE that these tokens cannot probe, or one beside it that is of another hook or model."""
    hooks, model = _hooks(store, sae), _model(store, sae)
    made_for = store.files(tokens).manifest.inputs.get("model")
    if made_for != model:
        raise ValueError(
            f"{tokens} were made for {made_for}, and {sae} is of {model}: tokenize the documents for that model"
        )
    for ref in beside:
        other = (_hooks(store, ref), _model(store, ref))
        if other != (hooks, model):
            one, two = (f"{', '.join(names)} of {of}" for names, of in (other, (hooks, model)))
            raise ValueError(
                f"{ref} is of {one}, and {sae} of {two}: `compare_with` takes SAEs of the same hook and model"
            )


def _hooks(store: Store, sae: ArtifactRef) -> tuple[str, ...]:
    """What an SAE reads. Raises ValueError for one that makes other activations."""
    metadata = json.loads(store.files(sae).path("cfg.json").read_text())["metadata"]
    own = tuple(metadata.get("hook_names") or [metadata["hook_name"]])
    if metadata.get("hook_name_out") not in (None, metadata.get("hook_name")):
        raise ValueError(
            f"{sae} is a transcoder: it makes the activations of {metadata['hook_name_out']} from those of {own[0]}, and probes "
            "of one hook cannot be ablated at the other. Probe an SAE or a crosscoder"
        )
    return own


def _model(store: Store, sae: ArtifactRef) -> str:
    model = store.files(sae).manifest.inputs.get("model")
    if model is None:
        raise ValueError(f"{sae} was trained on planted activations: there is no text that it could be probed on")
    return model


def _documents(config: ProbeConfig, tokens: ArtifactRef, store: Store) -> Labelled:
    """The documents that are read, without their test split."""
    from sae.formats.labelled_rows import read_labelled_rows
    from sae.probing.documents import choose_documents, columns_of

    return choose_documents(read_labelled_rows(store.files(tokens), config.split, columns_of(config)), config)


def _split_documents(job: JobContext) -> Labelled:
    """The documents that are read, split by a hash of their tokens."""
    from sae.formats.labelled_rows import read_labelled_rows
    from sae.formats.tokens import TokensReader
    from sae.probing.documents import choose_documents, columns_of, with_test_split

    config: ProbeConfig = job.config
    files = job.files("tokens")
    rows = read_labelled_rows(files, config.split, columns_of(config))
    found = with_test_split(choose_documents(rows, config), rows, TokensReader(files, config.split), config)
    job.progress.log(f"{len(found.label)} documents in {len(found.row)} rows, {len(found.classes)} classes")
    return found


def _probe(
    job: JobContext, sae: ArtifactRef, beside: tuple[ArtifactRef, ...], output: Output, documents: Labelled
) -> None:
    """Sums the chunks that no earlier attempt finished, makes the figures of all of them, and publishes."""
    from actors.pool import run_chunks
    from actors.prober import FiguresTask, Probed, ProberSettings, make_prober
    from sae.probing.figures import headline
    from sae.probing.row_sums import file_name

    config: ProbeConfig = job.config
    model = parse_ref(_model(job.store, sae), "models")
    policy = sae_origin(job.store.files(sae).manifest.config).policy
    settings = ProberSettings(sae, beside, output.ref, model, job.one("tokens"), policy, config, job.attempt)
    chunks = _chunks(documents, config)
    finished = job.store.parts(output.ref)
    todo = [chunk for chunk in chunks if file_name(chunk.number) not in finished]
    rows = len(documents.row)
    done = rows - sum(len(chunk.rows) for chunk in todo)
    number = job.outputs.index(output) + 1
    job.progress.start(
        "probe" if len(job.outputs) == 1 else f"probe {number} of {len(job.outputs)}", rows, "rows", done
    )

    def on_done(chunk: Chunk, measured: int) -> None:
        nonlocal done
        done += measured
        job.progress.update(done)

    def on_figures(task: FiguresTask, probed: Probed) -> None:
        summary = {"sae": str(sae), "tokens": str(settings.tokens), "column": config.class_column}
        sources = {"sae": [sae], "tokens": [settings.tokens], **({"beside": list(beside)} if beside else {})}
        job.publish(output, probed.files, summary | headline(probed.body), inputs=sources)

    task = FiguresTask(len(chunks), documents, _record(settings))
    if not run_chunks(
        lambda: make_prober(job.store, settings, job.requirement),
        todo,
        job.requirement.workers,
        "measure",
        on_done,
        job.stop_requested,
    ) or not run_chunks(
        lambda: make_prober(job.store, settings, job.requirement), [task], 1, "figures", on_figures, job.stop_requested
    ):
        raise Stopped(f"stopped after {done} of {rows} rows; the finished chunks are kept")


def _chunks(documents: Labelled, config: ProbeConfig) -> list[Chunk]:
    from actors.prober import Chunk

    rows, size = documents.row.tolist(), config.rows_per_chunk
    return [Chunk(i, tuple(rows[start : start + size])) for i, start in enumerate(range(0, len(rows), size))]


def _record(settings: ProberSettings) -> dict[str, Any]:
    """What probes.json says beside the figures: what they are of."""
    config = settings.config
    return {
        "sae": str(settings.sae),
        "tokens": str(settings.tokens),
        "beside": [str(ref) for ref in settings.beside],
        "split": config.split,
        "class_column": config.class_column,
        "lm_dtype": config.lm_dtype,
        "policy": settings.policy.model_dump(mode="json"),
    }


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
