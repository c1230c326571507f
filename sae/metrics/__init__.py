"""Metrics of a trained SAE on held-out tokens: EV, L0, density, and CE and KL scores. Knows no Ray."""
