# Every target works on a fresh checkout: it installs what it needs into .venv, and again when pyproject.toml
# changes. Requires Python 3.11 or newer; `make test PYTHON=python3.12` chooses another interpreter.

PYTHON ?= python3
ARGS   ?=
JOBS   ?= 4

VENV    := .venv
BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
PEERS   := $(VENV)/.benchmarks-installed
FUZZER  := $(VENV)/.fuzz-installed
TOOLS   := .tools
LOWEST  := build/lowest

.DEFAULT_GOAL := help
.NOTPARALLEL: # one pip at a time in one environment
.PHONY: help serve train test test-lowest test-cluster soak fuzz fuzz-parsers docs lint bench format lock audit sbom clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

serve: $(RUNTIME) ## serve on http://127.0.0.1:8000 (PASTICHE_PORT=… and the like are its settings)
	$(BIN)/pastiche-serve $(ARGS)

train: $(RUNTIME) ## train a network: make train ARGS="style --style-image wave.jpg …"; bare, its options
	$(BIN)/pastiche-train $(or $(ARGS),--help)

# The networks in the tests are so small that several threads per operation would only add overhead; two processes more than
# the two processors of the smallest machine work while others wait.
# Without bytecode, each of the hundreds of processes that the tests start would compile what it imports.
test: export OMP_NUM_THREADS ?= 1
test: export PYTHONDONTWRITEBYTECODE :=
test: lint ## everything that must pass: lint, types, tests (ARGS="-k tiling" goes to pytest)
	$(BIN)/pytest --numprocesses=$(JOBS) --dist=worksteal $(ARGS)

# Old libraries warn of what newer ones beside them have renamed.
test-lowest: export OMP_NUM_THREADS ?= 1
test-lowest: export PYTHONDONTWRITEBYTECODE :=
test-lowest: $(LOWEST)/installed ## the tests, with the lowest versions that pyproject.toml allows (PYTHON=python3.11)
	$(LOWEST)/bin/pytest --numprocesses=$(JOBS) --dist=worksteal -W default::DeprecationWarning \
	  -W default::PendingDeprecationWarning $(ARGS)

test-cluster: $(DEV) ## the service on a Ray cluster of two nodes, one of which is killed: some minutes
	$(BIN)/pytest -m cluster tests/service/ray tests/benchmarks/test_ray_serve.py $(ARGS)

soak: export SOAK_ROUNDS ?= 200
soak: $(DEV) ## two hundred publications and rollbacks under load, of which no request may notice (SOAK_ROUNDS=…)
	$(BIN)/pytest tests/service/test_model_stores.py $(ARGS)

fuzz: $(PEERS) ## ten thousand hostile files through both endpoints, of which none may fail the service (ARGS=--files=500)
	$(BIN)/python -m benchmarks fuzz $(ARGS)

fuzz-parsers: $(FUZZER) ## each parser for a minute, guided by its coverage (ARGS="--seconds 10 png webp")
	$(BIN)/python -m tests.fuzz $(ARGS)

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DEV) ## the documents as a site, in build/site
	$(BIN)/mkdocs build --strict --quiet

lint: $(DEV) ## style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(PEERS) ## measure speed and memory, an hour on an idle machine (ARGS=--quick: a smoke run)
	$(BIN)/python -m benchmarks engine $(ARGS)
	$(BIN)/python -m benchmarks roofline $(ARGS)
	$(BIN)/python -m benchmarks serve $(ARGS)
	$(BIN)/python -m benchmarks overload $(ARGS)
	$(BIN)/python -m benchmarks interference $(ARGS)
	$(BIN)/python -m benchmarks hostile $(ARGS)
	$(BIN)/python -m benchmarks decisions $(ARGS)
	$(BIN)/python -m benchmarks devices $(ARGS)
	$(BIN)/python -m benchmarks memory $(ARGS)
	$(BIN)/python -m benchmarks train $(ARGS)

format: $(DEV) ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# PyTorch and the CUDA libraries that come with it are left out: their files differ between CPU and CUDA.
COMPILE := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate
UNPINNED = $$($(COMPILE) pyproject.toml | sed -nE 's/^(torch|torchvision|triton|(nvidia|cuda)-[^=]+)==.*/--no-emit-package \1/p')

lock: $(TOOLS)/installed ## pin the newest versions that pyproject.toml allows in requirements.lock, with their hashes
	$(COMPILE) --generate-hashes $(UNPINNED) pyproject.toml --output-file requirements.lock >/dev/null

audit: $(TOOLS)/installed $(RUNTIME) ## look for known vulnerabilities of what is installed
	$(TOOLS)/bin/pip-audit --path $(VENV)/lib/python3*/site-packages --skip-editable

sbom: $(TOOLS)/installed $(RUNTIME) ## list what is installed in sbom.json (CycloneDX)
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file sbom.json

clean: ## remove what make and the tools made, .venv included
	rm -rf $(VENV) $(TOOLS) sbom.json build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The target is pip, since without Debian's python3-venv package a virtual environment is left without it.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Pastiche needs Python 3.11 or newer as $(PYTHON) (it is: $$($(PYTHON) --version 2>&1))." >&2; \
	  echo "Name one that is: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(RUNTIME): pyproject.toml requirements.lock | $(BIN)/pip
	@echo "Installing into $(VENV). PyTorch is large: this takes some minutes, once."
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(TOOLS)/installed:
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/pip install --quiet 'uv>=0.8' 'pip-audit>=2.9' 'cyclonedx-bom>=7'
	@touch $@

# The lowest versions are those of what is installed with Pastiche; what tests it is the newest.
EXTRAS := export import otel paper ray redis stores stores-gs stores-hf tensorboard teachers video
$(LOWEST)/installed: pyproject.toml | $(TOOLS)/installed
	$(PYTHON) -m venv --clear $(LOWEST)
	$(TOOLS)/bin/uv pip compile --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --no-header \
	  $(addprefix --extra ,$(EXTRAS)) pyproject.toml >$(LOWEST)/lowest.txt
	$(TOOLS)/bin/uv pip install --quiet --python $(LOWEST)/bin/python -r $(LOWEST)/lowest.txt -e '.[dev]'
	@touch $@

$(DEV): pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(RUNTIME)

$(PEERS): pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[benchmarks]'
	@touch $@ $(RUNTIME)

$(FUZZER): pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[dev,fuzz]'
	@touch $@ $(DEV) $(RUNTIME)
