# Requirements: Python 3.11 or later, make and git. Every target creates .venv on first use.
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
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env: $(VENV)/installed ## Create the virtual environment .venv with the versions of requirements.lock

$(VENV)/installed: requirements.lock pyproject.toml infra/install.sh
	@infra/install.sh "$(PYTHON)" "$(VENV)"

.PHONY: reproduce
reproduce: env ## Run the pipeline from the dumps to reports/report.html; only changed stages run
	@lima profile check
	@start=$$SECONDS; dvc repro && echo && lima summary --seconds "$$((SECONDS - start))"

.PHONY: test
test: check ## Run the checks, then all tests in parallel
	@python -m pytest --numprocesses logical --maxprocesses 8 --dist loadscope --no-loadscope-reorder

.PHONY: test-workers
test-workers: env ## Test the work pool with real servers and workers (minutes; needs PostgreSQL)
	@python -m pytest -m workers tests/flows/test_work_pool.py

.PHONY: check
check: env ## Check format, lint, types, import direction and the hand-written corpus
	@ruff format --check .
	@ruff check .
	@mypy --num-workers 2 lima flows
	@lint-imports --no-logo
	@lima corpus check

.PHONY: notices
notices: env ## Write THIRD_PARTY_NOTICES.md: version and license of each direct dependency
	@python infra/third_party_notices.py

.PHONY: docs
docs: env ## Write the documentation as a site, work/site/index.html, and the picture of the pipeline
	@python infra/pipeline_graph.py
	@NO_MKDOCS_2_WARNING=1 python -m mkdocs build --quiet --strict
	@echo "documentation: work/site/index.html"

.PHONY: bench
bench: env ## Run the benchmarks, or one: make bench only=train; results: benchmarks/results/
	@python -m benchmarks.run $(only)

.PHONY: annotate
annotate: env ## Judge sampled answers in the browser (port 8765); writes corpus/annotations/
	@lima annotate

.PHONY: ui
ui: env ## Start the servers of Prefect (port 4200) and MLflow (port 5000), or free ports; deploy the flows
	@infra/ui.sh

.PHONY: worker
worker: env ## Deploy the flows and start a worker of the work pool gpu; needs make ui
	@infra/worker.sh
