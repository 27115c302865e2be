SHELL := /bin/sh
BIN := .venv/bin
ARGS ?=
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: .venv/installed  ## the virtual environment .venv from requirements.lock
.venv/installed: requirements.lock pyproject.toml scripts/install scripts/find-python
	@PYTHON="$(PYTHON)" scripts/install .venv
	@touch $@

run: install  ## the pipeline with preset quick (ARGS="--preset smoke" for another)
	@$(BIN)/cifar run $(ARGS)

test: install  ## every test but the slow ones
	@$(BIN)/pytest -q $(ARGS)

test-slow: install  ## the full-size runs
	@$(BIN)/pytest -q -m slow $(ARGS)

KFP := .cache/kfp
KFP_COMMANDS := $(addprefix github.com/kubeflow/pipelines/backend/src/v2/cmd/,driver launcher-v2)

test-kubeflow: install  ## the compiled pipeline, run by Kubeflow Pipelines' own code (needs Go)
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory $(KFP) && \
	    $(BIN)/pytest -q -m kfp tests/kubeflow/kfp $(ARGS); \
	else echo "No Go here: Kubeflow Pipelines' own driver and launcher are left out."; \
	    [ "$$CI" != true ]; fi

$(KFP): $(wildcard tests/kubeflow/kfp/go.* tests/kubeflow/kfp/backend/*.go)
	@echo "Building Kubeflow Pipelines' driver and launcher; some minutes the first time."
	@cd tests/kubeflow/kfp && CGO_ENABLED=0 go build -o $(CURDIR)/$(KFP)/ ./backend $(KFP_COMMANDS)
	@touch $@

check: install  ## lint, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy components pipeline_def report serving trainer_module

# jsonschema imports rfc3987-syntax where it is there, which adds seconds to every import of TFX.
lock:  ## requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --python-version 3.10 --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade -q \
	    --no-emit-package rfc3987-syntax --no-emit-package lark \
	    -o requirements.lock

clean:  ## outputs and caches; keeps .venv and the data
	rm -rf output .pytest_cache .mypy_cache .ruff_cache

.PHONY: help install run test test-slow test-kubeflow check lock clean
