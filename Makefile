# `make play` starts the duel, `make test` checks everything. Both need CPython 3.11 or newer and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: play test check install quantizers clean

play: $(VENV)/.play
	$(BIN)/quantduel

test: check
	$(BIN)/pytest -n 2 --dist loadfile

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.play

quantizers: $(VENV)/.quantizers

INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

$(VENV)/.play: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[local]'
	touch $@

# GPTQModel comes as source and needs a C compiler.
$(VENV)/.quantizers: $(VENV)/.play
	$(INSTALL) -e '.[local,gptq]'
	touch $@

$(VENV)/.test: $(VENV)/.play
	$(INSTALL) -e '.[local,dev]'
	$(INSTALL) -e '.[local,gptq]' || echo 'No GPTQModel: its tests will be skipped. It needs a C compiler.'
	touch $@

clean:
	rm -rf $(VENV)
