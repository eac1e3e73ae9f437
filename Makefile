# Python 3.11 to 3.13; another interpreter: make run PYTHON=python3.12
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
INSTALLED := .venv/.installed
# DVC wants to be told where there is no Git repository, and when there is one after all.
TELL_DVC_OF_GIT = if git rev-parse --git-dir >/dev/null 2>&1; \
	then ! grep -qs no_scm .dvc/config.local || dvc config --local --unset core.no_scm; \
	else dvc config --local core.no_scm true; fi

.PHONY: run example fashion-mnist history scheduler worker test check bench bench-cluster schema screenshots clean

run: $(INSTALLED)  ## compare the optimizers of params.yaml
	@$(TELL_DVC_OF_GIT)
	@python -m commands.run

example: $(INSTALLED)  ## one of examples, in a folder of its own: make example NAME=table
	@python -m commands.example $(NAME)

fashion-mnist: $(INSTALLED)  ## the textbook's experiment
	@git rev-parse --quiet --verify HEAD >/dev/null || { echo "make: DVC's experiments need a Git repository with a commit"; exit 1; }
	@$(TELL_DVC_OF_GIT)
	@mkdir -p .cache && cp params.yaml .cache/params.yaml
	dvc exp run -S dataset.name=fashion_mnist -S train.epochs=5 || { cp .cache/params.yaml params.yaml; exit 1; }

history: $(INSTALLED)  ## the results of every commit
	@python -m stages.report.history

scheduler: $(INSTALLED)  ## of a Dask cluster, on loopback; beyond it, with TLS: make scheduler HOST=192.168.0.5
	@python -m commands.cluster scheduler $(if $(HOST),--host $(HOST)) $(OPTIONS)

worker: $(INSTALLED)  ## of that cluster: make worker SCHEDULER=tls://192.168.0.5:8786
	@python -m commands.cluster worker $(if $(SCHEDULER),--scheduler $(SCHEDULER)) $(if $(HOST),--host $(HOST)) $(OPTIONS)

test: $(INSTALLED)  ## everything, without internet
	python -m pytest

check: $(INSTALLED)  ## format, lint, types
	ruff format --check
	ruff check
	mypy

bench: $(INSTALLED)  ## the training engine beside keras.Model.fit
	python -m benchmarks.engine

bench-cluster: $(INSTALLED)  ## a Dask cluster on this machine beside its threads
	python -m benchmarks.cluster

schema: $(INSTALLED)  ## params.schema.json, which editors check params.yaml with
	python -m stages.common.params schema > params.schema.json

screenshots: $(INSTALLED)  ## the README's pictures of the page, by a Chromium that is installed
	python -m tests.browser.screenshots

clean:  ## everything that was made here, DVC's cache included
	rm -rf .venv .cache .dvc/cache .dvc/tmp data/raw data/processed data/sources runs weights confirmation dvc_plots

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "make: needs Python 3.11 to 3.13, this is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Installing what requirements.txt names into .venv: 2 GB, some minutes"
	@$(PYTHON) -m venv .venv
	@python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@
