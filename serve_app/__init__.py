"""The HTTP API on Ray Serve. Not built yet: jobs come in by `python -m jobs` and `ray job submit`."""
