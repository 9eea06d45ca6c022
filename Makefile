# Two commands do everything; each makes the virtual environment if it is missing.
#   make notebooks   run the whole numbered series headless, report under build/series
#   make test        unit tests, then nbval over the committed notebooks
# Needs make and Python >= 3.11. Choose another one with PYTHON=python3.12.

PYTHON  ?= python3
VENV    ?= .venv
PROFILE ?= ci
ARGS    ?=
# unit tests at a time; the tests and the models are small, so one thread each
JOBS    ?= 2

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN   := $(BIN)/python -m

# the kernel named python3 is this environment's own, whatever the user has registered
export JUPYTER_PREFER_ENV_PATH := 1
unexport JUPYTER_PATH PYTHONHOME

.PHONY: notebooks test unit exercises nbval lint install clean

notebooks: $(STAMP)
	$(RUN) novakit series --profile $(PROFILE) $(ARGS)

# all three parts run, whichever fails
test: $(STAMP)
	@$(MAKE) --no-print-directory --keep-going unit exercises nbval

unit: $(STAMP)
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(RUN) pytest tests -m 'not notebook' -n $(JOBS) --dist loadfile

# each exercise: the stub does not pass its check, the solution does
exercises: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) pytest tests/test_notebooks.py -m notebook -n $(JOBS)

# in order and one at a time, as a student runs them; artefacts go to a folder of their own
nbval: $(STAMP)
	rm -rf build/nbval
	NOVAKIT_BUILD='$(CURDIR)/build/nbval' $(RUN) pytest --nbval-lax notebooks

lint: $(STAMP)
	$(RUN) ruff check .

install: $(STAMP)

# torch first: the rest then finds the pinned build and does not fetch another
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is missing or older than 3.11; try make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c pass 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo 'installing into $(VENV): about 2 GB, some minutes the first time'
	@$(RUN) pip install --disable-pip-version-check -q -c constraints.txt torch
	@$(RUN) pip install --disable-pip-version-check -q -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf build
