# Hansa. `make` alone tells what there is. Every target sets up what it needs and nothing more, and a
# second time that costs a comparison of dates.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml requirements.lock scripts/setup
WORKERS ?= 3
SETUP := PYTHON="$(PYTHON)" scripts/setup

# A tree that was moved or copied has a venv that points elsewhere: its stamps do not count.
HERE := $(shell pwd -P)
STALE := $(if $(filter-out $(HERE),$(shell cat $(VENV)/.installed-run 2>/dev/null)),stale)

.PHONY: help up test check docs bench bench-search format pictures lock postgres chromium stale clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## tell what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

up: $(VENV)/.installed-run ## start Hansa with a demo shop, and say where (ARGS="--port 9000")
	@exec $(BIN)/hansa up $(ARGS)

test: check postgres chromium ## check, then run every test (ARGS="-k stock")
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.installed-dev ## format, lint, types, layers
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/basedpyright --warnings
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev ## build the documentation as a site, build/site/index.html
	$(BIN)/python -m mkdocs build --strict --site-dir build/site

format: $(VENV)/.installed-dev ## format the code and fix what can be fixed
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/python -m ruff format .

bench: $(VENV)/.installed-bench postgres ## compare with peers, side by side (ARGS=...)
	$(BIN)/python -m benchmarks $(ARGS)

bench-search: $(VENV)/.installed-dev postgres ## search beside SQLite FTS5 and PostgreSQL, and at scale (ARGS=...)
	$(BIN)/python -m benchmarks.search $(ARGS)

# Without HANSA_REQUIRE_ALL, tests that need PostgreSQL skip where it cannot be had.
postgres: $(VENV)/.installed-dev
	@$(BIN)/python -m hansa.testing.postgres_install || test -z "$$HANSA_REQUIRE_ALL"

# The same for Chromium, which looks at the pages.
chromium: $(VENV)/.installed-dev
	@$(BIN)/python -m hansa.testing.chromium || test -z "$$HANSA_REQUIRE_ALL"

pictures: chromium ## make the pictures of the pages anew, in docs/pictures
	$(BIN)/python -m tests.console.pictures
	$(BIN)/python -m tests.storefront.pictures

lock: ## resolve the dependencies anew and write requirements.lock
	scripts/lock

clean: ## remove what was made here, except the rows in .hansa
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(VENV)/.installed-run: $(INPUTS) $(STALE)
	@$(SETUP)

$(VENV)/.installed-dev: $(INPUTS) $(STALE)
	@$(SETUP) dev

$(VENV)/.installed-bench: $(INPUTS) $(STALE)
	@$(SETUP) dev bench

stale:
