# make demo    install with one backend, explain the embedded images, write demo/report.html and open it: a minute or two of
#              CPU; ARGS=--all runs every method (several minutes), ARGS=--pictures writes each picture as well
# make demo-batch  explain 2,000 scenes on Ray, kill the worker half-way, and count what is lost (0) and repeated (0): a few
#              minutes; ARGS="--images 500 --workers 2"
# make docs    rewrite docs/methods.md, the page of all methods, and the README's table of methods
# make site    build the documentation site, docs/_build/html/index.html: it runs the tutorials, and fails on any warning or
#              broken link
# make test    install all three backends, run the quick tests on each, every method among them (six minutes on two cores)
# make test-all  the slow tests as well: what a change must pass
# make test-peers  the tests against other libraries: zennit, pytorch-grad-cam, scikit-learn, torchvision, KerasHub, tf-keras-vis,
#              Xplique, Quantus, torchcam, transformers, timm, lxt; tests of a library that cannot be installed are skipped
# make test-web  the page of `keras-explainable web` in Chromium (apt-get install chromium; skipped without it)
# make lint    ruff and mypy
# make bench   measure the cost of each method relative to the bare framework (ARGS=--quick: three minutes); make bench-peers:
#              relative to other libraries as well
# make audit   look up known vulnerabilities of all pinned packages (pip-audit)
# make pins    rewrite the hashes of the pinned versions, after a version was changed in requirements/
# make zoo     explain one small variant of each architecture of timm, torchvision, transformers, keras.applications,
#              KerasHub and others by each family of methods, and write docs/zoo.md: under an hour on two cores; finished work
#              is not repeated; ARGS="--source timm", "--model NAME", "--methods gradcam", --sample, --anew, --table
# make leaderboard  measure all methods on scenes with known ground truth and on photos, and write docs/leaderboard.md;
#              ARGS="--minutes 10" leaves out and lists what takes longer; also --seed, --scenes, --methods, --parts, --out FILE.md or
#              .csv. Values are kept in .leaderboard: a new method costs one row
# make dist    build the wheel and the sdist, and explain an image with the wheel alone, in a fresh environment for each backend
# make stubs   rewrite the signatures of the methods' shortcuts for editors and type checkers, after a method was changed
# make clean   remove environments, caches and outputs
#
# BACKEND=jax narrows demo, tests and bench to one backend; TESTS=tests/unit/data/test_batches.py and PYTEST_ARGS="-k nan -x"
# narrow the tests; JOBS=0 runs them in one process; ARGS= goes to demo or bench; PYTHON= is the Python (3.11 or newer) to
# start from.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo demo-batch dist stubs docs site test test-all test-peers test-web lint audit pins bench bench-peers zoo leaderboard clean

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
# With BACKEND=, only that backend is installed, unless all of them already are.
TEST_ENVIRONMENT := $(VENV)/.test$(if $(wildcard $(VENV)/.test),,$(addprefix -,$(BACKEND)))
CONSTRAINTS := $(VENV)/constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ONE_BY_ONE := while read -r one; do \
  $(PIP) --require-hashes --no-deps --requirement /dev/stdin <<< "$$one" || echo "$${one%% *} cannot be installed"; done
RECIPE := pyproject.toml $(CONSTRAINTS)
HASHED := pins peers peers_old peers_older bench s3 site web zoo

demo: $(VENV)/.demo-$(DEMO_BACKEND)
	KERAS_BACKEND=$(DEMO_BACKEND) $(BIN)/python -m keras_explainable.gallery --overwrite \
	  --shown-as "make demo$(if $(BACKEND), BACKEND=$(BACKEND))" $(ARGS)

demo-batch: $(VENV)/.batch-$(DEMO_BACKEND)
	KERAS_BACKEND=$(DEMO_BACKEND) $(BIN)/python -m tools.demo_batch $(ARGS)

docs: $(VENV)/.test
	KERAS_BACKEND=torch $(BIN)/python docs/build_methods_page.py

stubs: $(VENV)/.test
	KERAS_BACKEND=torch $(BIN)/python -m tools.stubs

# The wheel is tried outside of this folder, which has the sources.
dist: $(VENV)/tools $(CONSTRAINTS)
	rm -rf dist
	$</bin/python -m build --outdir dist . > $(VENV)/dist.log || { cat $(VENV)/dist.log; exit 1; }
	for backend in $(BACKENDS); do \
	  fresh=$(VENV)/dist-$$backend; rm -rf $$fresh; $(PYTHON) -m venv $$fresh; \
	  $$fresh/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) \
	    "$$(echo dist/*.whl)[$${backend/tensorflow/tensorflow-cpu},viz,cli]"; \
	  KERAS_BACKEND=$$backend $$fresh/bin/python -P tools/check_wheel.py dist/*.whl; \
	done

# -n: a name that is not found is a warning. -W: a warning is an error.
site: $(VENV)/.site
	rm -rf docs/_made docs/_build
	KERAS_BACKEND=torch TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/sphinx-build -W -n --keep-going --quiet -b html docs docs/_build/html
	$(BIN)/python docs/_ext/check_site.py docs/_build/html

test-all: LEVEL := --slow
test-all: $(VENV)/.s3
test test-all: $(TEST_ENVIRONMENT)
	@failed=""; lines=""; \
	for backend in $(BACKENDS); do \
	  echo "=== $$backend"; \
	  KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n $(JOBS) --maxprocesses=4 --durations=20 $(LEVEL) $(PYTEST_ARGS) $(TESTS) \
	    | tee $(VENV)/test-$$backend.log || failed="$$failed $$backend"; \
	  lines+=$$(printf '%-12s %s' "$$backend" "$$(tail -n 1 $(VENV)/test-$$backend.log | tr -d =)")$$'\n'; \
	done; \
	printf '\n%s' "$$lines"; \
	if [ -n "$$failed" ]; then echo "FAILED on:$$failed"; exit 1; fi; \
	echo "All tests passed on: $(BACKENDS)"

test-peers: $(VENV)/.peers $(VENV)/.peers-old
	for backend in $(filter torch tensorflow,$(BACKENDS)); do \
	  KERAS_BACKEND=$$backend $(BIN)/python -m pytest -m peers --slow $(PYTEST_ARGS) $(TESTS); \
	done

test-web: $(VENV)/.web
	KERAS_BACKEND=$(DEMO_BACKEND) $(BIN)/python -m pytest -m browser --durations=10 $(PYTEST_ARGS) tests/browser

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# These tools have an environment of their own, separate from the one that they examine.
$(VENV)/tools: | $(BIN)/python
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check build pip-audit uv

audit: $(VENV)/tools
	$</bin/python requirements/audit.py

pins: $(VENV)/tools
	for one in $(HASHED); do \
	  { grep '^#' requirements/$$one.txt || true; sed '/^#/d; s/ --hash.*//' requirements/$$one.txt \
	    | $</bin/uv pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes --python-version 3.11 - \
	    | sed -z 's/ \\\n  */ /g'; } > $(VENV)/$$one.txt && mv $(VENV)/$$one.txt requirements/$$one.txt; \
	done

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(if $(BACKEND),--backends $(BACKEND)) $(ARGS)

bench-peers: $(VENV)/.peers
	$(BIN)/python -m bench --peers --backends tensorflow native $(ARGS)

zoo: $(VENV)/.zoo
	$(BIN)/python -m zoo $(ARGS)

leaderboard: $(VENV)/.test
	KERAS_BACKEND=$(or $(BACKEND),torch) $(BIN)/python -m tools.leaderboard $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist demo demo-batch results zoo/results.jsonl .leaderboard docs/_made docs/_build
	find src tests bench zoo tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Versions without hashes: this library is installed from a folder, which has no hash.
$(CONSTRAINTS): requirements/pins.txt requirements/torch.txt | $(BIN)/python
	sed 's/ --hash.*//' $^ > $@

# A stamp file marks an installation, which is repeated only when the dependencies change.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-%: $(RECIPE) | $(BIN)/python
	@echo "Installing keras-explainable with $* into $(VENV) (a minute or two, once)"
	$(PIP) --constraint $(CONSTRAINTS) --editable ".[$(subst tensorflow,tensorflow-cpu,$*),viz,cli,web]"
	@touch $@

$(VENV)/.batch-%: $(RECIPE) | $(BIN)/python
	@echo "Installing keras-explainable with $* and Ray into $(VENV) (a minute or two, once)"
	$(PIP) --constraint $(CONSTRAINTS) --editable ".[$(subst tensorflow,tensorflow-cpu,$*),viz,cli,distributed]"
	@touch $@

$(VENV)/.test: $(RECIPE) | $(BIN)/python
	@echo "Installing keras-explainable with $(ALL_BACKENDS) into $(VENV) (a few minutes, once)"
	$(PIP) --require-hashes --no-deps --requirement requirements/pins.txt
	$(PIP) --constraint $(CONSTRAINTS) --no-build-isolation --editable ".[tensorflow-cpu,jax,torch,viz,cli,web,dev]"
	@touch $@

OTHERS_tensorflow := jax|jaxlib|captum
OTHERS_jax := tensorflow-cpu|captum
OTHERS_torch := tensorflow-cpu|jax|jaxlib
$(VENV)/.test-%: $(RECIPE) | $(BIN)/python
	@echo "Installing keras-explainable with $* into $(VENV) (a minute or two, once)"
	grep -vE '^($(OTHERS_$*))==' requirements/pins.txt | $(PIP) --require-hashes --no-deps --requirement /dev/stdin
	$(PIP) --constraint $(CONSTRAINTS) --no-build-isolation --editable ".[$(subst tensorflow,tensorflow-cpu,$*),viz,cli,web]"
	@touch $@

# Without their dependencies, which would change the versions of the frameworks; those that are needed are in the list.
$(VENV)/.peers: requirements/peers.txt $(VENV)/.test
	$(PIP) --require-hashes --no-deps --requirement $< || $(ONE_BY_ONE) < $<
	@touch $@

# Libraries that need an older NumPy have an environment of their own, in which tests start a process. It holds two versions
# of Quantus.
OLD := $(VENV)/peers-old
OLD_PIP := $(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
$(VENV)/.peers-old: requirements/peers_old.txt requirements/peers_older.txt | $(BIN)/python
	rm -rf $(OLD)
	$(PYTHON) -m venv $(OLD) && $(OLD_PIP) --requirement requirements/peers_old.txt \
	  && $(OLD_PIP) --target $(OLD)/older --requirement requirements/peers_older.txt \
	  || { rm -rf $(OLD); echo "The libraries of requirements/peers_old.txt cannot be installed: their tests are skipped"; }
	@touch $@

# torchvision's models run without its compiled operators, for which there is not always a build.
$(VENV)/.bench: requirements/bench.txt $(VENV)/.test
	$(PIP) --require-hashes --no-deps --requirement requirements/bench.txt
	@touch $@

# Tests of S3 are skipped without it.
$(VENV)/.s3: requirements/s3.txt $(TEST_ENVIRONMENT)
	$(PIP) --require-hashes --no-deps --requirement $< || echo "The tests of S3 are skipped"
	@touch $@

$(VENV)/.site: requirements/site.txt $(VENV)/.test
	$(PIP) --require-hashes --no-deps --requirement $<
	@touch $@

# The browser driver. The browser itself must be installed separately.
$(VENV)/.web: requirements/web.txt $(VENV)/.test
	$(PIP) --require-hashes --no-deps --requirement requirements/web.txt
	@touch $@

# In addition to the libraries of the tests; also without dependencies.
$(VENV)/.zoo: requirements/zoo.txt $(VENV)/.peers
	$(ONE_BY_ONE) < $<
	@touch $@
