# One word for each thing one does here; `make` alone says which.
.DEFAULT_GOAL := help
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo $(VENV)-uv/bin/uv)
# Colour codes would hide the counts that programs read.
export NO_COLOR = 1
# Tests start hundreds of processes: without bytecode on disk each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check format lock install clean

help: ## Say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo ## Keep one real model right through a real year (three minutes)
	$(BIN)/undrift demo flights

test: $(VENV)/.dev ## Run all tests
	$(BIN)/pytest -n auto --dist loadgroup

check: $(VENV)/.dev ## Format, lint, types, import contracts, documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell src tests docs benchmarks examples scripts README.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/python scripts/generate_client.py --check
	$(BIN)/python scripts/generate_map.py --check
	$(BIN)/python scripts/generate_reference.py --check

format: $(VENV)/.dev ## Format the code and write what is generated
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .
	$(BIN)/python scripts/generate_client.py
	$(BIN)/python scripts/generate_map.py
	$(BIN)/python scripts/generate_reference.py

lock: $(UV) ## Lock what pyproject.toml asks for
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra demo pyproject.toml --output-file requirements/demo.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--group dev pyproject.toml --extra demo --extra postgresql --extra s3 --output-file requirements/dev.txt

clean: ## Remove what was made here
	rm -rf $(VENV) $(VENV)-uv flights-demo demo-report.html .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

install: $(VENV)/.dev ## Make the environment for working on undrift

$(VENV)-uv/bin/uv:
	$(PYTHON) -m venv $(VENV)-uv
	$(VENV)-uv/bin/pip install --quiet uv

$(BIN)/python: | $(UV)
	$(UV) venv --quiet --python $(PYTHON) $(VENV)

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(UV) $(BIN)/python
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/demo.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(UV) $(BIN)/python
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@ $(VENV)/.demo
