# Two commands do it all: `make demo` shows the operator at work, `make test` checks everything.
# Both install what they need into .venv from uv.lock and start in seconds the second time.

# The first Python that runs, is new enough and has venv; a name on the PATH proves nothing.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
UV_VERSION := $(shell sed -n 's/^ *"uv==\(.*\)",$$/\1/p' pyproject.toml)
UV := UV_PROJECT_ENVIRONMENT=.venv .venv/bin/uv
DEMO_ARGS ?=
SEEDS ?= 10000
SEED ?=
BENCH_ARGS ?= --storm 50 --storm 200 --storm 1000 --slow 50 --kill 50 --limits 50 \
	--index 1000 --index 5000 --notices 50 --record
A ?= benchmarks/results.json
B ?= benchmark.json
SOAK_ARGS ?= --record
IMAGE ?=

.PHONY: help demo test test-quick check cluster bench bench-compare simulate soak format docs site lock manifests release-files clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed, and there is" \
		"none on the PATH. Set PYTHON=/path/to/python3." >&2; exit 1; }
	@echo "Installing into .venv, which is needed once …"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check uv==$(UV_VERSION)

# Not quiet: a download without a sign of life looks like a hang.
.venv/.demo-installed: .venv/bin/uv uv.lock pyproject.toml
	$(UV) sync --frozen --inexact --no-dev --extra demo
	@touch $@

.venv/.test-installed: .venv/bin/uv uv.lock pyproject.toml
	$(UV) sync --quiet --frozen --all-extras
	@touch $@ .venv/.demo-installed

demo: .venv/.demo-installed  ## Watch a Spot storm drain a simulated cluster (DEMO_ARGS="--scenario single")
	@.venv/bin/queue-processor demo $(DEMO_ARGS)

check: .venv/.test-installed  ## Formatter, linter, types and import contracts
	@.venv/bin/python -m tests.parts --without-tests

test: .venv/.test-installed  ## Every check and every test, and how long each part took
	@.venv/bin/python -m tests.parts

test-quick: .venv/.test-installed  ## The checks and the tests of the inner layers, in a minute
	@.venv/bin/python -m tests.parts --quick

cluster: .venv/.test-installed  ## Build the control plane of the cluster tests: ten minutes, once
	@.venv/bin/python -m tests.cluster.assets

bench: cluster  ## Measure storms on a real control plane (BENCH_ARGS="--storm 50")
	.venv/bin/python -m benchmarks $(BENCH_ARGS)

bench-compare: .venv/.test-installed  ## Compare two runs of it (A=benchmarks/results.json B=benchmark.json)
	@.venv/bin/python -m benchmarks.compare $(A) $(B)

soak: cluster  ## Disturb storms on a real control plane (SOAK_ARGS="--campaign clock")
	.venv/bin/python -m benchmarks.soak $(SOAK_ARGS)

simulate: .venv/.test-installed  ## Play random scenarios in virtual time (SEEDS=10000, or SEED=n to print one)
	.venv/bin/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --record)

format: .venv/.test-installed  ## Format and mend what can be mended
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: .venv/.test-installed  ## Write the references that are made from the code
	.venv/bin/python docs/reference.py

site: .venv/.test-installed  ## Build the documentation site in build/site
	@.venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet --conf-dir docs/site --doctree-dir build/doctrees . build/site
	@echo "build/site/index.html"

lock: .venv/bin/uv  ## Lock the dependencies anew
	$(UV) lock
	@for program in awscli checkov ministack; do \
		$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header --output-file tests/infra/$$program.lock tests/infra/$$program.in; done

manifests: .venv/.test-installed  ## Make what is made from the chart and the settings
	.venv/bin/python -m tests.deploy.chart
	.venv/bin/python -m tests.infra.terraform

release-files: .venv/.test-installed  ## Make what a release consists of, in dist/ (IMAGE=repository@sha256:...)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python deploy/release.py files --image "$(IMAGE)"

clean:  ## Remove what the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
