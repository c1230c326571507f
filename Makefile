# Two commands to know: `make demo` and `make test`. Each sets up everything it needs.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
# The newest Python from 3.11 to 3.14 that runs here: the lock file resolves for each. `make PYTHON=python3.12` chooses one.
PYTHON ?= $(firstword $(foreach minor,14 13 12 11,$(shell python3.$(minor) -c "import venv, ensurepip; print('python3.$(minor)')" 2>/dev/null)))
BIN := .venv/bin
# Images of Python set it, and then every process compiles all of our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test trials check test-interop chaos up down studio screenshots bench clean

demo: .venv/.installed  ## From a language model and a text to a page of features
	@$(BIN)/python -m jobs pipeline --config configs/presets/pipeline.yaml $$($(BIN)/python -m configs.cpu_dtypes) | $(BIN)/python -m jobs.report_summary

test: .venv/.installed  ## All tests but the counts of kills and the comparison with other libraries
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder --durations=40

trials: .venv/.installed  ## Damaged files and any options with published tokenizers, counted; seeded and resumable
	$(BIN)/python -m tests.data_trials

check: .venv/.installed  ## Format, lint, types
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

test-interop: .venv/.installed .venv-peers/.installed  ## Our SAE folders, read by SAELens itself
	RAYLENS_PEERS_PYTHON=.venv-peers/bin/python $(BIN)/python -m pytest tests/interop

chaos: .venv/.installed  ## Kills of every kind, counted; seeded and resumable
	$(BIN)/python -m tests.chaos

up: .venv/.installed  ## Start a cluster on this machine
	$(BIN)/python -m cluster up

down: .venv/.installed  ## End it
	$(BIN)/python -m cluster down

STUDIO := serve_app/studio

studio: .venv/.installed $(STUDIO)/node_modules/.installed  ## Build and test the web pages, after a change to them (needs Node 20.19 or later)
	$(BIN)/python -m serve_app.openapi > $(STUDIO)/openapi.json
	cd $(STUDIO) && npm run --silent types && npm run --silent build && npm test --silent

screenshots: .venv/.installed  ## The pictures of docs/studio.md, after a change to the pages (needs Chromium)
	$(BIN)/python -m tests.serve_app.screenshots

$(STUDIO)/node_modules/.installed: $(STUDIO)/package-lock.json
	cd $(STUDIO) && npm ci --no-audit --no-fund && touch node_modules/.installed

bench: .venv/.installed .venv-peers/.installed  ## The tables of benchmarks/results
	for name in demo matmul_rate topk_step ray_overhead architectures end_to_end four_saes jobs catalog api data_statistics samples preflight labels studio; do $(BIN)/python -m benchmarks.$$name || exit 1; done

# An environment is whole while its `.installed` is there; one whose installation was interrupted is made anew. torch
# comes with its own dependencies first: on a GPU machine these are the CUDA libraries, which no lock file of a machine
# without a GPU can name.
define install
	@test -n "$(PYTHON)" || { echo "error: no Python from 3.11 to 3.14 was found: install one, or run make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(if $(wildcard $(1)/.installed),,--clear) $(1)
	rm -f $(1)/.installed
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(2) torch
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $(2)
	touch $(1)/.installed
endef

.venv/.installed: requirements.lock
	$(call install,.venv,requirements.lock)

.venv-peers/.installed: requirements-peers.txt
	$(call install,.venv-peers,requirements-peers.txt)

clean:  ## Remove the environments (not your data)
	rm -rf .venv .venv-peers $(STUDIO)/node_modules
