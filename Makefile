# `make demo` and `make test` are all that a new machine needs; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUTPUT ?= demo-output

.PHONY: demo test test-slow lint format picture clean

demo: $(VENV)/.installed-demo
	rm -rf demo-output  # and never a folder that somebody named
	$(BIN)/dcc demo -o $(DEMO_OUTPUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: this Python cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

picture: $(VENV)/.installed-dev demo  # README's, and those in docs/
	$(BIN)/python -m demo.pictures $(DEMO_OUTPUT)/run/best.safetensors docs

clean:
	rm -rf $(VENV) demo-output build *.egg-info
