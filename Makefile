# Everything sets itself up: a virtual environment in .venv with pinned versions, nothing outside this folder.
PYTHON ?= python3
BIN := .venv/bin
TOUR := .tour

.PHONY: help tour lab test test-quick test-slow check format export bench clean
help: ## show these lines
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "found Python %d.%d; expected 3.11 or later: make PYTHON=python3.11" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[lab,tour,dev]'
	touch .venv/ready

tour: .venv/ready ## the whole life of one model, on real flights
	$(BIN)/mlops-nb tour $(TOUR)

lab: .venv/ready ## JupyterLab on the worked example
	test -d $(TOUR) || $(BIN)/mlops-nb tour --copy-only $(TOUR)
	$(BIN)/jupyter lab --notebook-dir $(TOUR)

test: .venv/ready ## every gate: sync, lint, types, floors, notebooks, tests, wheel
	bash tools/test.sh

test-quick: .venv/ready ## the tests that your change touches, nearest first, for two minutes
	$(BIN)/python tools/quick.py

test-slow: .venv/ready ## the long soaks
	$(BIN)/python -m pytest -m slow

export: .venv/ready ## write mlops_nb/ and README.md from the notebooks
	$(BIN)/nbdev-export
	cd examples/flights && ../../$(BIN)/nbdev-export
	$(BIN)/python tools/readme.py
	$(BIN)/python tools/house.py

format: .venv/ready ## format notebooks, flows, tests and tools
	$(BIN)/ruff format nbs flows examples tests benchmarks tools
	$(BIN)/ruff check --fix-only nbs flows examples tests benchmarks tools

bench: .venv/ready ## every benchmark, quickly
	for f in benchmarks/*.py; do $(BIN)/python $$f --quick || exit 1; done

clean: ## remove everything that was made here
	rm -rf .venv .tour .peers .mlops_nb .coverage* htmlcov dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
