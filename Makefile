# `make help` lists what there is. Everything is installed into $(VENV); nothing else on the machine is touched.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCE ?=

.PHONY: help demo check test lint bench clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Import a real model, launch it, ask it a question (SOURCE=ollama://… or hf://… uses a real publisher)
	$(BIN)/python -m tests.demo $(SOURCE)

check: $(INSTALLED) lint ## What to run at every commit: the style, the types, the layers, the tests that start no service
	$(BIN)/python -m pytest -n auto -m "not live"

test: $(INSTALLED) lint ## Lint, type check, and run every test whose parts are on this machine
	$(BIN)/python -m pytest -n auto --cov --cov-report=

lint: $(INSTALLED) ## Check the style, the types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED) ## Measure the main jobs, and this machine's own limits in the same run
	$(BIN)/python -m tests.bench

clean: ## Remove everything that make installed and the demo made
	rm -rf $(VENV) .demo

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
