# Two commands to know: `make demo` and `make test`. Each sets up everything it needs.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test check test-interop chaos up down bench clean

demo: .venv/.installed  ## From a language model and a text to a page of features
	@$(BIN)/python -m jobs pipeline --config configs/presets/pipeline.yaml | $(BIN)/python -m jobs.report_summary

test: .venv/.installed  ## All tests but the counts of kills and the comparison with other libraries
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations=40

check: .venv/.installed  ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-interop: .venv/.installed .venv-peers/.installed  ## Our SAE folders, read by SAELens itself
	RAYLENS_PEERS_PYTHON=.venv-peers/bin/python $(BIN)/python -m pytest tests/interop

chaos: .venv/.installed  ## Kills of every kind, counted; seeded and resumable
	$(BIN)/python -m tests.chaos

up: .venv/.installed  ## Start a cluster on this machine
	$(BIN)/python -m cluster up

down: .venv/.installed  ## End it
	$(BIN)/python -m cluster down

bench: .venv/.installed .venv-peers/.installed  ## The tables of benchmarks/results
	for name in demo matmul_rate topk_step ray_overhead end_to_end four_saes jobs catalog api; do $(BIN)/python -m benchmarks.$$name || exit 1; done

# torch comes with its own dependencies first: on a GPU machine these are the CUDA libraries, which no lock file of a
# machine without a GPU can name.
.venv/.installed: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock torch
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	touch $@

.venv-peers/.installed: requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --constraint requirements-peers.txt torch
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-peers.txt
	touch $@

clean:  ## Remove the environments (not your data)
	rm -rf .venv .venv-peers
