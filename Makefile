# Needs Python 3.11 or newer, make and git; everything else is installed into .venv.
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
PORT ?= 8501
SEEDS ?= 1
# Compiled by all processors in place of one, and without what is large and not used: the tests that packages bring, other
# services than storage. What does not compile is not ours.
INSTALL := $(PYTHON) -m pip install -qq --disable-pip-version-check --no-compile
COMPILE := $(PYTHON) -m compileall -qq -j 0 -x '/(tests?|moto/(?!core|s3|utilities|moto_server)[a-z0-9_]+|networkx|pip|setuptools)/' $(VENV)/lib || true
# The tests of a file share what they set up, so a file stays with one process; the files that take longest come first.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder

# Tests start the program some hundred times: compiling it each time would take longer than what they test.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-postgres test-postgres-short counterparts faults faults-postgres check format unit bench bench-pages bench-tour bench-scale pictures clean

help: ## Show what can be done
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Install what is needed, then start sandbox, worker and dashboard
	@exec $(PYTHON) -m core up --port $(PORT)

test: $(VENV)/.installed-dev ## Install what is needed, then run every test
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) --durations 10

test-postgres: $(VENV)/.installed-postgres ## Run the tests on a PostgreSQL server that is started for them
	@$(PYTHON) -m tests.postgres $(SIDE_BY_SIDE) --durations 10

test-postgres-short: $(VENV)/.installed-postgres ## Run there what rests most on the database (a minute)
	@$(PYTHON) -m tests.postgres --short $(SIDE_BY_SIDE)

counterparts: $(VENV)/.installed-dev ## Let public readers read every cohort of the sandbox, and compare
	@$(PYTHON) -m tests.counterparts

# Both with Mixpanel's own pages and with a size that is asked for, so that every cohort of a test takes many of them.
faults: $(VENV)/.installed-dev ## Kill workers and break everything else, many times (half an hour)
	@COHORT_BRIDGE_FAULT_SEEDS=$(SEEDS) COHORT_BRIDGE_FAULT_PAGE_SIZE=vendor $(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/faults tests/emulator/test_faults.py tests/emulator/test_damaged_files.py -q
	@COHORT_BRIDGE_FAULT_SEEDS=$(SEEDS) COHORT_BRIDGE_FAULT_PAGE_SIZE=100 $(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/faults -q -k "not odd_answers and not many_groups and not damaged_database and not association"
	@COHORT_BRIDGE_FAULT_SEEDS=$(SEEDS) $(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/unit -q -m hypothesis
	@COHORT_BRIDGE_FAULT_SEEDS=$(SEEDS) $(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/unit tests/pages tests/emulator tests/browser -q -m "long or few or some"

faults-postgres: $(VENV)/.installed-postgres ## Break PostgreSQL, object storage and clocks around workers on several machines
	@COHORT_BRIDGE_FAULT_SEEDS=$(SEEDS) $(PYTHON) -m tests.postgres tests/postgres/test_machines.py -q

check: $(VENV)/.installed-dev ## Format, lint, types, unit and page tests
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m pyright
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/unit tests/pages

format: $(VENV)/.installed-dev ## Format the code and mend what the linter can
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

bench: $(VENV)/.installed-bench ## Measure exports beside other tools, the worker, and the pages (takes half an hour)
	@$(PYTHON) -m bench
	@$(PYTHON) -m bench.pages

bench-pages: $(VENV)/.installed-dev ## Measure how fast the pages are (takes some minutes)
	@$(PYTHON) -m bench.pages

bench-tour: $(VENV)/.installed-dev ## Count what tasks cost in a browser: clicks, seconds, scrolling (takes some minutes)
	@$(PYTHON) -m bench.tour

bench-scale: $(VENV)/.installed-postgres ## Measure how fast runs are handed out, with one worker and several (takes some minutes)
	@$(PYTHON) -m bench.scale

pictures: $(VENV)/.installed-dev ## Make pictures of every page, light and dark
	@$(PYTHON) -m tests.browser.pictures

clean: ## Remove what was installed (never what is kept in var/)
	@rm -rf $(VENV)

$(VENV)/bin/python:
	@sh .ci/make-venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing what Cohort Bridge needs (a minute or two, the first time)"
	@$(INSTALL) -r requirements.txt
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing what Cohort Bridge and its tests need (a minute or two, the first time)"
	@$(INSTALL) -r requirements-dev.txt
	@$(COMPILE)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-postgres: requirements.txt requirements-dev.txt requirements-postgres.txt | $(VENV)/bin/python
	@echo "Installing what Cohort Bridge and its tests need (a minute or two, the first time)"
	@$(INSTALL) -r requirements-dev.txt -r requirements-postgres.txt
	@$(COMPILE)
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

$(VENV)/.installed-bench: requirements-bench.txt $(VENV)/.installed-dev
	@$(INSTALL) -r requirements-bench.txt
	@$(COMPILE)
	@touch $@
