# `make` alone prints what there is. Everything runs through bootstrap.py, which fetches uv where it is missing.

SHELL := /bin/bash
RUN := python3 bootstrap.py run
IN_BACKEND := cd backend && python3 ../bootstrap.py run
# From the root, as on SQLite: coverage looks for its settings in the current folder only.
ON_POSTGRES := LITEVAULT_TEST_DATABASE=postgresql $(RUN) python -m tests.postgres_cluster --not-durable --
UV := python3 bootstrap.py uv

# Folders that appear with their feature; the gate must not fail before they do.
PYTHON_SOURCES := backend/app backend/tests bootstrap.py $(wildcard benchmarks)
MIGRATIONS := $(wildcard backend/alembic/env.py backend/alembic/versions/*.py)
# Whoever changes a line of these must be able to trust the tests of it blindly.
MONEY := backend/app/llm/ledger/*,backend/app/llm/attempts.py,backend/app/spending/budget.py,backend/app/spending/counters.py,backend/app/spending/quotas.py,backend/app/queries/quota.py
FULLY_COVERED := backend/app/items/item.py,backend/app/worker/*,backend/app/llm/routing*,backend/app/llm/traffic/breaker*,backend/app/llm/policy*,$(MONEY)

export COVERAGE_FILE ?= $(CURDIR)/.coverage

.DEFAULT_GOAL := help
.PHONY: help setup dev test test-postgres test-llama llama-server coverage check fix bench bench-gateway chaos

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the dependencies and the pre-commit hooks
	$(UV) sync --frozen
	$(RUN) pre-commit install

dev: ## serve on port 8080, restarting when the code changes
	$(IN_BACKEND) uvicorn app.main:app --reload --port 8080

test: ## the tests on SQLite; ARGS="-k word -x" goes to pytest
	$(RUN) pytest $(ARGS)

test-postgres: ## the same tests on a PostgreSQL made for them and removed afterwards
	$(ON_POSTGRES) python -m pytest $(ARGS)

llama-server: ## build llama.cpp's server for the tests: a compiler and a quarter of an hour, once
	$(UV) run --no-project --with pip,cmake,ninja python backend/tests/llama/build_server.py

test-llama: llama-server ## the tests that ask a real llama.cpp server
	$(RUN) pytest -m llama $(ARGS)

coverage: ## both engines, then the bounds: 95 % overall, 100 % for transitions, worker, routing, breaker and the ledger
	$(RUN) coverage erase
	COVERAGE_FILE=$(COVERAGE_FILE).sqlite $(RUN) pytest --cov --cov-report= $(ARGS)
	COVERAGE_FILE=$(COVERAGE_FILE).postgresql $(ON_POSTGRES) python -m pytest --cov --cov-report= $(ARGS)
	$(MAKE) --no-print-directory coverage-bounds

.PHONY: coverage-bounds
coverage-bounds: # the last step of `coverage`, for data that lies there already
	$(RUN) coverage combine --quiet
	$(RUN) coverage report --skip-covered --fail-under=95
	$(RUN) coverage report --include='$(FULLY_COVERED)' --fail-under=100

check: ## the gate: format, lint, types, imports, lock; changes nothing
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy $(PYTHON_SOURCES)
	$(if $(MIGRATIONS),$(RUN) mypy --no-explicit-package-bases $(MIGRATIONS))
	$(RUN) lint-imports
	$(UV) lock --check

fix: ## format, and mend what ruff can mend
	$(RUN) ruff format
	$(RUN) ruff check --fix

bench: ## measure, each figure against its bound in the same run; ARGS goes to benchmarks
	$(RUN) python -m benchmarks $(ARGS)

bench-gateway: ## measure the gateway beside LiteLLM's proxy, which it installs elsewhere; ARGS="--short"
	$(RUN) python -m benchmarks --only cached --only gateway $(ARGS)

chaos: ## kill, pause and restart everything, then look for what was lost; ARGS="--short"
	$(IN_BACKEND) python -m tests.chaos $(ARGS)
