"""What a stage gets to work with, and how it hands its artifacts over."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from configs.artifact_ids import ArtifactRef, parse_ref
from configs.base import StageConfig
from configs.requirements import Requirement

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.store import ArtifactFiles, Manifest, Store, StoredFile


class Output(NamedTuple):
    """One artifact that a stage will make: its id, a label that people read, and its bytes if the plan knows them.

    `shared_bytes`: what several workers, if there are several, store for each other until it is there.
    """

    ref: ArtifactRef
    label: str = ""
    store_bytes: int = 0
    shared_bytes: int = 0


class Stopped(Exception):
    """A stage ended early because a stop was requested, after it left what it needs to go on from there."""


class ProgressLike(Protocol):
    """How a stage says how far it is. jobs.life.progress.Progress is the real one."""

    def start(self, phase: str, total: int, unit: str, done: int = 0) -> None: ...
    def update(self, done: int, durable: bool = True) -> None: ...
    def durable(self, done: int) -> None: ...
    def curves(self, by_sae: Mapping[str, str]) -> None: ...
    def log(self, message: str) -> None: ...


class QuietProgress:
    """Says nothing."""

    def start(self, phase: str, total: int, unit: str, done: int = 0) -> None: ...
    def update(self, done: int, durable: bool = True) -> None: ...
    def durable(self, done: int) -> None: ...
    def curves(self, by_sae: Mapping[str, str]) -> None: ...
    def log(self, message: str) -> None: ...


@dataclass
class JobContext:
    """One attempt of one job. Stages read from it, report to it and publish through it; nothing else is theirs."""

    config: Any  # the stage's own StageConfig
    outputs: list[Output]
    store: Store
    scratch: Path  # an empty folder of this attempt's own, removed when it ends
    inputs: dict[str, list[ArtifactRef]] = field(default_factory=dict)  # by role; a training run gives one id an SAE
    fingerprint: str = ""
    attempt: int = 1
    requirement: Requirement = field(default_factory=Requirement)
    progress: ProgressLike = field(default_factory=QuietProgress)
    stage_version: int = 1
    stop: Callable[[], bool] = lambda: False
    claim: Callable[[Manifest], None] = lambda manifest: None  # the catalog's compare-and-set of the attempt
    job_id: str = ""

    def one(self, role: str) -> ArtifactRef:
        """The only input of a role. Raises ValueError if there are more."""
        refs = self.inputs[role]
        if len(refs) != 1:
            raise ValueError(f"input {role!r} must be one artifact, not {len(refs)}: {', '.join(map(str, refs))}")
        return refs[0]

    def files(self, role: str) -> ArtifactFiles:
        """The files of the only input of a role."""
        return self.store.files(self.one(role))

    def stop_requested(self) -> bool:
        """True once the job should finish its block, leave a checkpoint and raise Stopped. Cheap; call it often."""
        return self.stop()

    def missing(self) -> list[Output]:
        """Outputs that the store does not have yet: a job that was cut off may have published some."""
        return [output for output in self.outputs if self.store.manifest(output.ref) is None]

    def publish(
        self,
        output: Output,
        files: Sequence[StoredFile],
        summary: dict[str, Any],
        provenance: dict[str, Any] | None = None,
        inputs: dict[str, list[ArtifactRef]] | None = None,
    ) -> None:
        """Makes an artifact appear, whole: the right to do so first, then the manifest, then leftovers go.

        `summary` holds plain JSON values that people and later stages read. `inputs`: what this one was made from, if
        that is not all that the job has: of many SAEs, an evaluation is of one. Raises StaleAttempt if a newer attempt
        holds the job, StoreError if a file is not there.
        """
        from cluster.store import Manifest

        config: StageConfig = self.config
        manifest = Manifest(
            kind=output.ref.kind,
            id=output.ref.id,
            stage=config.stage,
            stage_version=self.stage_version,
            attempt=self.attempt,
            label=output.label,
            config=config.science(),
            inputs=named_inputs(self.inputs if inputs is None else inputs),
            files=tuple(files),
            summary=summary,
            provenance={**provenance_of(self.requirement), **(provenance or {})},
        )
        self.claim(manifest)
        self.store.commit(manifest)
        self.store.sweep(output.ref)


def named_inputs(inputs: dict[str, list[ArtifactRef]]) -> dict[str, str]:
    """Inputs as `role -> kind/id`; several of one role become `role.0`, `role.1`, ..."""
    named = {}
    for role, refs in inputs.items():
        if len(refs) == 1:
            named[role] = str(refs[0])
        else:
            named.update({f"{role}.{i}": str(ref) for i, ref in enumerate(refs)})
    return named


def grouped_inputs(named: dict[str, str]) -> dict[str, list[ArtifactRef]]:
    """named_inputs turned back: what a row or a manifest records, by role."""
    roles: dict[str, list[tuple[int, ArtifactRef]]] = {}
    for name, ref in named.items():
        role, dot, number = name.rpartition(".")
        if dot and number.isdigit():
            roles.setdefault(role, []).append((int(number), parse_ref(ref)))
        else:
            roles.setdefault(name, []).append((0, parse_ref(ref)))
    return {role: [ref for _, ref in sorted(refs)] for role, refs in roles.items()}


_PACKAGES = ("torch", "transformers", "tokenizers", "pyarrow", "numpy", "ray", "safetensors")


def provenance_of(requirement: Requirement) -> dict[str, Any]:
    """CPU capability, library builds, device, workers and threads. No times: equal runs have equal manifests."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_capability": cpu_capability(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "device": requirement.device,
        "workers": requirement.workers,
        "threads": requirement.threads,
    }


def cpu_capability() -> str:
    """The vector instructions that decide how sums are rounded: torch's own word if it is loaded, else the kernel's."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return str(torch.backends.cpu.get_cpu_capability())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return platform.processor() or "unknown"
    return next((name for flag, name in (("avx512f", "AVX512"), ("avx2", "AVX2")) if flag in flags), "DEFAULT")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
