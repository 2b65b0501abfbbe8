# Everything a developer runs. `make help` lists it. What is slow to build lies in the cache, outside the checkout, keyed by content.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(IOT_BACKUP_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/iot-backup-operator)
PYTHON ?= python3
VENV := $(CACHE)/venv-$(shell { cat requirements/test.txt; $(PYTHON) --version; } | sha256sum | cut -c1-12)
PY := $(VENV)/bin/python
export IOT_BACKUP_CACHE := $(CACHE)
export PYTHONPATH := operator
export PYTHONPYCACHEPREFIX := $(CACHE)/bytecode
export COVERAGE_FILE := $(CACHE)/coverage-$(shell pwd | sha256sum | cut -c1-8)
export RUFF_CACHE_DIR := $(CACHE)/ruff
export MYPY_CACHE_DIR := $(CACHE)/mypy
PYTEST := $(PY) -m pytest -p no:cacheprovider

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.ready packages ## a real cluster, a BackupJob on real files, a RestoreJob, and the proof that nothing is missing
	@$(PY) -m tests.demo

.PHONY: test
test: ## everything: lint, types, imports, unit, handlers, pipeline, packaging, then the real cluster
	@$(MAKE) fast
	@$(MAKE) e2e

.PHONY: fast
fast: lint types imports unit pipeline packaging ## all that needs no cluster

.PHONY: lint
lint: $(VENV)/.ready ## style of code, Dockerfile, YAML and shell
	@echo "== lint"
	@$(VENV)/bin/ruff check operator tests extras
	@$(VENV)/bin/ruff format --check operator tests extras
	@$(VENV)/bin/hadolint Dockerfile
	@$(VENV)/bin/yamllint --strict -c .yamllint config docker-compose.backup.yml crds k8s examples charts/*/Chart.yaml charts/*/values.yaml
	@$(VENV)/bin/shellcheck .ci/run

.PHONY: types
types: $(VENV)/.ready ## mypy, strict
	@echo "== types"
	@$(VENV)/bin/mypy

.PHONY: imports
imports: $(VENV)/.ready ## the layers of docs/architecture.md
	@echo "== imports"
	@$(VENV)/bin/lint-imports --no-cache --no-logo

.PHONY: unit
unit: $(VENV)/.ready packages ## pure layers (with their coverage gate), handlers on an in-memory API server
	@echo "== unit and handler tests"
	@$(VENV)/bin/coverage run -m pytest -p no:cacheprovider -q tests/unit
	@$(VENV)/bin/coverage report
	@$(PYTEST) -q tests/handlers

.PHONY: pipeline
pipeline: $(VENV)/.ready packages ## real bytes: archives, stores (a real MinIO), faults
	@echo "== pipeline and store tests"
	@$(PYTEST) -q -n auto --maxprocesses 4 --dist worksteal tests/pipeline tests/contract

.PHONY: packaging
packaging: $(VENV)/.ready packages ## CRDs, models, chart, k8s/ and docs agree
	@echo "== packaging tests"
	@$(PYTEST) -q tests/packaging

.PHONY: e2e
e2e: $(VENV)/.ready packages ## the real cluster: CRDs, admission, whole backups and restores, failures
	@echo "== cluster tests"
	@$(PYTEST) -q tests/cluster tests/e2e

.PHONY: cluster
cluster: $(VENV)/.ready packages ## start the real cluster with operator and MinIO; prints the line that sets KUBECONFIG
	@$(PY) -m tests.cluster install

.PHONY: cluster-down
cluster-down: $(VENV)/.ready ## stop it; leaves nothing behind
	@$(PY) -m tests.cluster down

.PHONY: month
month: $(VENV)/.ready packages ## forty simulated days of the seed's config on a real PostgreSQL, with 200 kills at random moments
	@SIMULATED_DAYS=40 SIMULATED_KILLS=200 SIMULATED_RETENTION=0 $(PY) -m pytest -p no:cacheprovider -v tests/pipeline/test_month.py

.PHONY: bench
bench: $(VENV)/.ready ## the engine beside tar|zstd|age, restic and others; ARGS="--scale 0.2 --rounds 3 --only A,B,E"
	@$(PY) -m tests.bench.engine $(ARGS)

.PHONY: bench-cluster
bench-cluster: $(VENV)/.ready packages ## seconds from create to done on the real cluster, beside the floor
	@$(PY) -m tests.bench.cluster

.PHONY: render
render: $(VENV)/.ready ## write k8s/base anew from the chart
	@$(PY) -m tests.packaging.render

.PHONY: format
format: $(VENV)/.ready ## format the code
	@$(VENV)/bin/ruff check --fix operator tests extras
	@$(VENV)/bin/ruff format operator tests extras

.PHONY: lock
lock: $(VENV)/.ready ## write the hash-locked requirements anew from pyproject.toml
	@$(CACHE)/uv/bin/uv pip compile -q --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes pyproject.toml -o requirements/runtime.txt
	@$(CACHE)/uv/bin/uv pip compile -q --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes --extra test pyproject.toml -o requirements/test.txt
	@echo 'hatchling>=1.27,<2' | $(CACHE)/uv/bin/uv pip compile -q --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes - -o requirements/build.txt

.PHONY: packages
packages: $(VENV)/.ready
	@$(PY) -m tests.cluster packages

# The resolver of old pips spins for minutes on kopf + kubernetes + boto3; uv installs the locked set in seconds. The name holds what is
# in it, so it is never made anew for a file's date, which would take it from under whatever runs; two who make it wait for each other.
$(VENV)/.ready:
	@mkdir -p $(CACHE)
	@exec 9> $(CACHE)/venv.lock; flock 9; [ ! -e $@ ] || exit 0; \
	  echo "== virtual environment in $(VENV)"; \
	  [ -x $(CACHE)/uv/bin/uv ] || { $(PYTHON) -m venv --clear $(CACHE)/uv; $(CACHE)/uv/bin/pip install -q uv; }; \
	  $(CACHE)/uv/bin/uv venv -q --clear --python $(PYTHON) $(VENV); \
	  VIRTUAL_ENV=$(VENV) $(CACHE)/uv/bin/uv pip sync -q --require-hashes requirements/test.txt; \
	  touch $@
