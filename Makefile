# Everything sets itself up: a new machine needs Python 3.11, git and make.
PYTHON ?= python3
PYTHONS ?= 3.12 3.13
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Images of containers often set it. Then each process of the tests compiles all modules again: a third more work.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test long pythons check lint types fast wheel coverage floors bench chaos service soak exhaust clean

help:
	@echo "make demo    100 parallel calls, once as usually written and once through onerefresh"
	@echo "make test    all tests but the longest"
	@echo "make long    the longest tests: of the proof, storms of signals, kills, benchmarks, an older version beside this, all combinations"
	@echo "make pythons all but the slow tests on the other Pythons: 3.12 and 3.13, by pyenv or on the PATH"
	@echo "make wheel   build wheel and sdist, and run the fast tests against the installed wheel"
	@echo "make coverage which lines and branches the tests run"
	@echo "make check   lint, types and the fast tests"
	@echo "make service a backend for ten minutes, with providers that hang, are dead or busy"
	@echo "make chaos   interrupts, kills, stops and cuts off processes, stores and hosts for some minutes"
	@echo "make soak    a million simulated runs of the protocol (RUNS=10000: fewer)"
	@echo "make exhaust every schedule of a few processes with a few faults, in about 40 minutes"
	@echo "make bench   the measurements of docs/benchmarks.md (PARTS=scale: those of docs/explanation/scale.md)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements/dev.txt requirements/niquests.txt requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -r requirements/dev.txt -e '.[all]'
	URLLIB3_NO_OVERRIDE=1 $(BIN)/python -m pip install --quiet -c requirements/constraints.txt -r requirements/niquests.txt || \
	    echo "NOT INSTALLED: niquests; its tests are skipped" >&2
	@touch $@

demo: $(INSTALLED)
	$(BIN)/onerefresh demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not long"

long: $(INSTALLED)
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m long

# Each in an environment of its own below .venv-pythons; one that is missing is named, and the others go on.
pythons:
	@for version in $(PYTHONS); do \
	    python=$$(requirements/find-python $$version) || { echo "NOT TESTED: Python $$version is not installed" >&2; continue; }; \
	    echo "Python $$version"; \
	    $(MAKE) --no-print-directory fast MARKS="not slow" VENV=.venv-pythons/$$version PYTHON="$$python" || exit 1; \
	done

fast: $(INSTALLED)
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "$(or $(MARKS),not slow and not seconds)"

check: lint types fast

# Which lines and branches all tests run, in all their processes; fails where a test does, and below the floor of
# pyproject.toml. Measured code is slow: the tests have more time.
coverage: $(INSTALLED)
	rm -rf .coverage && mkdir -m 1777 .coverage
	$(BIN)/python -m coverage run -m pytest -q -n auto --dist worksteal --timeout 600; passed=$$?; \
	    $(BIN)/python -m coverage combine -q && $(BIN)/python -m coverage report && exit $$passed

soak: $(INSTALLED)
	$(BIN)/python -m tests.simulator --first 1000000 --runs $(or $(RUNS),1000000) --jobs 0

exhaust: $(INSTALLED)
	$(BIN)/python -m tests.exhaust $(BOUNDS) $(if $(PAGE),--page $(PAGE))

service: $(INSTALLED)
	$(BIN)/python -m tests.service --seconds $(or $(SECONDS),600)

chaos: $(INSTALLED)
	$(BIN)/python -m tests.signals --rounds $(or $(ROUNDS),20000)
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),300)

# Build the wheel and the sdist, run the demo in the unpacked sdist as in a clone, and the fast tests against the
# installed wheel: what users get. A process that
# imported `src` in its place would leave its bytecode there.
wheel: $(INSTALLED)
	rm -rf dist .venv-wheel
	find src -name __pycache__ -prune -exec rm -r {} +
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt hatchling
	$(BIN)/python -m hatchling build -d dist
	mkdir .venv-wheel && tar -xzf dist/*.tar.gz -C .venv-wheel
	$(MAKE) --no-print-directory -C .venv-wheel/onerefresh-* demo
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt \
	    -r requirements/dev.txt "$$(echo dist/*.whl)[all]"
	.venv-wheel/bin/python -m pytest -q -n auto --dist worksteal -m "not slow"
	@! find src -name '*.pyc' | grep . || { echo "these were imported from src, and not from the wheel" >&2; exit 1; }

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src
	$(BIN)/basedpyright --project tests/typing --pythonpath $(BIN)/python

# Says which is the lowest version of each extra's packages, as pins that any auditing tool reads; fails where one is
# below the versions of requirements/floors.txt.
floors: $(INSTALLED)
	$(BIN)/python -m tests.floors

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -r requirements/bench.txt
	$(BIN)/python -m bench $(PARTS)

clean:
	rm -rf $(VENV) .venv-pythons .venv-wheel .coverage build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
