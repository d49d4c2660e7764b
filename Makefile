# Everything this project does, by one word each. `make` alone explains them.

PORT ?= 8000
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
BUILD := explainer/_build
NODE = $(PY) $(BUILD)/node.py node
SCRIPTS := "src/visitwise/widgets/*.js" "explainer/assets/*.js" "explainer/_build/*.*js" "tests/figures/*.mjs"
INSTALLED := $(VENV)/.installed
PACKAGES := node_modules/.installed
TOOLS := build/tools

# Never `mkdocs --quiet`: it drops warnings before `--strict` can count them.

# The first Python that is new enough, unless `make PYTHON=...` names one.
PYTHON ?= $(shell for p in python3 python python3.11 python3.12 python3.13 python3.14; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)

# One thread: the numbers are the same on every machine, and a busy one is not slowed down further.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# MkDocs' banners about its own future are for those who choose the tools.
export NO_MKDOCS_2_WARNING := 1
export DISABLE_MKDOCS_2_WARNING := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# In a container people are root, and Jupyter wants to be told that this is meant.
ROOT_IS_FINE := $(shell [ "$$(id -u)" != 0 ] || echo --allow-root)

.DEFAULT_GOAL := help
.PHONY: help site build test lab check mutants exercises accept bench clean lock audit sbom setup python port

help: ## Show this text
	@echo "Visitwise: discrete-time survival analysis on visit sequences."
	@echo "Each command sets up what it needs in .venv and node_modules; the second time that takes no time."
	@echo
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "  make %-9s %s\n", $$1, $$2 }'
	@echo
	@echo "  make site PORT=8001        where port 8000 is taken"
	@echo "  make test TESTS=tests/test_functional.py   one file; TESTS takes any pytest arguments"
	@echo "  make test JOBS=4           on more than two processes; each takes about 2 GB"
	@echo "  make build PYTHON=python3.12   choose the interpreter (3.11 or newer) that .venv is made from"

site: port $(INSTALLED) $(PACKAGES) ## Run the notebooks, then show the site on 127.0.0.1:8000; saved files appear at once
	$(PY) $(BUILD)/notebooks.py
	$(PY) $(BUILD)/ledger.py
	@echo "Visitwise will be at http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	$(PY) -m mkdocs serve --strict --dev-addr 127.0.0.1:$(PORT)

build: $(INSTALLED) $(PACKAGES) ## Run the notebooks that changed, then write the site into site/
	$(PY) $(BUILD)/notebooks.py
	$(PY) $(BUILD)/ledger.py
	$(PY) -m mkdocs build --strict
	@echo "The site is in site/; it works under any address."

test: $(INSTALLED) $(PACKAGES) ## Run all tests; those in a browser too, if there is a Chromium
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(TESTS)

lab: $(INSTALLED) ## Open the notebooks in JupyterLab; LAB= passes options on, such as LAB=--no-browser
	JUPYTER_CONFIG_PATH=$(CURDIR)/.jupyter $(BIN)/jupyter lab --notebook-dir=notebooks $(ROOT_IS_FINE) $(LAB)

check: $(INSTALLED) $(PACKAGES) ## Lint, formatting, types, and whether each exercise is made from its solution
	$(PY) $(BUILD)/exercises.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NODE) node_modules/prettier/bin/prettier.cjs --check $(SCRIPTS)
	$(NODE) node_modules/typescript/bin/tsc -p jsconfig.json

mutants: $(INSTALLED) $(PACKAGES) ## Plant known mistakes in the figures' arithmetic, and list which are noticed
	$(PY) -m tests.figures

exercises: $(INSTALLED) ## Write the exercise of each solution into the notebooks
	$(PY) $(BUILD)/exercises.py

accept: $(INSTALLED) ## Keep what the notebooks print now as what they have to print (read it first: git diff tests/outputs)
	$(PY) $(BUILD)/notebooks.py
	$(PY) -m tests.accepted

bench: $(INSTALLED) $(PACKAGES) ## Measure again what the pages show as measured (about an hour; BENCH="packing scale" for some)
	$(PY) -m tests.benchmarks --record $(BENCH)

clean: ## Remove what the commands made, except .venv and node_modules
	rm -rf site build dist explainer/notebooks .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
	find . -name __pycache__ -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +

lock: python ## Rewrite requirements.lock from what pyproject.toml asks for today
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install torch==2.13.0 '.[datasets,meds,notebooks,site,test]'
	build/lock/bin/python $(BUILD)/lock.py > build/requirements.lock
	build/lock/bin/python -m pip install uv
	build/lock/bin/uv pip compile --quiet --no-deps --generate-hashes --no-annotate --no-header --no-emit-package torch \
	  build/requirements.lock | build/lock/bin/python $(BUILD)/lock.py --hashes > build/requirements.hashes
	mv build/requirements.lock build/requirements.hashes .

audit: $(TOOLS) ## Ask the Python Package Index and npm which packages have known holes
	$(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip -r requirements.lock
	$(PY) $(BUILD)/node.py npm audit

sbom: $(TOOLS) $(INSTALLED) ## List what is installed, in CycloneDX: build/sbom.json, and build/sbom-node.json for npm's part
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json $(PY)
	$(PY) $(BUILD)/node.py npm sbom --package-lock-only --sbom-format cyclonedx > build/sbom-node.json

$(TOOLS): | python
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0

setup: $(INSTALLED) $(PACKAGES)

$(INSTALLED): requirements.lock requirements.hashes pyproject.toml | python
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --no-deps --require-hashes -r requirements.hashes
	@# What is left is torch, in the build that pip's settings offer, and on some systems what it brings along.
	$(PY) -m pip install -r requirements.lock
	$(PY) -m pip install --no-deps -e .
	@# A kernel that is this very Python: JupyterLab then opens a notebook without asking which one to use.
	$(PY) -m ipykernel install --sys-prefix
	@touch $@

$(PACKAGES): package.json package-lock.json $(INSTALLED)
	$(PY) $(BUILD)/node.py npm ci --no-audit --no-fund --loglevel=error
	@touch $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Visitwise needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo not there)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }

port: python
	@$(PYTHON) $(BUILD)/port.py $(PORT)
