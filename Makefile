# Everything sets itself up: `make demo` and `make test` need Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check format lint types results benchmark clean

demo: $(READY)  ## a cloudy scene in, the same scene without clouds out, and a picture of both
	$(BIN)/python examples/demo.py demo

test: $(READY)  ## all tests; with GEODECLOUD_TEST_DATA set, also those on real files
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

check: format lint types test  ## what has to pass before a change lands

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy examples

results: $(READY)  ## docs/results.md and its pictures, from the data in GEODECLOUD_TEST_DATA
	$(BIN)/python benchmarks/results.py "$(GEODECLOUD_TEST_DATA)"

benchmark: $(READY)  ## a full Sentinel-2 tile through the identity model, against GDAL's own copy
	$(BIN)/python benchmarks/identity.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "geodecloud needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
