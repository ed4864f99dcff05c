# Everything a developer or CI does. `make help` lists it.

SHELL := /bin/bash
BIN := .venv/bin
INSTALLED := .venv/.installed
# The first interpreter that is new enough; `make PYTHON=...` names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help install dev test fuzz prove mutants clients lint typecheck build check bench generate requirements clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Install what the project needs into .venv

$(INSTALLED): requirements-uv.txt requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv --clear .venv && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt; }
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

dev: $(INSTALLED) ## Start everything with demo data (PORT=8000, FRESH=1 forgets earlier data)
	@$(BIN)/exchequer dev --with-parent $(if $(FRESH),--fresh)

test: $(INSTALLED) ## Run the whole suite (T=path and P='pytest options' narrow it)
	@$(BIN)/pytest $(or $(T),tests) $(P)

fuzz: $(INSTALLED) ## Send rubbish to a server of its own (N=200000 requests, SEED=7)
	@$(BIN)/python -m tests.fuzzing --requests $(or $(N),200000) --seed $(or $(SEED),7)

prove: $(INSTALLED) ## Prove the promise (N=1000000 operations against the model; W=crashes N=100 another proof, P='options')
	@$(BIN)/python -m tests.proof $(W) $(if $(N),--count $(N)) $(P)

mutants: $(INSTALLED) ## Break the money functions on purpose (W='settle release', CHANGED=1 what changed and a sample)
	@$(BIN)/python -m tests.proof.mutants $(W) $(if $(CHANGED),--changed) $(P)

clients: $(INSTALLED) ## Install the outside clients that tests drive (Node's need npm)
	@test -x tests/clients/.openai/bin/python || $(PYTHON) -m venv tests/clients/.openai
	@$(BIN)/uv pip install --quiet --python tests/clients/.openai/bin/python -r tests/clients/openai.txt
	@if command -v npm > /dev/null; then npm ci --silent --prefix tests/clients; fi

lint: $(INSTALLED) ## Check style and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

typecheck: $(INSTALLED) ## Check types
	@$(BIN)/mypy

build: $(INSTALLED) ## Compile everything and check that generated files are fresh
	@$(BIN)/python -m compileall -q app schema db
	@$(BIN)/exchequer export-schema --check

check: ## All that CI runs
	@bash .ci/run

bench: $(INSTALLED) ## Measure (B=edge one of them, QUICK=1 a smoke run, TRACE=csv for replay)
	@$(BIN)/python -m benchmarks $(B) $(if $(QUICK),--quick) $(if $(TRACE),--trace $(TRACE)) $(P)

generate: $(INSTALLED) ## Write the generated files anew
	@$(BIN)/exchequer export-schema
	@$(BIN)/python -m benchmarks.report

requirements: $(INSTALLED) ## Resolve the dependencies anew and write the hashed files
	@echo "uv==0.13.8" | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header - -o requirements-uv.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean: ## Remove what can be made again
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
