"""Measurements behind the figures that RayLens claims: `python -m benchmarks.NAME` writes benchmarks/results/NAME.*."""
