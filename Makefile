# Two commands need nothing before them: `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
RUN := source $(VENV)/java.env &&

.DEFAULT_GOAL := help
.PHONY: bundle docs help setup demo demo-experiment test test-fast test-classic test-connect test-serverless test-slow calibrate lint format bench wheel lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(READY) ## find or install Python and Java, make .venv with exact pins, fetch the Delta jar

$(READY): scripts/setup.sh requirements/lock.txt setup.py
	@bash scripts/setup.sh $(VENV)
	@touch $(READY)

demo: $(READY) ## real transactions to features, a judged model and scored customers, shown step by step
	@$(RUN) $(PY) -m sparkds demo

demo-experiment: $(READY) ## analyse a salted A/A test over CDNOW's customers
	@$(RUN) $(PY) -m sparkds demo-experiment

test: test-fast ## run the tests without Spark, then on a classic session and, beside it, on a Connect session with serverless's refusals
	@echo "Spark tests: classic and Connect side by side"
	$(MAKE) --no-print-directory --keep-going --jobs=2 test-classic test-serverless

test-fast: $(READY) ## run the tests that need no JVM
	$(PY) -m pytest -q -m "not spark and not slow"

test-classic: $(READY) ## run the Spark tests on a classic session
	$(RUN) SPARKDS_TEST_SESSION=classic $(PY) -m pytest -q -m "spark and not slow"

test-connect: $(READY) ## run the Spark tests on a Connect session
	$(RUN) SPARKDS_TEST_SESSION=connect $(PY) -m pytest -q -m "spark and not slow"

test-serverless: $(READY) ## run the Spark tests on a Connect session that refuses what serverless compute refuses
	$(RUN) SPARKDS_TEST_SESSION=connect SPARKDS_TEST_SERVERLESS=1 $(PY) -m pytest -q -m "spark and not slow"

test-slow: $(READY) ## run the fault and packaging tests, and the bundle's jobs on classic
	$(RUN) $(PY) -m pytest -q -m slow

bundle: $(READY) ## check every target of the bundle, and run its jobs by the wheel on local Spark, classic and Connect (about 20 minutes)
	$(RUN) $(PY) -m sparkds bundle check .
	$(RUN) $(PY) -m pytest -q tests/bundle -m "not spark"
	$(RUN) SPARKDS_TEST_SESSION=classic $(PY) -m pytest -q tests/bundle -m spark
	$(RUN) SPARKDS_TEST_SESSION=connect SPARKDS_TEST_SERVERLESS=1 $(PY) -m pytest -q tests/bundle -m "spark and not slow"

docs: $(READY) ## make the pages of docs/jobs from the code; TABLES="DIR…" takes the outputs' columns from tables that the jobs have written
	$(PY) -m sparkds.pages docs/jobs $(TABLES)

calibrate: $(READY) ## simulate tests without and with effects: level, coverage, power (about 3 minutes)
	$(PY) -m pytest -q -s tests/stats -m slow

lint: $(READY) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY) ## put the code into shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(READY) ## measure features, histories, training sets, profiles, experiments and scoring against their peers (about an hour)
	$(RUN) $(PY) benchmarks/features.py
	$(RUN) $(PY) benchmarks/history.py
	$(RUN) $(PY) benchmarks/training_set.py
	$(RUN) $(PY) benchmarks/training_set.py --rows-per-entity 100
	$(RUN) $(PY) benchmarks/table_profile.py
	$(RUN) $(PY) benchmarks/experiments.py --facts 5
	$(RUN) $(PY) benchmarks/scoring.py

wheel: $(READY) ## build dist/*.whl
	rm -rf build
	$(PY) -m build --wheel --no-isolation

lock: ## resolve requirements/lock.txt anew from setup.py and requirements/constraints.txt (needs uv)
	uv pip compile -q setup.py --extra local --extra plots --extra tune --extra dev --constraint requirements/constraints.txt \
	  --universal --python-version 3.11 --fork-strategy fewest --no-annotate --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --output-file requirements/lock.txt

clean: ## remove what make has made
	rm -rf $(VENV) build dist *.egg-info results spark-warehouse metastore_db derby.log .pytest_cache .mypy_cache .ruff_cache
