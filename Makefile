# make demo           the main job, end to end, on this machine
# make test           every test but the next two, on a real Slurm where it can be set up here
# make tutorial       run every command of the tutorial
# make gpu-rehearsal  run the GPU benchmarks on a CPU, in small
# make quick          the tests that need neither Slurm nor much time: while you work
# make lint           formatting, style and types
# make check          what a change must pass: lint, docs and all of these tests
# make docs           the documentation site, in site/
# make compat         the quick tests with the oldest and the newest allowed versions of every dependency
# make bench          measure everything but the GPU; writes docs/reference/benchmarks.md
# make gpu            measure on one GPU, at most 8 minutes; GPU_ARGS=--again measures all parts again
# make zoo            train every shipped experiment and compare; hours on two cores: CONFIGS="cnn-digits …" selects some
# make fuzz           damaged and hostile files and YAML; SEED varies them, FUZZ_SECONDS limits the time
# make soak           stop trainings at random moments and compare, for SOAK_SECONDS; SEED repeats the faults

PYTHON ?= python3
SOAK_SECONDS ?= 300
FUZZ_SECONDS ?= 1800
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test tutorial gpu-rehearsal quick check lint docs compat bench gpu gpu-wheels zoo fuzz soak failures clean

# Several trainings at a time share the cores here: one thread for each, and threads that wait must not spin.
test quick tutorial gpu-rehearsal soak: export OMP_NUM_THREADS := 1
test quick tutorial gpu-rehearsal soak: export OMP_WAIT_POLICY := PASSIVE
# Without compiled files, pytest and the many processes of the tests would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

# For two cores; with more of them: make test PARALLEL="-n 5 --dist loadgroup"
quick: PARALLEL ?= -n 2 --dist loadgroup
# One more than cores, because the tests of Slurm mostly wait for jobs. tests/conftest.py groups them.
test: PARALLEL ?= -n 3 --dist loadgroup

help:
	@sed -n 's/^# make /make /p' $(firstword $(MAKEFILE_LIST))

# The package is installed editable, so that only a change of its requirements needs another install.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "hpc_dl needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "Cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing hpc_dl and its pinned dependencies into $(VENV) (once; torch is large) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/hpc-dl submit configs/cnn-digits.yaml --site local --wait
	@echo
	@echo "Next:"
	@echo "  source $(BIN)/activate                        # so that hpc-dl is found"
	@echo "  hpc-dl status                                  # all runs so far"
	@echo "  hpc-dl logs latest                             # the log of the last one"
	@echo "  hpc-dl train configs/mlp-digits.yaml model.width=64 optimizer.lr=3e-3"
	@echo "  hpc-dl submit configs/cnn-fashion_mnist.yaml --dry-run   # the batch script for Slurm"

test: $(VENV)/.installed
	@slurm/dev-cluster/cluster up || echo "No Slurm could be set up here: its tests will be skipped, or fail under CI=true." >&2
	$(BIN)/pytest $(PARALLEL) -m "not own_target" $(PYTEST_ARGS)

tutorial: $(VENV)/.installed
	$(BIN)/pytest -q tests/docs/test_tutorial.py

gpu-rehearsal: $(VENV)/.installed
	$(BIN)/pytest -q -m own_target tests/test_gpu_benchmark.py

quick: $(VENV)/.installed
	$(BIN)/pytest $(PARALLEL) -m "not slurm and not container and not slow" $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/python docs/configuration_page.py
	$(BIN)/python docs/commands_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Built site/index.html"

check: lint docs tutorial gpu-rehearsal test

compat: $(VENV)/.installed
	$(BIN)/python -m tests.compat

# The readers that HDF5 is compared with are installed without their dependencies: some need older packages.
bench: $(VENV)/.installed
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.preemption
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.shuffling
	$(BIN)/python -m benchmarks.end_to_end
	$(BIN)/python -m benchmarks.many_runs
	$(BIN)/python -m benchmarks.adaptive_sweeps

# On a machine without a package index: make gpu-wheels elsewhere, then make gpu WHEELS=build/gpu-wheels PYTHON=python3
gpu: $(if $(WHEELS),,$(VENV)/.installed)
	$(if $(WHEELS),$(PYTHON),$(BIN)/python) -m benchmarks.gpu $(if $(WHEELS),--wheels $(WHEELS)) $(GPU_ARGS)

gpu-wheels:
	$(PYTHON) -m benchmarks.gpu.wheels build/gpu-wheels

zoo: $(VENV)/.installed
	$(BIN)/python -m benchmarks.zoo $(CONFIGS)

fuzz: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(SEED),--seed $(SEED)) $(FUZZ_ARGS)

failures: $(VENV)/.installed
	@slurm/dev-cluster/cluster up
	$(BIN)/python -m tests.failures $(FAILURES_ARGS)

soak: $(VENV)/.installed
	$(BIN)/python -m benchmarks.soak --seconds $(SOAK_SECONDS) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
