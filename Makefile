SHELL := /bin/sh
BIN := .venv/bin
ARGS ?=
# jsonschema imports rfc3987-syntax where it is there, which adds seconds to every import of TFX.
COMPILE := uv pip compile pyproject.toml --python-version 3.10 --generate-hashes -q \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --no-emit-package rfc3987-syntax --no-emit-package lark
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install:  ## the virtual environment .venv from requirements-dev.lock, where it is not current
	@PYTHON="$(PYTHON)" scripts/install .venv

run: install  ## the pipeline with preset quick (ARGS="--preset smoke" for another)
	@$(BIN)/cifar run $(ARGS)

# A file's tests share what they have made, so a file stays with one process.
test: install  ## every test but the slow ones
	@$(BIN)/pytest -q -n logical --maxprocesses 8 --dist loadfile $(ARGS)

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
	@cd tests/kubeflow/kfp && CGO_ENABLED=0 go build -ldflags='-s -w' \
	    -o $(CURDIR)/$(KFP)/ ./backend $(KFP_COMMANDS)
	@touch $@

test-engines: install  ## the Beam stages on real clusters of Flink and Spark (needs JDK, Maven)
	@if command -v javac >/dev/null && command -v mvn >/dev/null; then \
	    $(BIN)/cifar beam install flink && $(BIN)/cifar beam install spark && \
	    $(BIN)/pytest -q -m engines tests/pipeline_def/engine tests/kubeflow/test_flink.py $(ARGS); \
	else echo "No JDK or no Maven here: the runs on Flink and Spark are left out."; \
	    [ "$$CI" != true ]; fi

test-faults: install  ## runs killed, stopped, starved and damaged (ARGS="--kills 5 --seed 1")
	@$(BIN)/python -m tests.faults $(ARGS)

check: install  ## lint, format, layers, declared against imported packages, types, prose
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	@$(BIN)/deptry --no-ansi . --extend-exclude '^benchmarks/'
	@$(BIN)/deptry --no-ansi . --exclude '\.venv' --ignore DEP002,DEP004 # and the developers' code
	@$(BIN)/mypy benchmarks cifar_pipeline cli components contract data_sources examples kubeflow \
	    pipeline_def report serving trainer_module
	@scripts/prose $(BIN)/proselint README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md \
	    docs/*.md kubeflow/README.md

lock:  ## the locks from pyproject.toml (needs uv; ARGS=--upgrade for newer versions)
	$(COMPILE) -o requirements.lock $(ARGS)
	$(COMPILE) --extra dev --constraint requirements.lock -o requirements-dev.lock $(ARGS)
	$(COMPILE) --extra gpu --constraint requirements.lock \
	    | awk '/^[a-z]/ { keep = /^nvidia-/ } keep' > requirements-gpu.lock

clean:  ## outputs and caches; keeps .venv and the data
	rm -rf output .pytest_cache .mypy_cache .ruff_cache

.PHONY: help install run test test-slow test-kubeflow test-engines test-faults check lock clean
