"""Four TopK SAEs on one pass of the language model: RayLens on Ray Train beside SAELens' multi-SAE runner.

    python -m benchmarks.four_saes [--hooks H1 H2 H3 H4] [--rows 160] [--rounds 5]

Otherwise as benchmarks.end_to_end. By default the SAEs stand at the outputs of blocks 4 to 7.
"""

from __future__ import annotations

from benchmarks.versus import arguments, versus


def main() -> None:
    given = arguments(__doc__, [f"blocks.{layer}.hook_resid_post" for layer in (4, 5, 6, 7)], 160, 8)
    versus("four_saes", "Four SAEs in one run, RayLens beside SAELens", given, 3.0, "")


if __name__ == "__main__":
    main()
