"""Steering: a language model's text while features of SAEs are changed, beside its text without the change."""
