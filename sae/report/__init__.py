"""The report: one self-contained HTML page about one SAE and its features, and the same figures as JSON."""
