# What a contributor types; `make` alone lists it. scripts/setup.sh holds whatever is longer than a line.
# GNU make 3.81, which macOS ships, will do: no .ONESHELL, no grouped targets, no `!=`.

# Where Linux without an NVIDIA GPU gets its small build of torch.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# PYTHON=/path/to/python3.12 overrides the search for an interpreter.
export TORCH_INDEX PYTHON

BIN := .venv/bin
PINS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo setup test test-slow contract chaos check constraints look-at-venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/.runtime ## install what running needs, then search the digits with a dashboard to look at
	$(BIN)/hourglass demo examples/digits_denoising.yaml

setup: .venv/.dev ## install everything, tests included
	@echo ".venv is ready."

test: .venv/.dev ## the quick tests, on as many cores as there are, up to four
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow and not long"

test-slow: .venv/.dev ## the slow tests: real processes, the wheel
	$(BIN)/pytest -m slow

contract: .venv/.dev ## thousands of calls of every role, held against the OpenAPI document
	$(BIN)/pytest -s -m long

# SECONDS and SEED may be given: make chaos SECONDS=60 SEED=7
chaos: .venv/.dev ## ten minutes of killed and frozen processes and a bad network; then nothing may be lost
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),600) --seed $(or $(SEED),0)

check: .venv/.dev ## format, lint, types, import contracts, migrations against the tables
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m nas_service.database.migrate check

constraints: ## write constraints.txt anew: the newest versions that fit pyproject.toml
	@sh scripts/setup.sh constraints

# The stamps are made last, so an interrupted installation is done again. The look at .venv is an order-only
# prerequisite: it runs every time (30 ms) and makes nothing out of date.
.venv/.runtime: $(PINS) | look-at-venv
	@sh scripts/setup.sh runtime

.venv/.dev: .venv/.runtime $(PINS)
	@sh scripts/setup.sh dev

look-at-venv:
	@sh scripts/setup.sh look
