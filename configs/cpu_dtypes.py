"""Which half precisions this machine's CPU computes in, by the flags that the kernel shows.

    python -m configs.cpu_dtypes     prints the --set options with which a pipeline computes in bf16, if this CPU does

No artifact's id depends on this: a half precision on a CPU is an explicit choice, made where a job is submitted, and
recorded in its config. Workers check it, to refuse what they could only emulate: on a CPU with AVX2 alone, a product of matrices
in bf16 takes 50 times as long as in fp32.
"""

from __future__ import annotations

from pathlib import Path

_FLAGS = {  # x86 under "flags", Arm under "Features"
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "fp16": {"avx512_fp16", "amx_fp16"},
}
_STAGES = ("harvest", "train", "evaluate", "extract")


def cpu_dtypes(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The dtypes (`fp32`, `bf16`, `fp16`) that the CPU has instructions for; only `fp32` where the kernel does not list them."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    words = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return frozenset({"fp32", *(dtype for dtype, flags in _FLAGS.items() if flags & set(words))})


def bf16_options(dtypes: frozenset[str]) -> list[str]:
    """Options of `python -m jobs pipeline` that take bf16 where it is among `dtypes`: language model and SAE encoder."""
    if "bf16" not in dtypes:
        return []
    chosen = [*(f"{stage}:lm_dtype=bf16" for stage in _STAGES), "train:autocast=bf16"]
    return [word for setting in chosen for word in ("--set", setting)]


if __name__ == "__main__":
    print(" ".join(bf16_options(cpu_dtypes())))
