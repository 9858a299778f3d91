# `make play` starts the duel, `make test` checks everything. Both need CPython 3.11 or newer and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: play test unit faults thorough test-environments check architectures gpu-dry-run pins install quantizers clean

play: $(VENV)/.play
	@echo 'The demo model comes as a 4-bit file (Q4_1): its bf16 is unpacked from that, and losses are counted from there.'
	$(BIN)/quantduel

# Three at a time, also on two cores: tests of screens wait more than they compute.
test: check
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# What needs neither torch nor a worker, in seconds; an environment without torch is enough.
unit: $(VENV)/.unit
	$(BIN)/pytest -n 2 tests/unit

# The real command on damaged files and strange inputs: minutes, so not part of `make test`.
faults: $(VENV)/.test
	$(BIN)/pytest -m faults -n 2 tests/faults

# Every screen at every size, every kind of model by every step: what `make test` takes a few of.
thorough: $(VENV)/.test
	$(BIN)/pytest -m thorough -n 2 --dist loadfile --no-loadscope-reorder

# The original code of AWQ and GPTQ, in environments that are made first, with all their packages: minutes.
TEST_HOME = $${QUANTDUEL_TEST_HOME:-$$HOME/.cache/quantduel-test}

test-environments: $(VENV)/.test
	QUANTDUEL_HOME=$(TEST_HOME) $(BIN)/quantduel env create autoawq
	QUANTDUEL_HOME=$(TEST_HOME) $(BIN)/quantduel env create auto-gptq
	$(BIN)/pytest -m environments tests/environments

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Greedy tokens of every kind of model with every method, against transformers: minutes.
architectures: $(VENV)/.test
	$(BIN)/python -m benchmarks.architectures

# The checks for a machine with a GPU, as far as a CPU can run them: benchmarks/gpu/README.md. What a CPU alone
# has, the step that numba compiles, is left out.
DRY_RUN = KIT_DEVICE=cpu KIT_SHAPE=tiny KIT_SITE= KIT_SECONDS=1800 QUANTDUEL_STEP=native

gpu-dry-run: $(VENV)/.test
	OUT=$$(mktemp -d) $(DRY_RUN) PATH="$(abspath $(BIN)):$$PATH" bash benchmarks/gpu/check.sh

install: $(VENV)/.play

quantizers: $(VENV)/.quantizers

INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# GPTQModel comes as source: one of its libraries needs a C compiler and Python's headers.
CAN_COMPILE = { command -v cc || command -v gcc; } >/dev/null && $(PYTHON) -c 'import os, sys, sysconfig; \
	sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
LEFT_OUT = Left out: GPTQModel, so no rtn, gptq, awq and autoround. Install a C compiler and the headers of Python \
	(Debian: gcc python3-dev), then: make quantizers

# The version is asked first: a venv keeps the Python that it was made with.
MAKE_VENV = $(PYTHON) -c 'import sys; sys.exit("needs Python 3.11 or newer: make PYTHON=python3.12 …" \
if sys.version_info < (3, 11) else 0)' && $(PYTHON) -m venv $(VENV)

$(VENV)/.play: pyproject.toml constraints.txt
	@$(MAKE_VENV)
	$(INSTALL) -e '.[local]'
	@if $(CAN_COMPILE); then $(INSTALL) -e '.[local,gptq,autoround]' || echo '$(LEFT_OUT)'; else echo '$(LEFT_OUT)'; fi
	touch $@

$(VENV)/.unit: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { $(MAKE_VENV); }
	$(INSTALL) -e '.[dev]'
	touch $@

$(VENV)/.quantizers: $(VENV)/.play
	$(INSTALL) -e '.[local,gptq,autoround]'
	touch $@

$(VENV)/.test: $(VENV)/.play
	$(INSTALL) -e '.[local,serve,llama-cpp,dev]'
	touch $@

# Whether the pins go together with torch's CUDA build, which CPUs' builds do not show: pip says, and installs nothing.
pins: $(VENV)/.unit
	PIP_CONFIG_FILE=/dev/null $(BIN)/python -m pip --isolated install --dry-run --ignore-installed --quiet --report /dev/null \
	    -c constraints.txt '.[local,gptq,autoround,llama-cpp,serve,dev]'

clean:
	rm -rf $(VENV)
