# Two commands on a fresh machine with Python 3.11+, make and git: `make demo` and `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV_VERSION := 0.13.9
BIN := .venv/bin
PYTEST := $(BIN)/pytest
SHARED ?= ../shared

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: .venv/.ready ## create .venv with everything; the command is .venv/bin/stepwell

.venv/.ready: pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "Stepwell needs Python 3.11 or newer; none was found on PATH." >&2; exit 1; }
	@test -x $(BIN)/uv || { echo "Creating .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@echo "Installing the locked dependencies"
	@$(BIN)/uv sync --frozen --all-extras --inexact --compile-bytecode --quiet
	@touch $@

demo: setup ## run the pipelines on embedded defaults (PIPELINE=name for one)
	@$(BIN)/python -m pipelines.demo $(PIPELINE)

test: setup ## run the tests
	$(PYTEST) -m "not slow" $(ARGS)

test-all: setup ## run the tests, those of scale and of many kills too (half an hour)
	$(PYTEST) $(ARGS)

lint: setup ## ruff, mypy --strict (the pipelines too) and the import contracts
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

browser: ## install Debian's Chromium, for pages that only a browser can read (needs root)
	apt-get install -y --no-install-recommends chromium

emulators: .venv-emulators/.ready ## install ministack and moto, for comparisons and as other AWS services in tests

.venv-emulators/.ready:
	@$(PYTHON) -m venv .venv-emulators
	@.venv-emulators/bin/pip install --quiet --disable-pip-version-check 'ministack==1.5.33' 'moto[server]==5.2.5'
	@touch $@

conformance: setup emulators ## compare with AWS's recordings (../shared); ARGS=--pure, ARGS=--moto
	$(BIN)/python -m tests.conformance.run $(ARGS)

clients: .venv-clients/.ready ## install the AWS CLI and the JavaScript SDK, which the API's tests also drive

.venv-clients/.ready: tests/api/clients/package.json
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/pip install --quiet --disable-pip-version-check 'awscli>=1.44'
	@npm install --prefix tests/api/clients --no-audit --no-fund --no-package-lock --silent
	@touch $@

javascript: ## install the JavaScript library that runs state machines in process, for comparisons (needs npm)
	@if command -v npm >/dev/null; then npm install --prefix benchmarks/javascript --no-audit --no-fund --no-package-lock --silent; \
	else echo "npm is not installed: the comparison with the JavaScript library will be skipped"; fi

bench: setup emulators javascript ## measure what the README claims, side by side with the others
	$(BIN)/python -m benchmarks

KILLS ?= 1000
crash: setup ## kill the server KILLS times (1000), under load, and look for what was lost (SEED=n repeats a run)
	$(BIN)/python -m tests.crash --kills $(KILLS) $(if $(SEED),--seed $(SEED))

clean: ## remove what the targets made, not your data
	rm -rf .venv demo-output .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup demo test test-all lint browser emulators conformance clients javascript bench crash clean
