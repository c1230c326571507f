"""What a training run will take, and what looks wrong with it, before anything runs.

`estimate` reads manifests and configs alone: operations, memory, disk, warnings. With the figures of a probe
(sae/training/probe.py), which runs the model for some seconds, it also says what the hooks are, and how long the run takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from configs.architectures import SaeConfig
from configs.architectures.steps import steps_of
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.harvest import HarvestConfig
from configs.hook_names import hook_width
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.life.planner import Planner
from jobs.run_seconds import run_seconds
from jobs.run_size import RunSize, run_size
from jobs.stages import load_stage

if TYPE_CHECKING:
    from cluster.store import Store
    from jobs.plan_probe import Probed
    from sae.training.probe_figures import ProbeFigures

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
# Measured on CPU workers, which keep the memory that they free (sae/language_model/malloc.py).
_PROCESS_BYTES = 400 << 20  # Python, torch, transformers, Arrow and Ray, before there is a model
_LOAD = 1.12  # of the weights
_PASS_BYTES, _ROWS_OF_A_TOKEN = 60 << 20, 32  # of a forward pass; rows of d_model for each token in it
_WEIGHT_BYTES = 16  # of an SAE's weight with its gradient and Adam's moments
_LATENT_BYTES = 22  # of one latent at one position of a step: pre-activations, and what choosing among them takes
_RECIPE_WIDTH, _RECIPE_LR = 2**14, 2e-4  # of Adam for TopK: lr falls with the root of the width (Gao et al. 2024)
_LR_BELOW, _LR_ABOVE = 5, 15  # how many times smaller or larger than the recipe's is far from it
_POSITIONS_A_LATENT = 20  # different data positions, fewer of which repeated in epochs teach a latent by heart


def estimate(
    config: TrainConfig, store: Store, requirement: Requirement, probed: Probed | None = None
) -> dict[str, Any]:
    """The plan of a run as plain JSON. `missing` names inputs that do not exist yet: then only what needs none is known.

    `seconds` and `tokens_per_second` are null without a probe. Raises ValueError for a config that cannot run.
    """
    found, missing = _inputs(config, store)
    probe = None if probed is None else probed.figures
    plan: dict[str, Any] = {
        "stage": "train", "missing": missing, "workers": requirement.workers, "rows": None, "context_length": None,
        "steps": None, "tokens": None, "data_positions": None, "hooks": [], "flops": None, "seconds": None,
        "tokens_per_second": None, "memory_bytes": None, "memory_granted": requirement.memory or None, "disk_bytes": None,
        "dead_share": None, "saes": [{"label": sae.label, "d_sae": sae.d_sae} for sae in config.saes],
    }  # fmt: skip
    plan["dead_share_note"] = "not predicted: the share at the start, which a probe measures, says little about the end"
    size = run_size(config, store, found) if not missing else None
    widths = _widths(config, store, found.get("model"), probe)
    if size is not None:
        positions = size.rows * config.epochs * size.context_length
        plan |= {"rows": size.rows, "context_length": size.context_length, "steps": size.steps, "tokens": positions}
        plan["data_positions"] = round(positions * size.data_share)
        plan["disk_bytes"] = _disk_bytes(config, store, found)
        plan["memory_bytes"] = _memory(config, store, found, widths, size, requirement)
        plan["flops"] = _flops(config, store, found, widths, size, probe)
        if probed is not None:
            plan |= _measured(config, size, probed, requirement, _harvest(config, store))
    plan["warnings"] = _warnings(config, widths, size, plan, requirement)
    return plan


def existing_inputs(config: TrainConfig, store: Store) -> dict[str, ArtifactRef]:
    """The inputs of a run that exist, by role: model and tokens, or planted activations."""
    return _inputs(config, store)[0]


def existing_cache(config: TrainConfig, store: Store) -> ArtifactRef | None:
    """The activation cache that the run reads, if it exists."""
    harvest = config.harvest()
    if harvest is None:
        return None
    ref: ArtifactRef = Planner().step(harvest).outputs[0].ref
    return None if store.manifest(ref) is None else ref


def _inputs(config: TrainConfig, store: Store) -> tuple[dict[str, ArtifactRef], list[str]]:
    """The inputs that exist, by role, and the ids of those that do not. A cache is made first, by a job of its own."""
    roles = load_stage("train").inputs(config)
    planner = Planner()
    found: dict[str, ArtifactRef] = {}
    missing = []
    for role, source in roles.items():
        if role == "activations" and config.activations is None:
            continue
        ref = parse_ref(source) if isinstance(source, str) else planner.step(source).outputs[0].ref
        if store.manifest(ref) is None:
            missing.append(str(ref))
        else:
            found[role] = ref
    return found, missing


def _widths(config: TrainConfig, store: Store, model: ArtifactRef | None, probe: ProbeFigures | None) -> dict[str, int]:
    """Numbers in the value of each hook, by the names of the config; of a module without a probe at most about so many."""
    if model is None:
        return {}
    if probe is not None:
        known = {name: hook.width for hook in probe.hooks for name in (hook.name, hook.module_path)}
        if all(name in known for name in config.hooks()):
            return {name: known[name] for name in config.hooks()}
    files = store.files(model)
    body = json.loads(files.path("config.json").read_text(encoding="utf-8"))
    return {name: hook_width(files.manifest.summary, body, name) for name in config.hooks()}


def _harvest(config: TrainConfig, store: Store) -> HarvestConfig | None:
    """The harvest that has to write this run's cache; None if it streams, or if the cache is there."""
    return None if existing_cache(config, store) is not None else config.harvest()


def _disk_bytes(config: TrainConfig, store: Store, found: Mapping[str, ArtifactRef]) -> int:
    """SAEs and checkpoints, and the cache if the run has one of its own to be made."""
    inputs = {role: [ref] for role, ref in found.items()}
    total = load_stage("train").store_bytes(config, inputs, store)
    harvest = _harvest(config, store)
    if harvest is not None:
        total += load_stage("harvest").store_bytes(harvest, inputs, store)
    return total


def _parameters(sae: SaeConfig, widths: Mapping[str, int]) -> int:
    first, last = sae.dimensions([widths[hook] for hook in sae.all_hooks()])
    encoder = 0 if sae.architecture == "matchingpursuit" else sae.d_sae * first
    return encoder + sae.d_sae * last + 3 * sae.d_sae + last


def _memory(
    config: TrainConfig,
    store: Store,
    found: Mapping[str, ArtifactRef],
    widths: Mapping[str, int],
    size: RunSize,
    requirement: Requirement,
) -> int:
    """Bytes of the largest worker at its peak: model, a block's activations, and its SAEs with Adam and one step.

    Of a run with a cache that is a worker of the training, or of the harvest, which has the model and a chunk of the cache.
    """
    if not widths:
        d = int(store.files(found["activations"]).manifest.summary["d"])
        widths = dict.fromkeys(config.hooks(), d)
    positions = config.batch_rows * size.context_length
    steps = min(config.block_steps, size.steps)
    lanes = -(-config.lanes // requirement.workers)
    own = lanes / config.lanes
    total = float(_PROCESS_BYTES)
    total += sum(4 * widths[hook] for hook in config.hooks()) * positions * steps * (own + 2 / config.lanes)
    if config.cache is None and "model" in found:
        total += _model_bytes(config, store, found["model"], config.lane_rows * size.context_length)
    saes = [config.saes[i] for i in range(0, len(config.saes), requirement.workers)]
    weights = [_parameters(sae, widths) for sae in saes]
    total += _WEIGHT_BYTES * sum(weights) + _LATENT_BYTES * positions * size.data_share * max(sae.d_sae for sae in saes)
    harvest = _harvest(config, store)
    if harvest is None or "model" not in found:
        return int(total)
    reading = _model_bytes(config, store, found["model"], harvest.batch_rows * size.context_length)
    chunk = harvest.rows_per_chunk * size.context_length * 4 * sum(widths[hook] for hook in config.hooks())
    return int(max(total, _PROCESS_BYTES + reading + 2 * chunk))


def _model_bytes(config: TrainConfig, store: Store, model: ArtifactRef, positions: int) -> float:
    """Of the model, and of a forward pass over so many positions."""
    summary = store.files(model).manifest.summary
    dtype = _BYTES.get(config.lm_dtype, 4)
    per_token = _ROWS_OF_A_TOKEN * int(summary["d_model"]) * dtype
    passes = _PASS_BYTES + positions * per_token
    return int(summary["parameters"]) * dtype * _LOAD + passes


def _flops(
    config: TrainConfig,
    store: Store,
    found: Mapping[str, ArtifactRef],
    widths: Mapping[str, int],
    size: RunSize,
    probe: ProbeFigures | None,
) -> dict[str, float]:
    """Operations of matrix products: the model up to the last hook, and the encoders' dense products.

    What else an SAE's step does touches active latents only. A cache is read each epoch, and made once.
    """
    tokens = size.rows * size.context_length
    language_model = 0.0
    if "model" in found and (config.cache is None or _harvest(config, store) is not None):
        each = probe.flops_per_token if probe is not None else _model_flops(config, store, found["model"])
        language_model = each * tokens * (1 if config.cache is not None else config.epochs)
    saes = sum(2.0 * sae.d_sae * (_d_in(sae, widths) or 0) * size.seen * _products(sae) for sae in config.saes)
    return {"language_model": language_model, "saes": saes, "total": language_model + saes}


def _d_in(sae: SaeConfig, widths: Mapping[str, int]) -> int | None:
    """Dimensions that an SAE's encoder reads; None if they are not known."""
    found = [widths[hook] for hook in sae.all_hooks() if hook in widths]
    return sae.dimensions(found)[0] if len(found) == len(sae.all_hooks()) else None


def _products(sae: SaeConfig) -> int:
    """Dense products of the encoder in a step: matching pursuit makes one for each choice."""
    return int(getattr(sae, "k", 1)) if sae.architecture == "matchingpursuit" else 1


def _model_flops(config: TrainConfig, store: Store, model: ArtifactRef) -> float:
    """Twice the weights of the blocks up to the last hook: about so many operations a token, without attention's own."""
    summary = store.files(model).manifest.summary
    embeddings = int(summary["vocab_size"]) * int(summary["d_model"])
    layers = int(summary["n_layers"])
    numbered = [int(hook.split(".")[1]) for hook in config.hooks() if hook.startswith("blocks.")]
    blocks = max(numbered, default=layers - 1) + 1 if len(numbered) == len(config.hooks()) else layers
    return 2.0 * (int(summary["parameters"]) - embeddings) * blocks / layers


def _measured(
    config: TrainConfig, size: RunSize, probed: Probed, requirement: Requirement, harvest: HarvestConfig | None
) -> dict[str, Any]:
    """Times and hooks, from what was measured. `harvest`: the job that has to make the cache first."""
    probe = probed.figures
    parts = run_seconds(config, size, probed, requirement, harvest)
    tokens = size.rows * config.epochs * size.context_length
    return {
        "seconds": parts,
        "tokens_per_second": tokens / parts["total"],
        "data_positions": round(tokens * probe.data_share),
        "hooks": [{**hook._asdict(), "rows": probe.rows} for hook in probe.hooks],
        "saes": [sae._asdict() for sae in probe.saes],
    }


def _warnings(
    config: TrainConfig,
    widths: Mapping[str, int],
    size: RunSize | None,
    plan: Mapping[str, Any],
    requirement: Requirement,
) -> list[str]:
    found = [text for sae in config.saes for text in _sae_warnings(sae, widths, size)]
    needs, granted = plan["memory_bytes"], requirement.memory
    if needs and granted and needs > granted:
        found.append(
            f"a worker needs about {needs / 2**30:.1f} GiB of memory, and the job asks for {granted / 2**30:.1f} GiB: set "
            f"resources.memory={-(-needs // 2**30) * 2**30}"
        )
    for hook in plan["hooks"]:
        if hook["sink_share"] > 0.05:
            found.append(
                f"{hook['sink_share']:.0%} of the positions at {hook['name']} are attention sinks: see policy.sink_factor"
            )
    if size is not None:
        found += _data_warnings(config, size)
    return list(dict.fromkeys(found))


def _sae_warnings(sae: SaeConfig, widths: Mapping[str, int], size: RunSize | None) -> list[str]:
    found = []
    d = _d_in(sae, widths)
    if d is not None and sae.d_sae < d:
        found.append(
            f"{sae.label}: {sae.d_sae:,} latents are fewer than the {d:,} dimensions that they are to take apart"
        )
    if d is not None and sae.target_l0 is not None and sae.target_l0 > d / 4:
        found.append(f"{sae.label}: {sae.target_l0:g} active latents are more than a quarter of the {d:,} dimensions")
    recipe = _RECIPE_LR * (_RECIPE_WIDTH / sae.d_sae) ** 0.5
    if not recipe / _LR_BELOW <= sae.lr <= recipe * _LR_ABOVE:
        found.append(f"{sae.label}: lr = {sae.lr:g} is far from {recipe:.1g}, the usual one for {sae.d_sae:,} latents")
    if size is not None:
        positions, steps = size.seen, size.steps
        if steps_of(sae.lr_warmup, steps) > steps / 2:
            found.append(f"{sae.label}: lr_warmup takes more than half of the {steps:,} steps")
        if sae.dead_after_tokens >= positions:
            found.append(
                f"{sae.label}: no latent counts as dead in this run: dead_after_tokens = {sae.dead_after_tokens:,} is not less "
                f"than its {round(positions):,} data positions"
            )
    return found


def _data_warnings(config: TrainConfig, size: RunSize) -> list[str]:
    positions = size.different
    widest = max(config.saes, key=lambda sae: sae.d_sae)
    found = []
    if config.epochs > 1 and positions < _POSITIONS_A_LATENT * widest.d_sae:
        found.append(
            f"{round(positions):,} different data positions, read {config.epochs} times, are few for {widest.d_sae:,} latents "
            f"({positions / widest.d_sae:.0f} for each): take more rows and fewer epochs"
        )
    batch = config.batch_rows * size.context_length * size.data_share
    if batch < 256:
        found.append(f"a step has {round(batch)} data positions: raise batch_rows, for gradients of so few are noisy")
    return found
