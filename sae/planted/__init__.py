"""Planted activations: a dictionary that is known, samples of it, and how well an SAE recovers it. Knows no Ray."""
