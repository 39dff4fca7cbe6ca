# Everything on a machine that has Python 3.11+, make and git, and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.set-up
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
UV     := $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help setup up test unit lint types chaos fuzz bench lock image audit licences clean

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## everything (all extras, development tools) into .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --editable .
	touch $@

up: $(STAMP)  ## set up, then the whole pipeline on this machine
	@exec $(BIN)/plaudit up $(ARGS)

test: $(STAMP)  ## set up, then the whole suite that can run on this machine
	TESTCONTAINERS_RYUK_DISABLED=true $(BIN)/python -m pytest $(ARGS)

chaos: $(STAMP)  ## minutes of every fault by chance (PLAUDIT_CHAOS_MINUTES, 8; PLAUDIT_CHAOS_SEED, 1)
	PLAUDIT_CHAOS_MINUTES=$${PLAUDIT_CHAOS_MINUTES:-8} $(BIN)/python -m pytest tests/chaos -m long -s $(ARGS)

fuzz: $(STAMP)  ## 100,000 bent requests against a started stack (PLAUDIT_FUZZ_REQUESTS)
	PLAUDIT_FUZZ_REQUESTS=$${PLAUDIT_FUZZ_REQUESTS:-100000} $(BIN)/python -m pytest tests/fuzz -s $(ARGS)

unit: $(STAMP)  ## only the quick tests
	$(BIN)/python -m pytest tests/unit $(ARGS)

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

bench: $(STAMP)  ## a quarter of an hour: every figure against its ceiling, into bench/results/latest.json
	$(BIN)/python -m bench $(ARGS)

lock:  ## resolve the dependencies anew; does not touch .venv
	test -x $(UV) || $(MAKE) setup
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --all-extras --group dev pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header -c requirements.lock --extra otel pyproject.toml -o requirements-production.lock
	sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header - -o requirements-build.lock

image:  ## the container image, named plaudit:VERSION and plaudit:latest
	docker build --file deploy/Dockerfile --tag plaudit:$(VERSION) --tag plaudit:latest --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) .

audit: $(STAMP)  ## known weaknesses of the packages in the image
	@$(BIN)/python deploy/audit.py requirements-production.lock

licences: $(STAMP)  ## licences of the packages in the image, into docs/licences.md
	$(BIN)/python deploy/licences.py requirements-production.lock > docs/licences.md

clean:  ## remove what was built and installed
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
