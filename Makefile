# Everything sets itself up: a new machine needs Python 3.11, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Images of containers often set it. Then each process of the tests compiles all modules again: a third more work.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint types floors bench chaos soak exhaust clean

help:
	@echo "make demo    100 parallel calls, once as usually written and once through onerefresh"
	@echo "make test    all tests"
	@echo "make check   lint, types and the fast tests"
	@echo "make chaos   interrupts, kills, stops and cuts off processes, stores and hosts for some minutes"
	@echo "make soak    a million simulated runs of the protocol (RUNS=10000: fewer)"
	@echo "make exhaust every schedule of a few processes with a few faults, in up to half an hour"
	@echo "make bench   the measurements of docs/benchmarks.md (PARTS=scale: those of docs/explanation/scale.md)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements/dev.txt requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -r requirements/dev.txt -e '.[all]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/onerefresh demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(INSTALLED) lint types
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow"

soak: $(INSTALLED)
	$(BIN)/python -m onerefresh.testing.simulator --first 1000000 --runs $(or $(RUNS),1000000) --jobs 0

exhaust: $(INSTALLED)
	$(BIN)/python -m tests.exhaust $(BOUNDS) $(if $(PAGE),--page $(PAGE))

chaos: $(INSTALLED)
	$(BIN)/python -m tests.signals --rounds $(or $(ROUNDS),20000)
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),300)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# Says which is the lowest version of each extra's packages, as pins that any auditing tool reads; fails where one is
# below the versions of requirements/floors.txt.
floors: $(INSTALLED)
	$(BIN)/python -m tests.floors

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -r requirements/bench.txt
	$(BIN)/python -m bench $(PARTS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
