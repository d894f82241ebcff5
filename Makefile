# One entry for people and for CI. Needs only make and Python 3.11 or newer; `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# Two workers fit the smallest machine that we promise to run on; `make test JOBS=8` for a larger one.
JOBS ?= 2
ARGS ?=

# Compiled files are what makes the second start fast, so an inherited wish not to write them is dropped.
unexport PYTHONDONTWRITEBYTECODE
# The installer must not pick up another project's environment.
unexport VIRTUAL_ENV

INSTALL := $(UV) pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--exclude-newer "7 days" $(LOCKARGS)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev up chat test check docs fmt bench profile chaos lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime-ready ## Install the server into .venv

setup-dev: $(VENV)/.dev-ready ## Install the server and the tools for working on it

up: setup ## Start the server: make up ARGS="--port 8001"
	@$(BIN)/cloche up $(ARGS)

chat: setup ## Talk to a running server in the terminal
	@$(BIN)/cloche chat $(ARGS)

test: setup-dev ## Run the tests: make test ARGS="-k runs"
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

check: setup-dev ## Format, lint, floors, types, house rules, generated pages
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/python -m pytest -q tests/test_house_rules.py
	$(BIN)/python scripts/docs.py --check

docs: setup-dev ## Write the generated pages of docs/reference
	$(BIN)/python scripts/docs.py

fmt: setup-dev ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: setup-dev ## Measure: make bench ARGS="--quick --scenario bursts"
	$(BIN)/python -m bench $(ARGS)

profile: setup-dev ## Flame graphs, and the CPU of a run by floor, in build/profile
	$(BIN)/python -m bench.profile $(ARGS)

chaos: setup-dev ## Break the server in every way, and check its promises: make chaos ARGS="kills --quick"
	$(BIN)/python -m chaos $(ARGS)

lock: $(UV) ## Pin the requirements; newer ones: make lock LOCKARGS=--upgrade
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) --group pyproject.toml:build -o requirements/build.txt
	$(LOCK) --group pyproject.toml:installer -o requirements/uv.txt

clean: ## Remove the environment and every cache
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Cloche needs Python 3.11 or newer, but '$(PYTHON)' is:" >&2; $(PYTHON) --version >&2; \
		echo "Name another one: make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.runtime-ready: $(UV) requirements/runtime.txt requirements/build.txt pyproject.toml
	$(INSTALL) -r requirements/runtime.txt -r requirements/build.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-ready: $(VENV)/.runtime-ready requirements/dev.txt
	$(INSTALL) -r requirements/dev.txt
	@touch $@
