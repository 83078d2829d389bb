# Smalt: `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CLUSTER ?= local
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SYSTEM := PYTHONPATH=tests CLUSTER=$(CLUSTER) $(PYTHON)
# Sources are compiled once, beside them, for every Python that a test starts; images leave that out.
export PYTHONDONTWRITEBYTECODE :=
SOURCES := operator trainer_image scorer_image tracking_image tests
export CLUSTER
# Two processes: one has all that shares the cluster, in order; the other the rest, file by file; who is done first helps.
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test check generate up images status down bench clean lock setup format

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(READY) ## a cluster, Smalt, the quickstart and a real prediction; leaves the cluster up
	@$(SYSTEM) -m demo

test: $(READY) ## every test, those against the real cluster included (sets everything up)
	@$(SYSTEM) -m cluster for-tests
	@$(SYSTEM) -m cluster up
	@$(SYSTEM) -m cluster images
	@markers=$$($(SYSTEM) -m cluster markers) && set -x && $(BIN)/python -m pytest -m "$$markers" $(TOGETHER) $(PYTEST_ARGS)

check: $(READY) ## format, lint, types, import contracts, generated files, unit, golden and contract tests
	@$(MAKE) --no-print-directory --keep-going --output-sync=target -j 2 $(CHECKS)

CHECKS := check-models check-rest check-types check-text check-imports check-generated
.PHONY: $(CHECKS)

check-text:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check-types:
	$(BIN)/mypy

check-imports:
	$(BIN)/lint-imports --no-cache

check-generated:
	$(BIN)/python -m smalt.crds --check

# Two halves beside each other, by folder, so that neither loads what the other tests. What is `slow` is left to `make test`.
WITH_MODELS := tests/unit/scorer tests/unit/profile tests/unit/card
# Without the plugins that other tests use, which take seconds to load.
QUICK := $(BIN)/python -m pytest -q -p no:schemathesis -p no:anyio -m "not controlplane and not cluster and not slow"

check-models:
	$(QUICK) $(WITH_MODELS)

check-rest:
	$(QUICK) tests/unit tests/golden tests/contract $(WITH_MODELS:%=--ignore=%)

format: $(READY) ## format and sort the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(READY) ## write crds/ from the models, and the golden manifests
	$(BIN)/python -m smalt.crds
	$(BIN)/python -m pytest -q tests/golden --update-golden

lock: $(READY) ## resolve requirements/*.in again into locks with hashes and no addresses
	cd requirements && for name in *.in; do \
	  ../$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url "$$name" -o "$${name%.in}.txt" || exit 1; done

up: ## start (or repair) the cluster chosen by CLUSTER=local|kind|current
	@$(SYSTEM) -m cluster up

images: ## build the images and hand them to the cluster
	@$(SYSTEM) -m cluster images

status: ## what of the local cluster runs
	@$(SYSTEM) -m cluster status

down: ## end the local cluster without a trace
	@$(SYSTEM) -m cluster down

bench: $(READY) ## measure against named peers (ONLY=operator for one file's)
	@PYTHONPATH=tests $(BIN)/python -m bench $(ONLY)

setup: $(READY) ## the virtualenv alone

clean: ## remove what was built here (the cache folder of binaries and images stays)
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements/dev.txt
	@$(SYSTEM) -m cluster virtualenv $(VENV)
	@touch $@
