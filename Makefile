# All that newcomers, developers and CI do. `make run` and `make test` bring along what they need; on a fresh Debian
# that is python3-venv and, for the tests, real mail servers and clients, for which sudo may ask.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help run test unit simulate fuzz mutants chaos load bench screenshots lint format typecheck check wheel deps \
	lock clean

help:  ## say what there is
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: $(VENV)/.run  ## start sandbox and proxy, show a session for both tenants, and go on until Ctrl-C
	$(BIN)/python -m mailproxy.sandbox run

test: $(VENV)/.dev deps  ## all tests, those with real servers and clients included
	$(BIN)/python -m pytest $(ARGS)

unit: $(VENV)/.dev  ## the tests that need no other programs
	$(BIN)/python -m pytest -m 'not integration' $(ARGS)

SEEDS ?= 1000
simulate: $(VENV)/.dev  ## the whole proxy in SEEDS=1000 simulated worlds, or once more in that of SEED=n
	$(BIN)/python -m tests.simulation.run $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) $(if $(FIRST),--first $(FIRST))) $(ARGS)

fuzz: $(VENV)/.fuzz  ## the parsers, fuzzed for SECONDS=120: all, or TARGET=name; REPLAY=file gives it this file only
	$(BIN)/python -m tests.fuzz.run --seconds $(or $(SECONDS),120) $(if $(TARGET),--target $(TARGET)) \
		$(if $(REPLAY),--replay $(REPLAY)) $(ARGS)

mutants: $(VENV)/.dev  ## take the guards of the proxy away, one at a time, and see that tests notice: all, or ONLY=words
	$(BIN)/python -m tests.mutants.run $(if $(ONLY),--only '$(ONLY)') $(ARGS)

chaos: $(VENV)/.dev  ## real mail servers killed, stopped and cut off for SECONDS=600, by chance or SEED=n; needs root
	$(BIN)/python -m tests.chaos.run --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(ARGS)

load: $(VENV)/.dev  ## thousands of sessions: PROGRAM=drain, flood, fairness or reload, or all of them
	status=0; for each in $(or $(PROGRAM),drain flood fairness reload); do \
		echo "== $$each"; $(BIN)/python -m tests.load.$$each $(ARGS) || status=1; done; exit $$status

bench: $(VENV)/.dev  ## how fast it is and what it costs: all CASES or those named, ROUNDS=3 times; or SOAK=sessions in a row
	$(BIN)/python -m tests.bench.run $(if $(SOAK),--soak $(SOAK)) $(if $(CASES),--cases $(CASES)) \
		--rounds $(or $(ROUNDS),3) $(ARGS)

screenshots: $(VENV)/.dev deps  ## pictures of the status page in build/screenshots, by a real Chromium
	$(BIN)/python -m tests.admin.screenshots build/screenshots

lint: $(VENV)/.dev  ## ruff: rules and layout; the systemd unit
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	.ci/unit-file

format: $(VENV)/.dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: $(VENV)/.dev  ## mypy
	$(BIN)/mypy

check: lint typecheck test wheel  ## all of it

wheel: $(VENV)/.dev  ## build the wheel, install it into a fresh environment, and run it there
	.ci/wheel

deps:  ## install the programs that the tests need and that are missing
	.ci/deps

lock: $(VENV)/.dev  ## renew requirements/ (uv is fetched for that)
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --upgrade pyproject.toml -o requirements/run.txt
	$(LOCK) --upgrade pyproject.toml --extra test --extra lint -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) - -c requirements/dev.txt -o requirements/build.txt <<< 'hatchling>=1.27'
	$(LOCK) --upgrade - -o requirements/fuzz.txt <<< 'atheris>=3.0,<3.1'

clean:  ## remove what was made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis .coverage

# The checkout is on the environment's path, so that `.venv/bin/twistd mailproxy` works from anywhere.
$(VENV)/.run: requirements/run.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/deps python3-venv
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/run.txt
	echo '$(CURDIR)' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	touch $@

# Only fuzzing needs a fuzzer.
$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/fuzz.txt
	touch $@
