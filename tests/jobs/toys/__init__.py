"""Small real stages, to test the life of a job without a language model."""
