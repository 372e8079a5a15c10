# Needs make, bash and Python 3.10 to 3.13, nothing else. `make` alone lists the targets.
SHELL := bash
PYTHON ?= python3
VENV := .venv
VENV_LIVEKIT2 := .venv-livekit2
VENV_PEERS := .venv-peers
BIN := $(VENV)/bin
PYPROJECTS := $(wildcard packages/*/pyproject.toml)
PYTEST_ARGS ?=
PYTEST = $(BIN)/python -m pytest -m 'not slow'
TIMED_TESTS := $(filter-out %/test_fuzz.py,$(wildcard tests/faults/test_*.py)) tests/integration/test_console.py tests/room
BENCH_ARGS ?=
LIVEKIT_SERVER := .cache/bin/livekit-server
LIVEKIT_SERVER_VERSION := v1.13.5

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-browser test-faults test-soak test-room livekit-server check format lock \
  test-livekit2 bench bench-peers bench-batch bench-profile bench-overload bench-soak bench-plugin bench-faults bench-wer bench-noise \
  pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the interpreter, PYTEST_ARGS=... goes to pytest."

venv: $(VENV)/.complete ## make .venv: hashed requirements and the packages, editable

demo: venv ## transcribe a recording, and show what is measured
	@$(BIN)/hark demo

# Three files at a time, since many wait most of the time; but those against the clock after them, by themselves.
test: venv ## run all tests but the slow ones; what a machine lacks for some is said, and they skip
	@trap 'echo "make test took $$SECONDS s"' EXIT; $(if $(PYTEST_ARGS),$(PYTEST) $(PYTEST_ARGS),\
	  $(PYTEST) --numprocesses 3 --dist loadfile $(TIMED_TESTS:%=--ignore %); first=$$?; \
	  $(PYTEST) $(TIMED_TESTS) && exit $$first)

test-browser: venv ## run the tests of the captions page, the slow ones too (need Chromium)
	@trap 'echo "make test-browser took $$SECONDS s"' EXIT; $(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

test-faults: venv ## run all tests that break connections, servers and workers; takes minutes
	@trap 'echo "make test-faults took $$SECONDS s"' EXIT; $(BIN)/python -m pytest tests/faults -m 'not soak' $(PYTEST_ARGS)

test-soak: venv ## kill two servers in turn for five minutes under one stream
	@trap 'echo "make test-soak took $$SECONDS s"' EXIT; $(BIN)/python -m pytest tests/faults -m soak $(PYTEST_ARGS)

test-room: venv ## run the tests in real rooms, the slow ones too (need a LiveKit server)
	@trap 'echo "make test-room took $$SECONDS s"' EXIT; $(BIN)/python -m pytest tests/room $(PYTEST_ARGS)

livekit-server: $(LIVEKIT_SERVER) ## build the LiveKit server for these tests (needs Go; 4 minutes)

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
	$(VENV_LIVEKIT2)/bin/python -m pytest packages/livekit-plugins-hark/tests tests -m 'not slow and not room and not browser' $(PYTEST_ARGS)

bench: venv ## latency and capacity of this machine (BENCH_ARGS=... goes to hark bench)
	@$(BIN)/hark bench $(BENCH_ARGS)

bench-peers: $(VENV_PEERS)/.complete ## the same beside other recognisers (7 GB to install; BENCH_ARGS=...)
	@$(VENV_PEERS)/bin/hark bench --against all $(BENCH_ARGS)

bench-batch: venv ## as how many streams batch decoding is: the limit (HARK_SPEECH_DIR; BENCH_ARGS=...)
	@$(BIN)/python benchmarks/batch_limit.py $(BENCH_ARGS)

bench-profile: venv ## where the time of decodes goes, on the recordings in HARK_SPEECH_DIR (BENCH_ARGS=...)
	@$(BIN)/python benchmarks/decode_profile.py $(BENCH_ARGS)

bench-overload: venv ## what a full server does, on the recordings in HARK_SPEECH_DIR (BENCH_ARGS=...)
	@$(BIN)/python benchmarks/overload.py $(BENCH_ARGS)

bench-soak: venv ## memory over an hour of 8 streams (BENCH_ARGS='--speed 4' for a quarter of it)
	@$(BIN)/python benchmarks/soak.py $(BENCH_ARGS)

bench-plugin: venv ## what the plugin costs an agent, beside Deepgram's (minutes)
	@$(BIN)/python benchmarks/plugin_cost.py $(BENCH_ARGS)

bench-wer: venv ## word error rates on the recordings in HARK_SPEECH_DIR (minutes; BENCH_ARGS=...)
	@$(BIN)/python benchmarks/wer.py $(BENCH_ARGS)

bench-faults: venv ## what faults do to Hark and to four cloud plugins, as a table (90 s)
	@$(BIN)/python benchmarks/faults.py

bench-noise: venv ## how often words are heard in its noise and music
	@$(BIN)/python benchmarks/hallucination.py $(BENCH_ARGS)

pictures: venv ## take the README's pictures anew (need Chromium)
	$(BIN)/python docs/pictures/page.py
	$(BIN)/python docs/pictures/demo.py

clean: ## remove the environments, caches and build output
	rm -rf $(VENV) $(VENV_LIVEKIT2) $(VENV_PEERS) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf packages/*/dist
	find packages tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The script writes .complete last, so that an interrupted run is seen and made anew.
$(VENV)/.complete: requirements/dev.txt requirements/models.txt requirements/make-venv $(PYPROJECTS)
	@requirements/make-venv '$(PYTHON)' $(VENV) requirements/dev.txt requirements/models.txt

$(VENV_LIVEKIT2)/.complete: requirements/livekit2.txt requirements/make-venv $(PYPROJECTS)
	@requirements/make-venv '$(PYTHON)' $(VENV_LIVEKIT2) requirements/livekit2.txt

$(VENV_PEERS)/.complete: requirements/peers.txt requirements/make-venv $(PYPROJECTS)
	@requirements/make-venv '$(PYTHON)' $(VENV_PEERS) requirements/peers.txt

$(LIVEKIT_SERVER):
	@command -v go >/dev/null || { echo "Building it needs Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; }
	GOBIN='$(CURDIR)/$(@D)' nice go install \
	  github.com/livekit/livekit-server/cmd/server@$(LIVEKIT_SERVER_VERSION)
	mv $(@D)/server $@
