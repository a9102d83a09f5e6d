# `make demo` and `make test` each make .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types suite test-slow fuzz peers bench clean

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

# Random commands and library calls, most of them wrong; some minutes.
fuzz: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fuzz commands --times 1000 --out benchmarks/results/fuzz.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fuzz library --times 1000 --out benchmarks/results/fuzz.json

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

# What `make bench` compares with, each in an environment of its own; `imitation` pins an old Stable-Baselines3.
peers: .peers/sb3/.installed .peers/imitation/.installed .peers/rsl/.installed

.peers/%/.torch: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	touch $@

.peers/%/.installed: benchmarks/peers_%.txt .peers/%/.torch
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.PRECIOUS: .peers/%/.torch

# Beside the peers, what scales how, and the pages made of both; about an hour on one idle core.
bench: $(VENV)/.installed peers
	$(BIN)/python -m benchmarks.versus --keep-memory --out benchmarks/results/versus.json
	$(BIN)/python -m benchmarks.scaling --out benchmarks/results/scaling.json
	$(BIN)/python -m benchmarks.table --write

clean:
	rm -rf $(VENV) runs
