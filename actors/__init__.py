"""Thin Ray workers around `sae`."""
