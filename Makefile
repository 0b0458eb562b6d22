# Needs a Python from 3.11 on with pip, and nothing else; PYTHON=... names one.
.DEFAULT_GOAL := help
.PHONY: help env demo test campaign bench gpu-check lint report audit lock clean

unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

# A variable of the environment may be called so for other reasons.
ifneq ($(origin CPU),command line)
CPU :=
endif
CORES ?= all
ARGS ?=
CONFIG ?=
DATA ?=

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  ARGS='...' is handed on to pytest, snakemake or the audit; CORES=N limits the demo;"
	@echo "  CONFIG='--config scale=digits' is laid over config.yaml by the demo and its summary."

env: .venv/.stamp ## build .venv from envs/lock.txt, with CPU=1 without CUDA; does nothing when it is up to date

# An environment that was moved, or whose Python is gone, is built anew even if its stamp is fresh.
ifneq ($(shell grep -qsF "$(CURDIR)/.venv" .venv/bin/activate && .venv/bin/python -I -c '' 2>/dev/null && echo sound),sound)
.PHONY: .venv/.stamp
endif
# So is one with CUDA when CPU=1 asks for one without, or CPU=0 the other way round; what it is stays where neither does.
ifneq ($(CPU),)
ifneq ($(CPU),$(shell cat .venv/.cpu 2>/dev/null || echo 0))
.PHONY: .venv/.stamp
endif
endif
.venv/.stamp: envs/lock.txt envs/bootstrap.txt pyproject.toml
	@sh envs/build.sh env

.venv/.bench-stamp: .venv/.stamp envs/bench-lock.txt
	@sh envs/build.sh bench

demo: env ## run the whole pipeline at the scale of config.yaml, then say what was made and which claims hold
	.venv/bin/snakemake --cores $(CORES) --logger studies --quiet host reason $(CONFIG) $(ARGS)
	@.venv/bin/robust-transfer summary $(CONFIG)

# A file's tests run one after another in one process, files beside each other; the long ones are collected first.
test: env ## run the tests that are quick; ARGS="-m 'not campaign'" runs whole runs and clusters as well, as CI does
	.venv/bin/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder \
	    -m "not campaign and not slow" $(ARGS)

campaign: env ## kill and mistreat it in every way that we know, and count
	.venv/bin/python -m pytest -m campaign $(ARGS)

bench: .venv/.bench-stamp ## measure speed against plain PyTorch and other libraries, and name what is slower than it was
	.venv/bin/python tests/bench/bench.py $(ARGS)

gpu-check: env ## look at everything on this machine's GPU, in under 8 minutes; DATA='source.npz target.npz'
	.venv/bin/python tests/bench/gpu_check.py $(DATA) $(ARGS)

lint: env ## check style, form and types of the Python and Snakemake files
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint

report: env ## write results/report.html: claims, tables, figures, audit and run times in one file for a browser
	.venv/bin/robust-transfer report $(ARGS)

audit: env ## check every result on disk against its card: where each number came from
	.venv/bin/robust-transfer audit $(ARGS)

lock: ## resolve the .in files of envs/ anew into the lock files; UPGRADE=1 moves what they don't pin
	@sh envs/build.sh lock

clean: ## remove the environment and caches; results/ and Snakemake's own records stay
	rm -rf .venv .venv-bootstrap .mypy_cache .pytest_cache .ruff_cache build src/*.egg-info
	find src tests workflow -name __pycache__ -type d -prune -exec rm -rf {} +
