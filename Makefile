# What there is to do with pixelwise from a checkout; `make` alone lists it.
#
# Two environments, made by the stock venv from pinned and hashed requirements, and made anew when those change:
#   .venv-runtime   what a user has who only segments photos: no torch
#   .venv           everything: training, tests, checks (7 GB, nearly all of it torch and CUDA)
# In both, pixelwise itself is this checkout (an editable install).

PYTHON ?= python3
PYTEST_ARGS ?= -n 2
UPGRADE ?=

RUNTIME := .venv-runtime
DEV := .venv
PHOTOS := $(wildcard examples/photos/*.png examples/photos/*.jpg)
DATA ?= datasets

PIP := -m pip -qq --disable-pip-version-check
# Wheels only: building a source package would run code that no hash covers.
INSTALL := $(PIP) install --require-hashes --only-binary :all:
COMPILE := CUSTOM_COMPILE_COMMAND="make requirements" $(DEV)/bin/pip-compile pyproject.toml --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-options $(UPGRADE)

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help demo test check format docs bench requirements browser clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME)/project.stamp ## Segment the example photos into out/demo, without torch
	$(RUNTIME)/bin/pixelwise segment $(PHOTOS) --save mask,overlay,panel,json --out out/demo --force
	@echo "Photo, mask and overlay side by side:" && ls out/demo/*_panel.*

test: $(DEV)/project.stamp $(RUNTIME)/project.stamp browser ## Run every test, the slow ones too
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest $(PYTEST_ARGS)

check: $(DEV)/project.stamp $(RUNTIME)/project.stamp browser ## Format, lint, types and tests: what a change has to pass
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest $(PYTEST_ARGS)

format: $(DEV)/project.stamp ## Format the code and mend what the linter can mend
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

docs: $(DEV)/project.stamp ## Write docs/architectures.md, its drawings and the shipped table from the models
	$(DEV)/bin/python -m pixelwise.describe.handbook

bench: $(DEV)/project.stamp $(RUNTIME)/project.stamp ## Run every benchmark; DATA=DIR with voc/ and coco/ for those that need data, PEERS=DIR for an environment of peers
	$(DEV)/bin/python benchmarks/cold_start.py --runtime-python $(RUNTIME)/bin/python
	$(RUNTIME)/bin/python benchmarks/engines.py
	$(RUNTIME)/bin/python benchmarks/large_image.py --native
	$(RUNTIME)/bin/python benchmarks/voc_accuracy.py --voc $(DATA)/voc --coco $(DATA)/coco --flip
	$(DEV)/bin/python benchmarks/export_parity.py --data $(DATA)/voc
	$(DEV)/bin/python benchmarks/models.py
	$(DEV)/bin/python benchmarks/training_speed.py
	$(DEV)/bin/python benchmarks/metrics_speed.py
	$(DEV)/bin/python benchmarks/audit.py --data $(DATA)/voc --split val
	$(DEV)/bin/python benchmarks/serve.py
	$(DEV)/bin/python benchmarks/performance.py $(if $(PEERS),--peers-python $(PEERS)/bin/python)
	$(DEV)/bin/python benchmarks/kills.py
	$(RUNTIME)/bin/python benchmarks/install_size.py

# The dev set is resolved first and binds the others, so that a version is the same wherever it is pinned.
requirements: $(DEV)/requirements.stamp ## Pin the requirements again after a change of pyproject.toml (UPGRADE=--upgrade for newer ones)
	$(COMPILE) --extra train --extra audit --extra serve --extra export --extra large --extra dev --output-file requirements/dev.txt
	$(COMPILE) --extra train --constraint requirements/dev.txt --output-file requirements/train.txt
	$(COMPILE) --extra serve --constraint requirements/dev.txt --output-file requirements/serve.txt
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) --only-build-deps --build-deps-for editable --constraint requirements/dev.txt --output-file requirements/build.txt

# The tests of the page want a real browser; only root in a container may be expected to want a package for it.
browser: ## Where there is no Chromium, install Debian's, if we may; tests that want it are skipped otherwise
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& echo "Installing Chromium for the tests of the page" && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
		|| echo "There is no Chromium, so the tests of the page will be skipped; on Debian: apt-get install chromium"

clean: ## Remove the environments, out/ and all caches; training runs stay
	rm -rf $(RUNTIME) $(DEV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME)/requirements.stamp: requirements/runtime.txt requirements/build.txt
$(DEV)/requirements.stamp: requirements/dev.txt requirements/build.txt
%/requirements.stamp:
	@$(PYTHON) -c 'import sys; sys.exit("pixelwise needs Python 3.11 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Making $* from $^"
	@rm -rf $*
	@$(PYTHON) -m venv $*
	@$*/bin/python $(INSTALL) $(addprefix -r ,$^)
	@touch $@

%/project.stamp: %/requirements.stamp pyproject.toml
	@$*/bin/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.PRECIOUS: %/requirements.stamp
