# Needs make and Python 3.11 or 3.12; no C compiler. `make help` lists the targets.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null && echo $$p && break; done)
# More words for the pip command that fetches torch. It takes the build that pip finds first: to have another one (CPU only, or
# for your CUDA or ROCm), name its index as PyTorch's "get started" page says: make install TORCH_FLAGS="--index-url …".
TORCH_FLAGS ?=

VENV := .venv
BIN  := $(VENV)/bin
# Wheels only, hashes checked, nothing resolved anew. The two exceptions are pure Python and published as source only.
PIP  := $(BIN)/python -m pip install -qq --disable-pip-version-check
LOCK := $(PIP) --no-deps --no-build-isolation --only-binary :all: --no-binary python-baseconv,varint

.DEFAULT_GOAL := help
.PHONY: help install devnet test check format bench accuracy learning mutation exact-matrix gpu-check lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## make .venv with everything in it (does nothing when that is up to date)

$(VENV)/.installed: pyproject.toml locks/build.txt locks/dev.txt
	@test -n "$(PYTHON)" || \
		{ echo "No Python 3.11 or 3.12 was found. Install one, or name it: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v in [(3, 11), (3, 12)] or \
		sys.exit("$(PYTHON) is Python %d.%d; DeepBlock needs 3.11 or 3.12." % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Debian and Ubuntu have venv in a package of its own: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV): the locked packages, torch (the largest), then DeepBlock itself"
	@$(LOCK) -r locks/build.txt
	@$(LOCK) -r locks/dev.txt
	@$(PIP) $(TORCH_FLAGS) torch==2.13.0
	@$(PIP) --no-deps --no-build-isolation --editable .
	@echo "Compiling the kernels of exact training for this machine (about half a minute)"
	@$(BIN)/python -m deepblock.exact.compiled
	@touch $@

devnet: install  ## mine on a network of your own; the chain lives in .devnet
	exec $(BIN)/deepblock-node run --network devnet --data-dir .devnet --p2p-host 127.0.0.1 --mdns --mine

# Tests of real nodes wait more than they compute; two at a time are as many as two cores serve.
NODES := tests/functional tests/interop
test: install  ## run every test (a quarter of an hour on 2 cores)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(NODES:%=--ignore %)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 12 $(NODES)

check: install  ## lint, formatting, types, and the test of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/house

format: install  ## put the code into its form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: install  ## print the table of benchmarks, each with its baseline
	$(BIN)/python -m tests.bench

accuracy: install  ## train in 8 to 16 bits and in float32, and print how well (an hour; goes on from accuracy.jsonl)
	$(BIN)/python -m tests.accuracy

learning: install  ## print how fast a chain of 1, 4 and 8 sessions a height learns, beside SGD (an hour; goes on from learning.jsonl)
	$(BIN)/python -m tests.learning

mutation: install  ## change the rules of consensus/ one place at a time, and list the changes that no test notices (half an hour)
	$(PIP) mutmut==3.8.1
	$(BIN)/mutmut run
	$(BIN)/mutmut results

exact-matrix: install  ## run the published sessions under a dozen CPU configurations; one different bit fails
	$(BIN)/python -m tests.exact_matrix

gpu-check: install  ## compare sessions on this machine's GPU with the published vectors
	$(BIN)/python -m tests.gpu_check

UV_COMPILE := uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--only-binary :all: --no-annotate --no-header --no-emit-package torch pyproject.toml

lock:  ## choose the versions anew (needs uv on the PATH)
	$(UV_COMPILE) --output-file locks/run.txt
	$(UV_COMPILE) --extra dev --constraints locks/run.txt --output-file locks/dev.txt
	sed -n '/^setuptools==/,/[^\\]$$/p' locks/run.txt > locks/build.txt

clean:  ## remove the environment and the caches (never a chain)
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache mutants *.egg-info
