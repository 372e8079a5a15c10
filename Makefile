# Needs make, bash and Python 3.10 to 3.13, nothing else. `make` alone lists the targets.
SHELL := bash
PYTHON ?= python3
VENV := .venv
VENV_LIVEKIT2 := .venv-livekit2
BIN := $(VENV)/bin
PYPROJECTS := $(wildcard packages/*/pyproject.toml)
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format lock test-livekit2 clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the interpreter, PYTEST_ARGS=... goes to pytest."

venv: $(VENV)/.complete ## make .venv: hashed requirements and the packages, editable

demo: venv ## transcribe a recording, and show what is measured
	@$(BIN)/hark demo

test: venv ## run every test
	@trap 'echo "make test took $$SECONDS s"' EXIT; $(BIN)/python -m pytest $(PYTEST_ARGS)

check: venv ## lint, format, types and import direction, without changing a file
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@set -e; for config in $(PYPROJECTS); do $(BIN)/lint-imports --no-logo --config $$config; done

format: venv ## format the sources and fix what can be fixed safely
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: ## recompile requirements/*.txt (needs uv; LOCK_ARGS=--upgrade for newer versions)
	requirements/lock $(LOCK_ARGS)

test-livekit2: $(VENV_LIVEKIT2)/.complete ## run the plugin's and the common tests on LiveKit Agents 2
	@trap 'echo "make test-livekit2 took $$SECONDS s"' EXIT; \
	$(VENV_LIVEKIT2)/bin/python -m pytest packages/livekit-plugins-hark/tests tests $(PYTEST_ARGS)

clean: ## remove the environments, caches and build output
	rm -rf $(VENV) $(VENV_LIVEKIT2) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf packages/*/dist
	find packages tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The script writes .complete last, so that an interrupted run is seen and made anew.
$(VENV)/.complete: requirements/dev.txt requirements/make-venv $(PYPROJECTS)
	@requirements/make-venv '$(PYTHON)' $(VENV) requirements/dev.txt

$(VENV_LIVEKIT2)/.complete: requirements/livekit2.txt requirements/make-venv $(PYPROJECTS)
	@requirements/make-venv '$(PYTHON)' $(VENV_LIVEKIT2) requirements/livekit2.txt
