"""The training loop: a source of batches, SAE owners that step on them, schedules and checkpoints. Knows no Ray."""
