# make run    the main job: a real Dakota study of the nanodiamond workflow, from nothing, with its dashboard
# make test   every test, the type checker, the linters and the import contracts
# make docs   the documentation as HTML, in docs/_build/html; make docs-links follows its links to other places
# make bench  side-by-side measurements
# make nightly  the long fault and load runs as well, and a million damaged inputs to the parsers

PYTHON ?= python3
VENV   ?= .venv
STUDY  ?= runs/nanodiamond
BIN    := $(VENV)/bin

.PHONY: run test docs docs-links bench nightly lint clean

run: $(VENV)/.run
	@test -e $(STUDY)/study.in || $(BIN)/panorama init sns_nanodiamond $(STUDY)
	@$(BIN)/panorama check $(STUDY)/study.in
	@$(BIN)/panorama study --serve $(STUDY)

test: $(VENV)/.test .pegasus/.made .opensearch/.made lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long and not measures"
	$(BIN)/python -m pytest -m "measures and not long"

nightly: $(VENV)/.test .pegasus/.made .opensearch/.made lint
	$(BIN)/python -m pytest
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx --nitpicky --fail-on-warning --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-links: $(VENV)/.test
	$(BIN)/python -m sphinx -b linkcheck docs docs/_build/links

bench: $(VENV)/.test .pegasus/.made .opensearch/.made
	$(BIN)/python bench/evaluations.py
	$(BIN)/python bench/probe.py
	$(BIN)/python bench/writing.py
	$(BIN)/python bench/capture.py
	$(BIN)/python bench/dashboard.py
	$(BIN)/python bench/online_detection.py
	$(BIN)/python bench/adapting.py
	$(BIN)/python bench/workflow_clusters.py
	$(BIN)/python bench/genome.py
	$(BIN)/python bench/search.py
	$(BIN)/python bench/repository.py
	$(BIN)/python bench/back_end.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/pegasus.py

clean:
	rm -rf $(VENV) .pegasus .opensearch runs docs/_build

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no $(PYTHON); install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make PYTHON=/path/to/it"; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 3; }

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	@echo "installing panorama-driver, Dakota and OpenMM into $(VENV) (a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dakota,nanodiamond,plots,web]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	@echo "installing panorama-driver and what its tests need into $(VENV) (a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.run

# The released Ensemble Manager that tests start; in an environment of its own, because of what it pins.
.pegasus/.made: $(VENV)/.test
	@echo "installing Pegasus' Ensemble Manager into .pegasus (a minute)"
	@$(BIN)/python -m panorama_driver.testing make-venv .pegasus
	@touch $@

# The search engine that tests start: a real OpenSearch node, by Maven; where it cannot be had, its tests say so and skip.
.opensearch/.made: tests/real/opensearch/pom.xml tests/real/opensearch/Node.java | $(VENV)/.test
	@$(BIN)/python -m panorama_driver.testing make-search .opensearch
	@touch $@
