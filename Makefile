# Every target makes what it needs. PYTHON is the interpreter that the environment is made with.
SHELL := /bin/bash
export PATH := $(or $(PATH),/usr/local/bin:/usr/bin:/bin)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := demo
PANDAS2 := build/pandas2

export LUIGI_CONFIG_PATH := $(CURDIR)/luigi.cfg
# Containers often set this; then each of the thousands of processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# Each of them that imports NumPy would start a thread for every other CPU, which spins for a while before it sleeps.
export OPENBLAS_NUM_THREADS := 1

.PHONY: help demo test test-pandas2 lint format bench stress clean

help:            ## show this list
	@grep -E '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

$(STAMP): pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)   ## build 240 images, run three layers over them, and say where the results lie
	@$(BIN)/luisy-dir demo $(DEMO)

# What forks for each of thousands of points has a run of its own: processes that hold all of the tests are large, and a
# fork of one takes three times as long.
FORKING := $(addprefix tests/,test_faults.py test_mutants.py test_rollforward.py)

test: $(STAMP)   ## run all the tests
ifdef ARGS
	$(BIN)/python -m pytest -n 2 $(ARGS)
else
	$(BIN)/python -m pytest -n 2 $(FORKING)
	$(BIN)/python -m pytest -n 2 $(addprefix --ignore=,$(FORKING))
endif

# Reports are frames, which another pandas makes of the same entries in this process: no need for workers in others.
test-pandas2: $(PANDAS2)/.installed ## run the tests that make frames with pandas 2
	PYTHONPATH=$(PANDAS2) $(BIN)/python -c 'import pandas; assert pandas.__version__.startswith("2."), pandas.__version__'
	PYTHONPATH=$(PANDAS2) $(BIN)/python -m pytest -n 2 -k "not processes and not two and not Die and not Killed" \
		tests/test_report.py tests/test_pipeline.py tests/test_acceptance_pipelines.py tests/test_compat_creevey.py \
		tests/test_compat_bigmultipipe.py

$(PANDAS2)/.installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --upgrade --target $(PANDAS2) --no-deps 'pandas<3' pytz tzdata
	@touch $@

lint: $(STAMP)   ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## put the code into its canonical layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## measure what an item costs, and what a run costs that has little to do
	$(BIN)/python tests/benchmarks/cost_per_item.py
	$(BIN)/python tests/benchmarks/only_what_changed.py
	$(BIN)/python tests/benchmarks/fingerprint.py
	$(BIN)/python tests/benchmarks/many_tiny_items.py
	$(BIN)/python tests/benchmarks/random_reads.py
	$(BIN)/python tests/benchmarks/batches.py

stress: $(STAMP) ## let disks, power, memory and processes fail under runs; needs Linux, root and strace
	$(BIN)/python tests/stress/stress.py $(ARGS)

clean:           ## remove the environment, the demo and what tools left behind
	rm -rf $(VENV) $(DEMO) build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
