# Everything sets itself up: `make demo` and `make test` need Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-min coverage mutation check format lint types installed spelling docs flow wheel hashes sbom results benchmark faults fuzz soak clean

demo: $(READY)  ## a cloudy scene in, the same scene without clouds out, and a picture of both
	$(BIN)/python examples/demo.py demo

test: $(READY)  ## all tests; with GEODECLOUD_TEST_DATA set, also those on real files
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

test-min: build/min/.ready  ## all tests with the lowest versions that pyproject.toml allows
	build/min/bin/python -m pytest -q

faults: $(READY)  ## 150 runs killed, interrupted and ended at drawn moments, and all other faults; takes minutes
	GEODECLOUD_FAULTS=150 $(BIN)/python -m pytest -q tests/faults

fuzz: $(READY)  ## 10 000 files that are wrong in their structure, each in a process that may crash or hang; takes long
	$(BIN)/python tests/fuzz/campaign.py

soak: $(READY)  ## 200 scenes in one process, 200 on a cluster, 1 000 products planned: nothing grows; takes minutes
	$(BIN)/python benchmarks/soak.py

coverage: $(READY)  ## all tests; fails where less than 92 % of lines and branches are run
	$(BIN)/python -m pytest -q --cov --cov-report=term-missing:skip-covered

mutation: $(READY)  ## changes the code in one place after the other, and counts how many of these the tests see; takes long
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	$(BIN)/python benchmarks/mutation.py

check: format lint types spelling installed test  ## what has to pass before a change lands

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy examples tests/typed_doors.py

installed: $(READY)
	$(BIN)/python -m pip check

spelling: $(READY)
	$(BIN)/codespell

docs: $(READY)  ## the pages of docs/ and the reference as a site, in build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

flow: $(READY)  ## the picture of docs/architecture.md, drawn anew from the code
	$(BIN)/python benchmarks/flow.py --write docs

wheel: $(READY)  ## sdist in dist/, the wheel made of it, and that tried with its weights in an environment of its own
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	build/wheel/bin/python -m pip check
	cd build/wheel && bin/geodecloud --version && bin/geodecloud models list
	cd build/wheel && bin/python ../../examples/make_scene.py scene.tif --size 256
	cd build/wheel && bin/geodecloud scene.tif --out clear.tif --overwrite && bin/geodecloud verify clear.tif --source scene.tif

hashes:  ## requirements.txt: the versions of constraints.txt with the hashes of their files
	$(PYTHON) -m venv build/hashes
	build/hashes/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/hashes/bin/python tools/hashes.py build/hashes/bin/uv

sbom: $(READY)  ## a bill of materials in dist/sbom.json: all that is installed to run it, and the shipped weights
	$(BIN)/python tools/sbom.py

results: $(READY)  ## docs/results.md and its pictures, from the data in GEODECLOUD_TEST_DATA
	$(BIN)/python benchmarks/results.py "$(GEODECLOUD_TEST_DATA)"
	{ echo "# Other dates: what was measured"; echo; \
	  $(BIN)/python benchmarks/references.py "$(GEODECLOUD_TEST_DATA)" --holes 1; } > docs/references_measured.md
	$(BIN)/python benchmarks/references_picture.py "$(GEODECLOUD_TEST_DATA)/series/romania" docs/images/references.jpg

benchmark: $(READY)  ## a full Sentinel-2 tile through the identity model, against GDAL's own copy
	$(BIN)/python benchmarks/identity.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "geodecloud needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

build/min/.ready: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv build/min
	$(PYTHON) .ci/lowest.py > build/min/lowest.txt
	build/min/bin/python -m pip install --quiet --disable-pip-version-check -c build/min/lowest.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .coverage demo mutants build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
