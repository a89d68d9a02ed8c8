# Needs Python 3.11 to 3.13 with pip, nothing else.
#   make demo [VIDEOS="a.mp4 folder"]   tables of what is in videos, in demo/out, and a page that shows them
#   make test                           the tests
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
.PHONY: help setup demo test slow-test cluster-test ray-newest fuzz faults chaos soak wheel sbom audit test-gpu bench-gpu first-gpu lint bench bench-files accuracy docs check-models clean

# The GPU has an environment of its own: the two ONNX Runtime distributions overwrite each other. So has another Ray.
VENV := $(if $(filter %-gpu,$(MAKECMDGOALS)),.venv-gpu,$(if $(filter ray-newest,$(MAKECMDGOALS)),.venv-ray-newest,.venv))
BIN := $(VENV)/bin
DEMO := demo
VIDEOS ?=
# All that needs no download: of one short clip it takes seconds, of a user's own videos what they ask for.
SAMPLE_OPS := --sample every:1 --ops media,frames,scenes,audio_levels,speech,beats,loudness,text,text_spans
PINS := pyproject.toml constraints/cpu.txt
# Run, not only found: a name on PATH may be a shim without an interpreter behind it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 && echo $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# pip compiles what it installs, not what it links to. Where Python may write no bytecode, as in many containers,
# each start of the command would compile our modules anew: a quarter of what a short clip takes (measured).
COMPILE := $(BIN)/python -m compileall -q framemill $(addprefix framemill/,cluster actors ops models)

help:
	@sed -n '1,3p' Makefile
	@echo "#   make setup | slow-test | cluster-test | ray-newest | fuzz | faults | chaos | soak | wheel | sbom | audit | test-gpu | bench-gpu | first-gpu | lint | bench | bench-files | accuracy | docs | check-models | clean"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/cpu.stamp: $(PINS) | $(BIN)/python
	$(PIP) install --quiet --constraint constraints/cpu.txt --editable ".[cpu]"
	@$(COMPILE)
	@touch $@

$(VENV)/dev.stamp: $(PINS) | $(BIN)/python
	$(PIP) install --quiet --constraint constraints/cpu.txt --editable ".[cpu,cloud,dali,dev,edit,ray]"
	@$(COMPILE)
	@touch $(VENV)/cpu.stamp $@

# Without dependencies: scenedetect asks for a second distribution of OpenCV, which would overwrite ours.
$(VENV)/bench.stamp: constraints/bench.txt $(VENV)/dev.stamp
	$(PIP) install --quiet --no-deps --requirement constraints/bench.txt
	@touch $@

setup: $(VENV)/dev.stamp

$(DEMO)/sample.mp4: | $(VENV)/cpu.stamp
	@mkdir -p $(DEMO)
	$(BIN)/python -m benchmarks.sample_clip $@

demo: $(VENV)/cpu.stamp $(if $(strip $(VIDEOS)),,$(DEMO)/sample.mp4)
	@mkdir -p $(DEMO)
	$(BIN)/framemill extract $(or $(strip $(VIDEOS)),$(DEMO)/sample.mp4 $(SAMPLE_OPS)) -o $(DEMO)/out --tolerate-failures
	@echo
	$(BIN)/framemill status $(DEMO)/out
	@echo
	@echo "Parquet files: $(DEMO)/out/<table>/*.parquet"
	@echo "Ask them:      $(BIN)/framemill sql $(DEMO)/out \"SELECT * FROM scenes\""
	@echo "Look at them, in a browser:"
	@$(BIN)/framemill report $(DEMO)/out -o $(DEMO)/report.html

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m "not slow"

slow-test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m "slow and not cluster"

# Mutants of real files against what plain PyAV decodes of them; the same for the same seed.
SEED ?= 1
N ?= 500
fuzz: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.fuzz $(SEED) $(N)

# Each kind of fault at every call to storage of several runs, or at each EVERY-th of them: some thousand runs.
EVERY ?= 1
faults: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.faults $(EVERY)

# N random kills, half of them of runs on Ray, each followed by the same command; the same moments for the same SEED.
chaos: N := 40
chaos: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.chaos $(N) $(SEED)

# Files that come and go, kills, takeovers of the lease, compaction and an open viewer, for HOURS: what grows, and what must not.
HOURS ?= 2
soak: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.soak $(HOURS) $(SEED)

# What goes with a release, into dist/: the wheel, built twice to the same bytes, and a bill of materials for each file of
# pins. `audit` asks pip-audit, where it is installed, what is known against the pins.
wheel: $(VENV)/dev.stamp
	$(BIN)/python -m release.wheel dist

sbom: $(VENV)/dev.stamp
	$(BIN)/python -m release.bill_of_materials dist

audit: $(VENV)/dev.stamp
	@$(BIN)/python -m release.advisories

# Nightly, where there is internet: whether every model is still at its addresses, with the size and digest it had.
check-models: $(VENV)/cpu.stamp
	$(BIN)/framemill models check

cluster-test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m cluster

# Nightly, where there is internet: the same with the newest Ray, whatever pyproject.toml asks for, of which pip tells.
ray-newest: $(VENV)/dev.stamp
	$(PIP) install --quiet --upgrade "ray[data,default]"
	$(BIN)/python -c "import ray; print('Ray', ray.__version__)"
	$(BIN)/python -m pytest -m cluster

# On a machine with an NVIDIA GPU, from wheels that bring their own CUDA: no second resolution, see docs/install.md. What
# finds no GPU there fails instead of being skipped.
$(VENV)/gpu.stamp: $(PINS) constraints/gpu-cu13.txt constraints/gpu-cu13-tensorrt.txt | $(BIN)/python
	$(PIP) install --quiet --no-deps --requirement constraints/gpu-cu13.txt
	$(PIP) install --quiet --no-deps --requirement constraints/gpu-cu13-tensorrt.txt || \
		echo "TensorRT cannot be installed here: its package downloads from its maker. Models run on CUDA." >&2
	$(PIP) install --quiet --constraint constraints/cpu.txt pytest hypothesis array-api-strict
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

test-gpu: $(VENV)/gpu.stamp
	FRAMEMILL_REQUIRE_GPU=1 $(BIN)/python -m pytest tests/gpu --confcutdir=tests/gpu

bench-gpu: $(VENV)/gpu.stamp
	FRAMEMILL_REQUIRE_GPU=1 $(BIN)/python -m benchmarks gpu_decode gpu_objects gpu_against_host gpu_first_row gpu_idle \
		gpu_whisper

# The first minutes on a GPU, in their order: one JSON and a page, in first-gpu/. The driver is looked for before anything
# is installed: without one it ends with 5. PY=python uses that interpreter and installs nothing; what is not there is
# skipped by name.
PY ?=
first-gpu:
	@test -n "$(or $(PY),$(PYTHON))" || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with PY=/path/to/python" >&2; exit 1; }
	@$(or $(PY),$(PYTHON)) benchmarks/first_gpu/driver.py
	$(if $(PY),,$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/gpu.stamp)
	$(or $(PY),$(BIN)/python) -m benchmarks.first_gpu first-gpu $(if $(MODELS),--models $(MODELS))

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks

# What each file costs where there are many: some minutes, and 2 GB in build/bench.
bench-files: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks per_file_overhead many_files many_files_media

# Rows beside those of reference implementations, on the media and weights in ../shared; writes docs/accuracy.md.
accuracy: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.accuracy

# The lists in docs/ that come from the code.
docs: $(VENV)/dev.stamp
	$(BIN)/python -m docs.generate

clean:
	rm -rf .venv .venv-gpu .venv-ray-newest $(DEMO) first-gpu build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
