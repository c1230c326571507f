"""The importer: fetches the files of a foreign SAE, checks them, calibrates its hook and stores it as one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import ray

from actors.pool import worker_options
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef
from configs.import_ import ImportConfig
from configs.requirements import Requirement
from sae.calibration import Calibration, calibrate
from sae.formats.sae_folder import write_sae
from sae.formats.tokens import TokensReader
from sae.importers import ForeignSae, ImportOptions, read_foreign
from sae.importers.source_files import SaeFiles, resolve_sae
from sae.importers.tensors import SaeFormatError
from sae.language_model import HookPoint, LanguageModel
from sae.language_model.errors import HookNotFound
from sae.quoting import quoted
from sae.row_activations import calibration_batches
from sae.sources import SourceError


class ImportTask(NamedTuple):
    """What an importer works on. `identity` is what the source was when the job was made."""

    config: ImportConfig
    identity: dict[str, Any]
    output: ArtifactRef
    model: ArtifactRef
    tokens: ArtifactRef
    metadata: dict[str, Any]
    store: Store
    attempt: int
    requirement: Requirement


class Imported(NamedTuple):
    """The files of the artifact, what its manifest says of it, and what a person should know."""

    files: list[StoredFile]
    summary: dict[str, Any]
    notes: tuple[str, ...]


class Importer:
    """An actor with one piece of work."""

    def __init__(self, task: ImportTask) -> None:
        self._task = task

    def run(self, _: None) -> Imported:
        """Raises SourceError, SaeFormatError, and what the model and tokens raise. Nothing is stored before all fits."""
        task, config = self._task, self._task.config
        set_up(task.requirement)
        found = resolve_sae(config)
        if found.source.identity != task.identity:
            raise SourceError(f"{found.source.label} has changed since this job was made: submit it again")
        foreign = _read(found, config)
        refuse_emulated(task.requirement, config.lm_dtype)
        model = LanguageModel.load(task.store.files(task.model).directory(), config.lm_dtype, task.requirement.device)
        hooks = _hooks(model, foreign, config)
        foreign = _with_centring_of(model, hooks[0], foreign)
        tokens = TokensReader(task.store.files(task.tokens), config.split, config.policy.speakers)
        calibrations = [_calibrate(model, tokens, hook, config) for hook in hooks]
        _check_widths(foreign, calibrations)
        with temporary_folder() as scratch:
            folder = Path(scratch)
            names = _write(folder, foreign, hooks, calibrations, task)
            files = [task.store.put(task.output, task.attempt, name, folder / name) for name in names]
        return Imported(files, _summary(foreign, hooks[0], found), foreign.notes)


def _read(found: SaeFiles, config: ImportConfig) -> ForeignSae:
    root = found.source.fetch(found.source.names, lambda done: None)
    paths = {PurePosixPath(name).name: root / name for name in found.source.names}
    return read_foreign(config.format, paths, found.where, ImportOptions(config.k, config.activation_norm))


def _hooks(model: LanguageModel, foreign: ForeignSae, config: ImportConfig) -> list[HookPoint]:
    """The hook that the SAE reads and, of a transcoder, the one that it makes. Raises SaeFormatError, HookNotFound."""
    if config.hook is not None:
        first = model.hook(config.hook)
    elif not foreign.hooks:
        raise SaeFormatError(f"the files do not say which hook this SAE reads: give `hook`, such as {_example(model)}")
    else:
        first = _first_known(model, foreign.hooks)
    target = foreign.metadata.get("hook_name_out")
    if not foreign.export.config["architecture"].endswith("transcoder") or not target:
        return [first]
    second = _first_known(model, (str(target),))
    return [first] if second.name == first.name else [first, second]


def _with_centring_of(model: LanguageModel, hook: HookPoint, foreign: ForeignSae) -> ForeignSae:
    """Without `center_writing_weights` where TransformerLens centres nothing: it does in the stream of models with LayerNorms."""
    loaded = _mapping(foreign.metadata.get("model_from_pretrained_kwargs"))
    if not loaded.get("center_writing_weights") or model.centres_residual(hook):
        return foreign
    kept = {key: value for key, value in loaded.items() if key != "center_writing_weights"}
    return foreign._replace(metadata={**foreign.metadata, "model_from_pretrained_kwargs": kept})


def _first_known(model: LanguageModel, names: Sequence[str]) -> HookPoint:
    for name in names:
        try:
            return model.hook(name)
        except HookNotFound as error:
            wrong = error
    raise SaeFormatError(f"its files name the hook {quoted(names[0])}: {wrong}. Or give `hook`")


def _example(model: LanguageModel) -> str:
    names = model.hook_names()
    return names[len(names) // 2] if names else "the path of a module"


def _calibrate(model: LanguageModel, tokens: TokensReader, hook: HookPoint, config: ImportConfig) -> Calibration:
    batches = calibration_batches(model, tokens, hook, config.policy.calibration_rows, config.batch_rows)
    return calibrate(hook.name, batches, config.policy)


def _check_widths(foreign: ForeignSae, calibrations: list[Calibration]) -> None:
    tensors = foreign.export.tensors
    widths = [len(tensors["W_enc"]) if "W_enc" in tensors else tensors["W_dec"].shape[1], tensors["W_dec"].shape[1]]
    for what, width, calibration in zip(("reads", "makes"), widths, (calibrations[0], calibrations[-1]), strict=True):
        if len(calibration.mean) != width:
            raise SaeFormatError(
                f"this SAE {what} activations of {width} dimensions, but {calibration.hook} of this model has "
                f"{len(calibration.mean)}: it is of another model or hook"
            )


def _write(
    folder: Path, foreign: ForeignSae, hooks: list[HookPoint], calibrations: list[Calibration], task: ImportTask
) -> list[str]:
    given = foreign.metadata
    raylens = {**_mapping(given.get("raylens")), **task.metadata["raylens"]}
    metadata = {
        **{key: value for key, value in given.items() if key not in ("sae_lens_version", "raylens", "hook_names")},
        **{key: value for key, value in task.metadata.items() if key != "raylens" and given.get(key) in (None, "")},
        "hook_name": hooks[0].name,
        "hf_hook_name": hooks[0].module_path,
        "hook_name_out": hooks[1].name if len(hooks) > 1 else None,
        "raylens": raylens,
    }
    training = {
        "config": {**task.config.science(), "source": None, "model": None, "tokens": None},
        "inputs": {"model": str(task.model), "tokens": str(task.tokens)},
        "imported": {"format": task.config.format, "source": task.identity},
    }
    first, *others = calibrations
    return write_sae(folder, foreign.architecture, foreign.export, metadata, first, training, *others)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _summary(foreign: ForeignSae, hook: HookPoint, found: SaeFiles) -> dict[str, Any]:
    k = foreign.export.config.get("k") or _mapping(foreign.metadata.get("raylens")).get("target_l0")
    sae = {"hook": hook.name, "architecture": foreign.architecture, "d_sae": len(foreign.export.tensors["W_dec"])}
    return {
        "sae": {**sae, **({"k": int(k)} if k else {})},
        "imported_from": found.source.label,
        "notes": list(foreign.notes),
    }


def make_importer(task: ImportTask, environment: dict[str, Any] | None) -> Any:
    """Starts an importer actor of the size that the job was granted."""
    options = worker_options(task.requirement) | ({"runtime_env": environment} if environment else {})
    return ray.remote(Importer).options(**options).remote(task)
