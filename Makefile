# make demo    install with one backend, explain the embedded images, write demo/report.html
# make docs    write docs/methods.md, the page of all methods, anew
# make test    install all three backends, run the tests once on each
# make test-peers  the tests beside other libraries: zennit, pytorch-grad-cam, scikit-learn, torchvision, KerasHub, tf-keras-vis,
#              Xplique, transformers, timm, lxt; of one that cannot be installed, the tests are skipped
# make lint    ruff and mypy
# make bench   what each method costs beside the bare framework (ARGS=--quick: three minutes); make bench-peers: and
#              beside other libraries
# make zoo     explain one small variant of each architecture of timm, torchvision, transformers, keras.applications,
#              KerasHub and others by each family of methods, and write docs/zoo.md: under an hour on two cores, and what is
#              done is not done again; ARGS="--source timm", "--model NAME", "--methods gradcam", --sample, --anew, --table
# make clean   remove environments, caches and outputs
#
# BACKEND=jax narrows demo, tests and bench to one backend; TESTS=tests/test_data.py and PYTEST_ARGS="-k nan -x" narrow the
# tests; JOBS=0 runs them in one process; ARGS= goes to demo or bench; PYTHON= is the Python (3.11 or newer) to start from.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo docs test test-peers lint bench bench-peers zoo clean

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= auto
TESTS  ?= tests
BACKEND ?=
PYTEST_ARGS ?=
ARGS   ?=

ALL_BACKENDS := tensorflow jax torch
BACKENDS     := $(or $(BACKEND),$(ALL_BACKENDS))
# JAX is the smallest to install.
DEMO_BACKEND := $(or $(BACKEND),jax)
$(if $(filter-out $(ALL_BACKENDS),$(BACKENDS)),$(error BACKEND=$(BACKEND) is not one of: $(ALL_BACKENDS)))

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/pins.txt
RECIPE := pyproject.toml requirements/pins.txt

demo: $(VENV)/.demo-$(DEMO_BACKEND)
	KERAS_BACKEND=$(DEMO_BACKEND) $(BIN)/python -m keras_explainable.demo --overwrite $(ARGS)

docs: $(VENV)/.test
	KERAS_BACKEND=torch $(BIN)/python -m keras_explainable.demo --page docs

test: $(VENV)/.test
	@failed=""; lines=""; \
	for backend in $(BACKENDS); do \
	  echo "=== $$backend"; \
	  KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n $(JOBS) --maxprocesses=4 $(PYTEST_ARGS) $(TESTS) \
	    | tee $(VENV)/test-$$backend.log || failed="$$failed $$backend"; \
	  lines+=$$(printf '%-12s %s' "$$backend" "$$(tail -n 1 $(VENV)/test-$$backend.log | tr -d =)")$$'\n'; \
	done; \
	printf '\n%s' "$$lines"; \
	if [ -n "$$failed" ]; then echo "FAILED on:$$failed"; exit 1; fi; \
	echo "All tests passed on: $(BACKENDS)"

test-peers: $(VENV)/.peers
	for backend in $(filter torch tensorflow,$(BACKENDS)); do \
	  KERAS_BACKEND=$$backend $(BIN)/python -m pytest -m peers $(PYTEST_ARGS) $(TESTS); \
	done

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(if $(BACKEND),--backends $(BACKEND)) $(ARGS)

bench-peers: $(VENV)/.peers
	$(BIN)/python -m bench --peers --backends tensorflow native $(ARGS)

zoo: $(VENV)/.zoo
	$(BIN)/python -m zoo $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist demo results zoo/results.jsonl
	find src tests bench zoo -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp stands for an installation: it is renewed when the dependencies change, and only then.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-%: $(RECIPE) | $(BIN)/python
	@echo "Installing keras-explainable with $* into $(VENV) (a minute or two, once)"
	$(PIP) --editable ".[$(subst tensorflow,tensorflow-cpu,$*),viz,cli]"
	@touch $@

$(VENV)/.test: $(RECIPE) | $(BIN)/python
	@echo "Installing keras-explainable with $(ALL_BACKENDS) into $(VENV) (a few minutes, once)"
	$(PIP) --editable ".[tensorflow-cpu,jax,torch,viz,cli,dev]"
	@touch $@

# Without what they depend on, which would change the versions of the frameworks; what they need of it is in the list.
$(VENV)/.peers: requirements/peers.txt $(VENV)/.test
	$(PIP) --no-deps --requirement $< || while read -r peer; do \
	  $(PIP) --no-deps "$$peer" || echo "$$peer cannot be installed"; \
	done < $<
	@touch $@

# torchvision's models run without its compiled operators, for which there is not always a build.
$(VENV)/.bench: requirements/bench.txt $(VENV)/.test
	$(PIP) --no-deps --requirement requirements/bench.txt
	@touch $@

# Beside the libraries that tests are run with; without what they depend on as well.
$(VENV)/.zoo: requirements/zoo.txt $(VENV)/.peers
	while read -r one; do $(PIP) --no-deps "$$one" || echo "$$one cannot be installed"; done < $<
	@touch $@
