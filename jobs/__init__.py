"""Jobs: `python -m jobs STAGE --config FILE.yaml`."""
