"""label: labels of every feature of an SAE, with scores; one labels artifact a features artifact.

python -m jobs label --config configs/presets/label.yaml
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from configs.artifact_ids import ArtifactRef, fingerprint, parse_ref
from configs.base import StageConfig
from configs.label import LabelConfig
from configs.label_endpoint import PROMPTS
from configs.requirements import Requirement
from configs.sae_origin import sae_origin
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage
from jobs.stages.extract import cache_of

if TYPE_CHECKING:
    from actors.label_source import LabelTask
    from cluster.store import Store

VERSION = 3
_FEATURE_BYTES = 4000  # of the labels of one feature, at most about
_PARTNER_BYTES = 16  # of one feature that is active together with another
_ANSWER_TOKEN_BYTES = 8  # of a model server's answers, twice: kept while the job runs, and in the artifact


def inputs(config: LabelConfig) -> dict[str, StageConfig | str]:
    """The features to label."""
    return {"features": config.features}


def check(config: LabelConfig, requirement: Requirement) -> None:
    """Raises EndpointError or EndpointUnreachable for a model server that is not there, or has no such model."""
    if config.endpoint is not None:
        from sae.labels.endpoint.check import check_endpoint

        check_endpoint(config.endpoint)


def outputs(config: LabelConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One labels artifact for the features of each SAE, named by these alone."""
    science = _science(config)
    refs = {ref: fingerprint("label", VERSION, science, {"features": str(ref)}) for ref in inputs["features"]}
    return [Output(ArtifactRef("labels", refs[ref]), f"of {ref}") for ref in inputs["features"]]


def store_bytes(config: LabelConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Bytes of the labels, at most about."""
    features = sum(int(store.files(ref).manifest.summary["n_features"]) for ref in inputs["features"])
    asked = config.endpoint
    answers = 0 if asked is None else 2 * asked.planned_requests * asked.answer_tokens * _ANSWER_TOKEN_BYTES
    return features * (_FEATURE_BYTES + _PARTNER_BYTES * config.coactive) + len(inputs["features"]) * answers


def run(job: JobContext) -> None:
    """Labels the features of each SAE whose labels are missing, one SAE after the other. Raises Stopped."""
    from actors.labeller import ANSWERS, Labelled, make_labeller
    from actors.pool import run_chunks
    from actors.progress_channel import ProgressChannel

    missing = job.missing()
    pairs = [(ref, out) for ref, out in zip(job.inputs["features"], job.outputs, strict=True) if out in missing]
    if not pairs:
        return
    tasks = [_task(job, ref, output.ref) for ref, output in pairs]
    check(job.config, job.requirement)
    job.progress.start("label", sum(task.passes * task.rows for task in tasks), "rows")
    channel = ProgressChannel.open(job.outputs[0].ref.id)
    stopped = asking = False

    def on_done(task: LabelTask, labelled: Labelled | None) -> None:
        nonlocal stopped
        if labelled is None:
            stopped = True
            return
        report()
        features, output = pairs[tasks.index(task)]
        job.publish(output, labelled.files, _summary(labelled.info), inputs={"features": [features]})

    def report() -> None:
        nonlocal asking
        latest = channel.latest()
        answers = sum(count for name, count in latest.items() if name.endswith(ANSWERS))
        if answers and not asking:
            asking = True
            job.progress.start("ask", len(tasks) * job.config.endpoint.planned_requests, "answers")
        job.progress.update(answers if asking else sum(latest.values()), durable=asking)

    def should_stop() -> bool:
        report()
        if job.stop_requested():
            channel.request_stop()
            return True
        return False

    try:
        finished = run_chunks(
            lambda: make_labeller(job.store, job.attempt, job.requirement, channel),
            tasks,
            1,
            "label",
            on_done,
            should_stop,
        )
    finally:
        channel.clear()
    if stopped or not finished:
        raise Stopped("stopped before all features were labelled; finished SAEs are kept")


def _task(job: JobContext, features: ArtifactRef, output: ArtifactRef) -> LabelTask:
    from actors.label_source import LabelTask
    from sae.formats.features import FeaturesReader
    from sae.labels.label_features import LabelSettings

    config: LabelConfig = job.config
    info = FeaturesReader(job.store.files(features)).info
    found = {role: parse_ref(info.inputs[role]) for role in ("sae", "model", "tokens")}
    origin = sae_origin(job.store.files(found["sae"]).manifest.config)
    _check_latents(config, features, info.n_features)
    rows = min(info.rows, max(1, config.positions // info.context_length))
    lm_dtype = str(info.settings.get("lm_dtype", "auto"))
    return LabelTask(
        features=features,
        output=output,
        inputs=found,
        cache=cache_of(job.store, found["sae"], info.split, lm_dtype, rows),
        split=info.split,
        rows=rows,
        policy=origin.policy,
        lm_dtype=lm_dtype,
        dtype=origin.dtype,
        pass_rows=origin.pass_rows,
        settings=LabelSettings(
            examples=config.examples,
            strength=config.strength,
            min_cosine=config.min_cosine,
            seed=config.seed,
            effect_examples=config.effect_examples,
            steering_prompt=config.steering_prompt,
        ),
        coactive=config.coactive,
        science=_science(config),
        endpoint=config.endpoint,
    )


def _check_latents(config: LabelConfig, features: ArtifactRef, n_features: int) -> None:
    if config.endpoint is None or isinstance(config.endpoint.latents, int):
        return
    wrong = [latent for latent in config.endpoint.latents if latent >= n_features]
    if wrong:
        raise ValueError(f"endpoint.latents: {features} has no latent {wrong[0]}: they are 0 to {n_features - 1}")


def _science(config: LabelConfig) -> dict[str, Any]:
    """What decides the labels. With a model server also the prompts' version; without one nothing of it."""
    science = {key: value for key, value in config.science().items() if key != "features"}
    if config.endpoint is None:
        del science["endpoint"]
    else:
        science["endpoint"]["prompts"] = PROMPTS
    return science


def _summary(info: dict[str, Any]) -> dict[str, Any]:
    keys = ("rows", "explain_positions", "test_positions", "n_features", "labelled", "beats", "types")
    inputs = info["inputs"]
    return {key: info[key] for key in keys} | {"sae": inputs["sae"], "features": inputs["features"]}


STAGE = Stage(VERSION, inputs, outputs, run, check, store_bytes)
