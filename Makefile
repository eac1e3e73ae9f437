# Python 3.11 to 3.13; another interpreter: make run PYTHON=python3.12
PYTHON ?= python3
# With another shell than /bin/sh, macOS's make 3.81 looks for programs in the PATH exported below.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What each needs is installed when it is first asked for: requirements.txt, -cluster.txt, -dev.txt.
RUNTIME := .venv/.installed
CLUSTER := .venv/.installed-cluster
DEV := .venv/.installed-dev
# Of a run that sends its trials to a Dask cluster.
RUN := $(if $(DASK_SCHEDULER_ADDRESS),$(CLUSTER),$(RUNTIME))
# Errors only: pip's warnings are about its own version and configuration.
PIP := python -m pip install --quiet --quiet --disable-pip-version-check
QUICK := --quick -m "not slow" tests/unit tests/properties
LOCK := uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--no-emit-index-url --no-annotate --no-header pyproject.toml
# DVC wants to be told where there is no Git repository, and when there is one after all.
TELL_DVC_OF_GIT = if git rev-parse --git-dir >/dev/null 2>&1; \
	then ! grep -qs no_scm .dvc/config.local || dvc config --local --unset core.no_scm; \
	else dvc config --local core.no_scm true; fi

.DEFAULT_GOAL := help
.PHONY: run example fashion-mnist history cost plots scheduler worker check check-results test test-all test-quick coverage docs-check \
	schema screenshots bench bench-cluster requirements clean help

## Compare optimizers

run: $(RUN)  ## compare the optimizers of params.yaml
	@$(TELL_DVC_OF_GIT)
	@python -m commands.run

example: $(RUN)  ## run an example in a folder of its own: make example NAME=table
	@python -m commands.example $(NAME)

fashion-mnist: $(RUN)  ## run the textbook's experiment, in place of the present one
	@git rev-parse --quiet --verify HEAD >/dev/null || { echo "make: DVC's experiments need a Git repository with a commit"; exit 1; }
	@$(TELL_DVC_OF_GIT)
	@mkdir -p .cache && cp params.yaml .cache/params.yaml
	dvc exp run -S dataset.name=fashion_mnist -S train.epochs=5 || { cp .cache/params.yaml params.yaml; exit 1; }

history: $(RUNTIME)  ## show your results by commit and experiment
	@python -m stages.report.history $(OPTIONS)

cost: $(RUNTIME)  ## measure what a step of each optimizer costs, for the page
	@python -m commands.cost

plots: $(RUNTIME)  ## draw DVC's plots as a page that needs no network
	@python -m commands.plots

## On several machines (docs/cluster.md)

scheduler: $(CLUSTER)  ## start a Dask scheduler; beyond loopback: HOST=192.168.0.5
	@python -m commands.cluster scheduler $(if $(HOST),--host $(HOST)) $(OPTIONS)

worker: $(CLUSTER)  ## start a worker: SCHEDULER=tls://192.168.0.5:8786
	@python -m commands.cluster worker $(if $(SCHEDULER),--scheduler $(SCHEDULER)) $(if $(HOST),--host $(HOST)) $(OPTIONS)

## Develop (CONTRIBUTING.md)

check: $(DEV)  ## check format, style and types
	ruff format --check
	ruff check
	mypy

check-results: $(RUNTIME)  ## check that the committed results are those of params.yaml
	@mkdir -p .cache
	@dvc repro --dry --allow-missing >.cache/plan.log 2>&1; \
	grep -qx "Data and pipelines are up to date." .cache/plan.log || { grep -v skipping .cache/plan.log; \
	echo "make: the committed results are not those of params.yaml, data and code: make run"; exit 1; }

test: $(DEV)  ## run the tests, without internet
	python -m pytest -m "not thorough"

test-all: $(DEV)  ## run every test, those that take long as well
	python -m pytest

test-quick: $(DEV)  ## run the tests that need neither TensorFlow nor DVC: a minute
	python -m pytest $(QUICK)

coverage: $(DEV)  ## run them with line and branch coverage, which must reach a floor
	@mkdir -p .cache
	python -m pytest --cov $(QUICK)

schema: $(RUNTIME)  ## write params.schema.json, which editors check params.yaml with
	python -m stages.common.params schema > params.schema.json

docs-check: $(DEV)  ## check every command, link, key and figure in the documentation
	python -m pytest -n0 tests/unit/test_docs.py

screenshots: $(DEV)  ## take the documentation's pictures of the page, with Chromium
	python -m tests.browser.screenshots

bench: $(DEV)  ## measure the training engine beside keras.Model.fit
	python -m benchmarks.engine $(if $(PEER),--peer "$(PEER)")

bench-cluster: $(DEV)  ## measure a Dask cluster on this machine beside threads
	python -m benchmarks.cluster

requirements:  ## pin what pyproject.toml names, with uv; newer: OPTIONS=--upgrade
	@mkdir -p .cache && cat requirements*.txt | grep -v '^-r' | sort > .cache/pins.txt
	$(LOCK) --extra dev $(OPTIONS) --output-file .cache/pins.txt >.cache/uv.log
	$(LOCK) --constraint .cache/pins.txt --output-file requirements.txt >.cache/uv.log
	(echo "-r requirements.txt"; $(LOCK) --constraint .cache/pins.txt --extra cluster | grep -vxFf requirements.txt) > requirements-cluster.txt
	(echo "-r requirements-cluster.txt"; grep -vxF -f requirements.txt -f requirements-cluster.txt .cache/pins.txt) > requirements-dev.txt

clean:  ## remove everything that was made here, DVC's cache included
	rm -rf .venv .cache .dvc/cache .dvc/tmp data/raw data/processed data/sources runs weights confirmation best dvc_plots

help:  ## show this list
	@awk -F ':.*  ## ' '/^## / { print "\n" substr($$0, 4) "\n" } \
		/^[a-z-]+:.*  ## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(RUNTIME): requirements.txt commands/venv.pth
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "make: needs Python 3.11 to 3.13, this is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Installing what requirements.txt names into .venv: 2 GB, some minutes"
	@$(PYTHON) -m venv .venv
	@$(PIP) --requirement requirements.txt
	@cp commands/venv.pth "$$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

.venv/.installed-%: requirements-%.txt $(RUNTIME)
	@echo "Installing what $< names besides"
	@$(PIP) --requirement $<
	@touch $@

$(DEV): $(CLUSTER)
