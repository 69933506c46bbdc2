# Two commands need nothing but Python 3.11+ with its headers, a C compiler, make and git: `make reproduce` and `make test`. They create .venv themselves.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env: $(VENV)/installed ## Create the environment below .venv, with the versions of requirements.lock

$(VENV)/installed: requirements.lock pyproject.toml infra/install.sh native/pyproject.toml native/rowscan.pyx
	@infra/install.sh "$(PYTHON)" "$(VENV)"

.PHONY: reproduce
reproduce: env ## From the dumps to reports/report.html; does only what has changed
	@lima profile check
	@dvc repro
	@dvc metrics show
	@echo "look at reports/report.html; every step: dvc stage list; runs and pages: make ui"

.PHONY: test
test: check ## Check the code, then run every test, a module at a time on each core
	@python -m pytest --numprocesses logical --maxprocesses 8 --dist loadscope --no-loadscope-reorder

.PHONY: check
check: env ## Format, lint, types, the one way in which imports go, and the hand-written corpus
	@ruff format --check .
	@ruff check .
	@mypy lima flows
	@lint-imports --no-logo
	@lima corpus check

.PHONY: bench
bench: env ## Measure; `make bench only=train` runs one; writes benchmarks/results/
	@python -m benchmarks.run $(only)

.PHONY: ui
ui: env ## Start Prefect's server (port 4200) and MLflow's pages (port 5000) on loopback
	@infra/ui.sh

.PHONY: worker
worker: env ## Deploy the flows to the work pool `gpu` and work on it; needs `make ui`
	@infra/worker.sh
