"""Train: one artifact for each SAE of the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from configs.architectures import SaeConfig
from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage
from jobs.stages.harvest import hook_widths

if TYPE_CHECKING:
    from cluster.store import Store

VERSION = 3
_START = "start_from_"
_CHECKPOINTS = 3  # in the store at the same time


def inputs(config: TrainConfig) -> dict[str, StageConfig | str]:
    """The model, the tokens and, if the run reads a cache, the harvest that writes it; or planted activations."""
    if config.model is None or config.tokens is None:
        assert config.activations is not None, "the config was checked"
        return {"activations": config.activations, **_starts(config)}
    needed: dict[str, StageConfig | str] = {"model": config.model, "tokens": config.tokens, **_starts(config)}
    harvest = config.harvest()
    return needed if harvest is None else {**needed, "activations": harvest}


def _starts(config: TrainConfig) -> dict[str, str]:
    """The SAEs that some of the run start from, each once."""
    found = dict.fromkeys(sae.start_from for sae in config.saes if sae.start_from is not None)
    return {f"{_START}{number}": ref for number, ref in enumerate(found)}


def outputs(config: TrainConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One SAE for each entry of the config. Its id does not depend on the other SAEs of the run."""
    sources = {role: str(inputs[role][0]) for role in _sources(config)}
    return [
        Output(ArtifactRef("saes", fingerprint("train", VERSION, _science(config, sae), sources)), _label(sae))
        for sae in config.saes
    ]


def _sources(config: TrainConfig) -> tuple[str, ...]:
    """The inputs that name an SAE. A cache does not: it holds what the model makes of the tokens."""
    return ("model", "tokens") if config.activations is None else ("activations",)


def _label(sae: SaeConfig) -> str:
    return sae.label if sae.frozen == "none" else f"{sae.label}, {sae.frozen} frozen"


def _science(config: TrainConfig, sae: SaeConfig) -> dict[str, Any]:
    whole = config.science()
    shared = (
        "split",
        "rows",
        "epochs",
        "batch_rows",
        "lanes",
        "block_steps",
        "seed",
        "policy",
        "lm_dtype",
        "autocast",
        "early_stop",
    )
    # A stream and an fp32 cache made with the same batches give the same bytes, so they are one artifact.
    return {"sae": sae.model_dump(mode="json"), "reads": config.reads(), **{key: whole[key] for key in shared}}


def run(job: JobContext) -> None:
    """Trains what is missing on Ray Train and publishes each SAE."""
    from actors.checkpoints import Checkpoints

    config: TrainConfig = job.config
    check(config, job.requirement)
    missing = {i: output for i, output in enumerate(job.outputs) if job.store.manifest(output.ref) is None}
    checkpoints = Checkpoints(job.store, job.fingerprint, job.attempt, job.scratch)
    if not all(_whole(job, output.ref) for output in missing.values()):
        _fit(job, {i: output.ref for i, output in missing.items()})
    unfinished = [output.label for output in missing.values() if not _whole(job, output.ref)]
    if unfinished:
        found = checkpoints.latest([output.ref.id for output in missing.values()])
        raise Stopped(
            f"stopped with a checkpoint before block {found.block}; the same command goes on from there"
            if found
            else "stopped before the first checkpoint; the same command starts again"
        )
    for i, output in missing.items():
        parts = job.store.parts(output.ref)
        files = [file for file, _ in parts.values()]
        sae = config.saes[i]
        summary = {**_summary(job, output.ref), "sae": sae.model_dump(mode="json")}
        job.publish(output, files, summary, inputs=_inputs_of(job, sae))
    checkpoints.clear()


def _inputs_of(job: JobContext, sae: SaeConfig) -> dict[str, list[ArtifactRef]]:
    """What one SAE of the run was made from."""
    found = {role: refs for role, refs in job.inputs.items() if not role.startswith(_START)}
    return found if sae.start_from is None else {**found, "start_from": [parse_ref(sae.start_from, "saes")]}


def check(config: TrainConfig, requirement: Requirement) -> None:
    """Raises ValueError for more workers than lanes, and for workers that would share a GPU."""
    if requirement.workers > config.lanes:
        raise ValueError(
            f"{requirement.workers} workers cannot share {config.lanes} lanes: set resources.workers to at most "
            f"{config.lanes}, or lanes to at least {requirement.workers} (a divisor of batch_rows = {config.batch_rows})"
        )
    if requirement.workers > 1 and 0 < requirement.gpus < 1:
        raise ValueError(
            f"{requirement.workers} workers with resources.gpus={requirement.gpus:g} would share a GPU, which NCCL refuses: "
            "set resources.gpus=1, or resources.workers=1"
        )


def store_bytes(config: TrainConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the SAEs, and of the checkpoints: two are kept while a third is written."""
    hooks = config.hooks()
    if config.activations is None:
        widths = dict(zip(hooks, hook_widths(inputs["model"][0], store, list(hooks)), strict=True))
    else:
        widths = dict.fromkeys(hooks, _planted(store, inputs["activations"][0])["d"])
    weights = sum(_weight_bytes(sae, [widths[hook] for hook in sae.all_hooks()]) for sae in config.saes)
    counters = sum(8 * sae.d_sae for sae in config.saes)
    return weights + _CHECKPOINTS * (3 * weights + counters)


def _weight_bytes(sae: SaeConfig, widths: list[int]) -> int:
    """Bytes of the weights of an SAE, at most, whose hooks have these widths."""
    # Encoder, decoder, the bias of the output, and what has one value for each latent: biases, thresholds.
    d_in, d_out = sae.dimensions(widths)
    values = sae.d_sae * (d_in + d_out) + d_out + 3 * sae.d_sae
    skip = d_in * d_out if len(widths) > 1 and not sae.is_crosscoder else 0
    return 4 * (values + skip)


def _planted(store: Store, activations: ArtifactRef) -> dict[str, Any]:
    """What the manifest of planted activations says. Raises ValueError for those of a language model."""
    manifest = store.files(activations).manifest
    if manifest.stage != "synthesize":
        raise ValueError(
            f"{activations} holds activations of a language model, not planted ones: give model, tokens and `cache`, which "
            "names the harvest by what it holds"
        )
    return manifest.summary


def _whole(job: JobContext, ref: ArtifactRef) -> bool:
    from actors.trainer import SAE_FILES

    return set(SAE_FILES) <= set(job.store.parts(ref))


def _summary(job: JobContext, ref: ArtifactRef) -> dict[str, Any]:
    from actors.trainer import LAST_FILE

    return dict(job.store.parts(ref)[LAST_FILE][1])


def _fit(job: JobContext, saes: dict[int, ArtifactRef]) -> None:
    from actors.checkpoints import Checkpoints
    from actors.progress_channel import ProgressChannel
    from actors.train_launcher import fit
    from actors.trainer import TrainTask
    from sae.training.batch_plan import make_plan

    config: TrainConfig = job.config
    planted = config.activations is not None
    available, context_length = _size(job)
    task = TrainTask(
        config=config,
        saes=saes,
        metadata=_planted_metadata(job) if planted else _metadata(job),
        model=None if planted else job.one("model"),
        tokens=None if planted else job.one("tokens"),
        cache=job.one("activations") if "activations" in job.inputs else None,
        store=job.store,
        run=job.fingerprint,
        attempt=job.attempt,
        requirement=job.requirement,
        channel=ProgressChannel.open(job.fingerprint),
        initial={str(refs[0]): refs[0] for role, refs in job.inputs.items() if role.startswith(_START)},
    )
    plan = make_plan(config, available, context_length)
    found = Checkpoints(job.store, job.fingerprint, job.attempt, job.scratch).latest([ref.id for ref in saes.values()])
    done = plan.rows_before(found.block) if found else 0
    rows = max(plan.steps_for(config.saes[i]) for i in saes) * plan.batch_rows
    job.progress.start("train", rows, "rows", done)
    fit(
        task,
        job.scratch,
        lambda rows: job.progress.update(rows, durable=False),
        job.progress.log,
        job.stop_requested,
        lambda block: job.progress.durable(plan.rows_before(block)),
        lambda curves: job.progress.curves({f"saes/{id}": text for id, text in curves.items()}),
    )


def _size(job: JobContext) -> tuple[int, int]:
    """Rows that there are to train on, and positions of each."""
    config: TrainConfig = job.config
    if config.activations is not None:
        info = _planted(job.store, job.one("activations"))
        return int(info["rows"]), int(info["context_length"])
    tokens = json.loads(job.files("tokens").path("tokens.json").read_text())
    return tokens["splits"].get(config.split, {}).get("rows", 0), tokens["context_length"]


def _planted_metadata(job: JobContext) -> dict[str, Any]:
    context_length = _planted(job.store, job.one("activations"))["context_length"]
    return {
        "model_name": "planted",
        "context_size": context_length,
        "prepend_bos": False,
        "raylens": {"activations": str(job.one("activations")), "run_stage_version": VERSION},
    }


def _metadata(job: JobContext) -> dict[str, Any]:
    config: TrainConfig = job.config
    tokens = json.loads(job.files("tokens").path("tokens.json").read_text())
    model = job.store.manifest(job.one("model"))
    dataset = job.store.manifest(job.one("tokens"))
    return {
        "model_name": model.label if model else "",
        "model_class_name": "AutoModelForCausalLM",
        "hook_name_out": None,
        "hook_head_index": None,
        "context_size": tokens["context_length"],
        "prepend_bos": bool(tokens["bos"]),
        "seqpos_slice": [None],
        "model_from_pretrained_kwargs": {},
        "dataset_path": "" if dataset is None else dataset.inputs.get("dataset", ""),
        "exclude_special_tokens": not config.policy.include_special,
        "raylens": {"model": str(job.one("model")), "tokens": str(job.one("tokens")), "run_stage_version": VERSION},
    }


STAGE = Stage(VERSION, inputs, outputs, run, check, store_bytes)
