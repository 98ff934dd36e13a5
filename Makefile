# Plumbline. `make run` and `make test` are all that a newcomer needs; `make help` lists the rest.
.DEFAULT_GOAL := help
.ONESHELL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

ifndef PYTHON
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
READY := $(VENV)/.ready
# The cores of this machine; `make run CORES=4` for fewer.
CORES ?= all

.PHONY: help run test test-cluster environment lint format keys lock benchmarks clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

run: $(READY) ## set up, run the default configuration, print the path of the report
	@snakemake --cores $(CORES)
	echo "The report: $$PWD/results/report.html"

test: $(READY) ## set up and run all tests except those on a SLURM, and list the slowest
	@pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not cluster" --durations=25 --durations-min=1

test-cluster: $(READY) ## run the tests on a private SLURM, which Debian's slurm-wlm and munge provide
	@pytest -n 2 --dist loadfile tests/cluster --durations=25 --durations-min=1

environment: $(READY) ## only set up .venv from envs/requirements.lock

$(READY): envs/requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed and was not found: install it, or say make PYTHON=/path/to/python." >&2; exit 1; }
	echo "Setting up $(VENV) with $$($(PYTHON) --version): some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --requirement envs/requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

lint: $(READY) ## ruff, snakefmt, snakemake --lint, mypy, and whether config/README.md is up to date
	@ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint
	mypy
	plumbline keys --check --output config/README.md

format: $(READY) ## format Python and Snakemake files
	@ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

keys: $(READY) ## write the tables of config/README.md anew
	@plumbline keys --output config/README.md

lock: ## resolve the dependencies anew into envs/requirements.lock
	@rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0
	.venv-lock/bin/pip install --quiet --editable '.[all,cluster,develop]'
	head -2 envs/requirements.lock > envs/requirements.lock.new
	.venv-lock/bin/pip freeze --exclude-editable | sed -E 's/\+cpu$$//' | grep -viE '^(nvidia|triton|cuda)' >> envs/requirements.lock.new
	mv envs/requirements.lock.new envs/requirements.lock
	rm -rf .venv-lock

benchmarks: ## solvers and conditioning beside their peers, in an environment of their own
	@python3 -m venv .venv-benchmarks
	.venv-benchmarks/bin/pip install --quiet --requirement benchmarks/requirements.txt
	.venv-benchmarks/bin/pip install --quiet --no-deps --editable .
	.venv-benchmarks/bin/python benchmarks/solvers.py
	.venv-benchmarks/bin/python benchmarks/conditioning.py
	.venv-benchmarks/bin/python benchmarks/conditioning.py --training

clean: ## remove results, logs and caches, not the environment
	@rm -rf results logs .snakemake .pytest_cache .mypy_cache .ruff_cache
