"""Language models that answer over HTTP."""
