"""One TopK SAE, streaming, from tokens to a folder: RayLens on Ray Train beside SAELens' runner.

    python -m benchmarks.end_to_end [--rows 480] [--rounds 5] [--saelens '{"prefetch": 1}']

Same model, hook, tokens, width, k, batch, learning rate and schedule; five runs of each in turns. Tokens/s counts
positions that were trained on, over the seconds of the training loop (language model included; loading, calibration
and norm estimation not); seconds from start to files include everything. How SAELens is set up stands in
benchmarks/peers/saelens_run.py. Held-out EV is RayLens' metric for both.
"""

from __future__ import annotations

from benchmarks.versus import arguments, versus


def main() -> None:
    given = arguments(__doc__, ["blocks.7.hook_resid_post"], 480, 16)
    versus("end_to_end", "One SAE end to end, RayLens beside SAELens", given, 1.7, " (goal 2)")


if __name__ == "__main__":
    main()
