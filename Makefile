# make install | demo | test | test-all | check | format | bench | help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-workspace
# Three processes on two cores, as many tests wait for servers and workers; which go together: tests/conftest.py.
SHARED := -n 3 --dist loadfile --no-loadscope-reorder
# Threads of one operation would wait for each other: the processes have the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# A key of the demo's own: the user's stays untouched, and everybody's demo shows the same pseudonyms.
DEMO_KEY := LUNGPIPE_KEY_FILE=demo-cohorts/pseudonym.key

# Bytecode of what is imported is made then and kept: pip would make it of everything, half of an install's time. Where
# it may not be kept, every process compiles the project and its tests again.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check format bench clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed ## make .venv with lungpipe and all extras

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -e '.[deep,s3,slurm,kubernetes,provenance,surfaces,onnx,watching,dev]'
	touch $@

$(VENV)/demo-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -e .
	touch $@

demo: $(VENV)/demo-installed demo-cohorts/control/recipe.toml demo-cohorts/planted/recipe.toml demo-cohorts/pseudonym.key ## install, then the whole chain on a simulated cohort; ends with the path of its report
	$(DEMO_KEY) $(BIN)/lungpipe run demo-cohorts/control/recipe.toml --workspace demo-cohorts/control-workspace --set 'segment.methods=["otsu"]'
	$(DEMO_KEY) $(BIN)/lungpipe run demo-cohorts/planted/recipe.toml --workspace $(DEMO) --set 'report.beside=["demo-cohorts/control-workspace"]'

demo-cohorts/planted/recipe.toml: | $(VENV)/demo-installed
	$(BIN)/lungpipe phantom demo-cohorts/planted --patients 40 --seed 7

demo-cohorts/control/recipe.toml: | $(VENV)/demo-installed
	$(BIN)/lungpipe phantom demo-cohorts/control --patients 40 --seed 7 --effect 0

demo-cohorts/pseudonym.key:
	mkdir -p demo-cohorts
	echo "a public key: simulated patients have no secrets" > $@

test: install ## install, then all tests but the slow ones
	$(ONE_THREAD) $(BIN)/python -m pytest $(SHARED)

test-all: install ## the slow tests too
	$(ONE_THREAD) $(BIN)/python -m pytest $(SHARED) -m "slow or not slow"

check: install ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## side-by-side measurements; prints ratios
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove what make made, not your workspaces
	rm -rf $(VENV) $(DEMO) demo-cohorts .mypy_cache .ruff_cache .pytest_cache
