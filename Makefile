# Two commands: `make up` runs it, `make test` checks it. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help up test check bench format clean
help:
	@echo "make up      set up, and serve a demo shop on http://127.0.0.1:8400"
	@echo "make test    set up, check, and run all tests on SQLite and PostgreSQL"
	@echo "make check   format, lint, types and import rules"
	@echo "make bench   compare with peers, one run"

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Hansa needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.up: $(VENV)/.made pyproject.toml requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.up
	@$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[bench]'
	@touch $@

up: $(VENV)/.up
	@$(BIN)/hansa up $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	scripts/postgres
	$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.bench
	scripts/postgres
	$(BIN)/python -m benchmarks $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
