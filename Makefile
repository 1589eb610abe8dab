# make demo    see it work: real handshakes, each decision with its reason
# make test    all checks, on one Python
# make bench   measure what it costs
# make fuzz    throw random bytes at each parser, for minutes; FUZZ_SECONDS=600 for longer
# make frameworks   every server and client of docs/frameworks.md; needs Python 3.12 or newer
# make docs    the pages and the reference as a site, in build/docs
# make clean   remove everything the other commands made
#
# PYTHON=python3.12 chooses the Python. Each version has an environment of its own, such as .venv-3.12.

PYTHON ?= python3

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
RECENT  := $(shell $(PYTHON) -c 'import sys; print(sys.version_info [:3] >= (3, 11, 5) or "")' 2>/dev/null)
VENV    := .venv-$(VERSION)
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --quiet --disable-pip-version-check
SHIPPED := pyproject.toml README.md LICENSE hatch_build.py $(shell find src -not -path '*__pycache__*')
PAGES   := $(wildcard *.md) $(shell find docs -type f -not -path '*__pycache__*')
CHECKED := src tests docs/conf.py hatch_build.py $(wildcard benchmarks fuzz)

# A process for each core, but no more than four: each one imports and collects all tests again.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal

# With AGAIN=1, as `.ci/run` has it, what failed (status 1, and no other) runs once more, with no test beside it:
# some tests are of races and deadlines, and their neighbours can take the machine from them for seconds.
ALONE := { [ $$? -eq 1 ] && echo "-- what has failed, again and alone" && \
	$(BIN)/coverage run -m pytest --numprocesses 0 --last-failed --last-failed-no-failures none; }

# The tests import the installed wheel; PYTHONPATH could put the source tree in front of it.
unexport PYTHONPATH
# Two steps must not install into the same environment at once.
.NOTPARALLEL:
.PHONY: demo test frameworks 3.12-or-newer bench fuzz docs clean ruff format types layers cover

demo: $(VENV)/.installed
	@$(BIN)/meshid demo

test: ruff format types layers cover

# It writes docs/frameworks.json, and the tables of docs/frameworks.md from it.
frameworks: 3.12-or-newer $(VENV)/.dev $(VENV)/.installed $(VENV)-niquests/.installed
	@NIQUESTS_PYTHON=$(VENV)-niquests/bin/python $(BIN)/pytest $(PARALLEL) tests/frameworks --all-rows --write

3.12-or-newer:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12) and "make frameworks needs Python 3.12 or newer, such as PYTHON=python3.13")'

bench: $(VENV)/.installed $(VENV)/.bench
	@set -e; for script in benchmarks/bench_*.py; do echo "-- $$script"; $(BIN)/python "$$script"; done

fuzz: $(VENV)/.installed $(VENV)/.fuzz
	@$(BIN)/python fuzz/fuzz.py

docs: build/docs/index.html
	@echo "$(CURDIR)/$<"

clean:
	@rm -rf .venv-* .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

# -- The steps of `make test` -------------------------------------------------

ruff: $(VENV)/.dev
	@echo "-- ruff check"
	@$(BIN)/ruff check --quiet $(CHECKED)

format: $(VENV)/.dev
	@echo "-- ruff format --check"
	@$(BIN)/ruff format --check --quiet $(CHECKED)

types: $(VENV)/.dev $(VENV)/.installed
	@echo "-- mypy --strict"
	@$(BIN)/mypy --strict --no-error-summary $(CHECKED)
	@echo "-- pyright, on what users write"
	@$(BIN)/pyright --pythonpath $(BIN)/python

layers: $(VENV)/.dev $(VENV)/.installed
	@echo "-- lint-imports"
	@$(BIN)/lint-imports --no-cache --no-logo > $(VENV)/layers.txt || { cat $(VENV)/layers.txt; exit 1; }

cover: $(VENV)/.dev $(VENV)/.installed
	@echo "-- pytest, on the installed wheel"
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(PARALLEL) $(if $(AGAIN),|| $(ALONE))
	@echo "-- coverage"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

# -- The site -----------------------------------------------------------------

# It begins with the README, whose links are those of the root of the repository.
build/docs/index.html: $(VENV)/.docs $(VENV)/.installed $(PAGES)
	@echo "-- sphinx-build"
	@rm -rf $(@D)
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs . $(@D)
	@cp $(@D)/README.html $@

# -- The environment ----------------------------------------------------------

$(VENV)/.made:
	$(if $(VERSION),,$(error `$(PYTHON)` does not run. Name a Python of 3.11.5 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3))
	$(if $(RECENT),,$(error meshid needs Python 3.11.5 or newer, and `$(PYTHON)` is older. Name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3))
	@echo "-- a virtual environment for Python $(VERSION), in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# niquests takes the place of urllib3, so it has an environment of its own.
$(VENV)-niquests/.installed: $(VENV)/.made $(SHIPPED)
	@echo "-- a virtual environment for niquests"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check . --group niquests
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(SHIPPED)
	@echo "-- installing meshid"
	@$(PIP) install .
	@touch $@

$(VENV)/.dev $(VENV)/.bench $(VENV)/.fuzz $(VENV)/.docs: $(VENV)/.made pyproject.toml
	@echo "-- installing the tools"
	@$(PIP) install --upgrade 'pip>=25.1' # the first release that reads dependency groups
	@$(PIP) install --group $(subst .,,$(notdir $@))
	@touch $@
