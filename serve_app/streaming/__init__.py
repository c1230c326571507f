"""Events and logs as streams."""
