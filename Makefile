# The verbs of this repository. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables

# The interpreter that `make setup` builds the environment with: 3.11 or later.
PYTHON ?= python3
# What `make test` hands on to pytest: make test ARGS="tests/unit -k conductor"
ARGS ?=

# The distributions of this repository: Atoll, and what algorithms import.
OURS := . algorithm
BIN := .venv/bin
STAMP := .venv/.made-from-lock
# Tools find Atoll's own interpreter and commands first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The theme would print news about its maker's other projects.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help setup demo compare test check format coverage bench docs lock clean
.PHONY: environments formatted linted typed walls pages fresh fragments

help: ## List the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | while IFS=$$'\t' read -r verb line; do printf 'make %-10s %s\n' "$$verb" "$$line"; done

setup: $(STAMP) ## Make .venv with everything that is locked (needs python3 >= 3.11 and its venv)

$(STAMP): requirements/dev.txt pyproject.toml algorithm/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: Atoll needs Python 3.11 or later, and \"$(PYTHON)\" is " + sys.version.split()[0] + ". Name another: make setup PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: $(PYTHON) comes without venv. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Making .venv from requirements/dev.txt. The first time takes a minute or two.'
	@[ -x $(BIN)/python ] && $(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m requirements.install $(BIN)/python requirements/dev.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation $(addprefix --editable ,$(OURS))
	@touch $@

demo: setup ## Start a hub and three islands' nodes, and run an example of each dialect
	@$(BIN)/python -m requirements.environments vantage6-4
	@$(BIN)/atoll demo

compare: setup ## Run two regressions over simulated islands, and compare them with the pooled ones
	@$(BIN)/python examples/demo.py

# Tests start hundreds of programs, which would each compile the code anew.
test coverage: export PYTHONDONTWRITEBYTECODE :=

test: setup environments ## Run the tests (under ten minutes; no Docker, Node or database needed)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# What published algorithms run with in tests. Costs nothing where they are as their locks say.
environments: setup
	@$(BIN)/python -m requirements.environments vantage6-4 vantage6-5

check: formatted linted typed walls pages fresh fragments ## Run every gate but the tests: format, lint, types, imports, docs, lock, fragments

formatted: setup
	$(BIN)/ruff format --check
linted: setup
	$(BIN)/ruff check
typed: setup
	$(BIN)/mypy src algorithm/src tests $(wildcard benchmarks) examples/demo.py requirements
walls: setup
	$(BIN)/lint-imports --no-logo
pages: setup
	$(BIN)/mkdocs build --strict
fresh: setup
	$(BIN)/python requirements/lock.py check
fragments: setup
	@said=$$($(BIN)/towncrier build --draft --version next 2>&1) || { echo "$$said" >&2; exit 1; }

format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

coverage: setup ## Measure what the tests reach: model, engine and dialects, every branch
	@# Tracing takes its time, and `make test` has the clock in its hands.
	$(BIN)/python -m pytest -n auto --dist worksteal -q -m 'not acceptance' --timeout=120 --cov --cov-report= $(ARGS)
	$(BIN)/coverage report

bench: setup ## Measure, and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(ARGS)

docs: setup ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

lock: setup ## Resolve the dependencies anew, a week behind the newest releases
	$(BIN)/python requirements/lock.py make

clean: ## Remove what the other verbs made, but the runs
	rm -rf .venv .environments site dist build .coverage .coverage.* .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
