# Everything that is done with this repository, by name. Needs make, git and Python 3.11 or newer; fetches the rest.

PYTHON ?= python3
TESTS ?= tests
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make upgrade'
# tests start thousands of processes, which read the package in three quarters of the time where it is compiled
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup upgrade binaries tools demo wheel test test-all test-clients check prove kill soak bench report clean

help: ## list these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  with PYTHON=python3.12 another Python, with TESTS=tests/policy ARGS='-k deny' some of the tests"

setup: $(VENV)/.made ## a virtual environment with everything in it, in .venv

$(VENV)/.made: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "setting up $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --require-hashes --requirement requirements-dev.txt
	@PYTHONWARNINGS='ignore:Editable installation' $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# the runtime's lock is cut from the development one, so that what users install is what the tests ran with
upgrade: setup ## lock the newest versions that pyproject.toml allows, for every Python and platform
	@$(LOCK) --upgrade --group dev --output-file requirements-dev.txt
	@$(LOCK) --constraint requirements-dev.txt --output-file requirements.txt
	@$(MAKE) --no-print-directory setup
	@git --no-pager diff --stat requirements.txt requirements-dev.txt

binaries: setup ## the sandbox's control plane: found, downloaded or built (some ten minutes, once)
	@$(BIN)/python -m infra_mcp.cli.main sandbox binaries

tools: setup ## the programs that tests and demo run: Helm, kubectl, OpenTofu, CoreDNS, Gitea; fetched or built, once
	@$(BIN)/infra-mcp tools get helm helm3 kubectl tofu coredns
	@$(BIN)/python tests/gitea_program.py

demo: setup binaries ## the whole story on a real control plane, with Helm and CoreDNS
	@$(BIN)/infra-mcp tools get helm coredns
	@$(BIN)/python demo/run.py

wheel: setup binaries ## the sdist and the wheel, and the demo's first act with the wheel in an empty environment
	@$(BIN)/python tests/packaged.py

test: setup ## some minutes: all that needs no cluster or server, and the core of the rest on a real control plane
	@$(BIN)/python tests/parts.py test $(ARGS) $(TESTS)

test-all: setup ## all tests but the long forms (make kill, make prove) and others' clients (make test-clients)
	@$(BIN)/python tests/parts.py test-all $(ARGS) $(TESTS)

test-clients: setup ## clients of others: Inspector, pydantic-ai, fastmcp, LangChain and Claude Code, each set up by itself
	@$(BIN)/python tests/outside/environments.py
	@$(BIN)/python tests/parts.py test-clients $(ARGS) $(TESTS)

check: setup ## style, types, layers, lengths, gaps between promises, faults and tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@git ls-files "infra_mcp/*.py" "demo/*.py" "bench/*.py" "tests/*.py" | xargs wc -l | awk '$$2 != "total" && $$1 > 400 {print "over 400 lines: " $$2; bad = 1} END {exit bad}'
	@$(BIN)/python tests/matrix.py --gaps

report: setup ## which tests stand for which promise and which fault, what has none, and the matrix of repositories
	@$(BIN)/python tests/shapes/cells.py
	@$(BIN)/python tests/matrix.py

prove: setup binaries ## run the tests of safety against sabotaged copies: each must fail
	@$(BIN)/python tests/saboteurs/run.py $(ARGS)

kill: setup ## the long forms: the server stopped before and after every effect and at random, and its recovery
	@$(BIN)/python tests/parts.py kill $(ARGS) $(TESTS)

soak: setup ## a week of messages, and whether memory and latency stay flat
	@$(BIN)/python bench/soak.py $(ARGS)

bench: setup binaries ## how long things take
	@$(BIN)/python bench/run.py $(ARGS)

clean: ## remove what setup and tests made here; the binaries stay in the user's cache
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
