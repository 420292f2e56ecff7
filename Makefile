# make demo   make .venv, install, fine-tune the embedded model on the bundled sample, export it to llama.cpp
# make test   make .venv, install, and run every check: lint, format, types, tests
#
# PYTHON=python3.12      which Python makes .venv (3.11 to 3.13; without it the first that fits is taken)
# PIP_FLAGS="..."        further flags for pip, such as the index of PyTorch's CPU builds
# PYTEST_FLAGS="..."     further flags for pytest; -n 0 runs all tests in one process, for a debugger

VENV := .venv
PYTHON ?=
PIP_FLAGS ?=
PYTEST_FLAGS ?=

# One process for each core, four at most. Each begins with a part of the tests in their order, so that tests of one
# module share what it prepares, and takes from another process once it has done its own.
PYTEST_WORKERS := -n logical --maxprocesses 4 --dist worksteal

PINNED := torch==2.13.0 --constraint constraints.txt $(PIP_FLAGS)
PIP_INSTALL := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check $(PINNED)
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help demo test
.SILENT:

help:
	sed -n '/^$$/q;s/^# //p' Makefile

demo: $(VENV)/installed
	$(VENV)/bin/alpaca-lora demo

test: $(VENV)/installed-dev
	echo "ruff: lint";   $(VENV)/bin/ruff check --quiet .
	echo "ruff: format"; $(VENV)/bin/ruff format --quiet --check .
	echo "pyright";      PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	echo "pytest";       $(VENV)/bin/python -m pytest -q $(PYTEST_WORKERS) $(PYTEST_FLAGS)

# The two stamps share one .venv: `make demo` installs what a run needs, `make test` adds the tools.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	echo "Installing into $(VENV): PyTorch and its company take some minutes"
	$(PIP_INSTALL) --editable '.[gguf,serve,ui]'
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	echo "Installing into $(VENV), with the test tools: PyTorch and its company take some minutes"
	$(PIP_INSTALL) --editable '.[dev]'
	touch $(VENV)/installed $@

$(VENV)/bin/python:
	for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$python -c '$(SUITABLE)' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "No suitable Python in: $(or $(PYTHON),python3 python3.13 python3.12 python3.11)" >&2; \
	echo "  why: Alpaca-LoRA needs Python 3.11, 3.12 or 3.13 with its venv module (Debian: python3-venv)" >&2; \
	echo "  fix: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	exit 2
