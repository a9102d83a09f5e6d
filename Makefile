# `make demo` and `make test` each make .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types suite test-slow clean

demo: $(VENV)/.installed
	$(BIN)/imitate demo

test: $(VENV)/.installed-test
	$(MAKE) lint types suite

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

suite:
	$(BIN)/pytest -n auto -m "not slow"

test-slow: $(VENV)/.installed-test
	$(BIN)/pytest -n auto -m slow

# The pinned torch goes first and alone: by itself it resolves to the small CPU build where one is at hand.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[test]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) runs
