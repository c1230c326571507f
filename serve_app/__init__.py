"""The HTTP API on Ray Serve: the same functions as the command line, typed, authenticated and live."""
