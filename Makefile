# Everything that a contributor types. `make help` shows the targets.
#
# `make test` and `make demo` share one profile (Cargo.toml, profile.dev), so that the large
# dependencies are compiled once. CARGO_TARGET_DIR is honoured.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
OUT := $(or $(CARGO_TARGET_DIR),target)

# Number of agents of the demonstration, and how many of them fail.
AGENTS ?= 12
FAIL ?= 0

# Its store: sqlite, or mongodb, for which the server of the tests is started and stopped again.
STORE ?= sqlite

WASM_TARGETS := wasm32-unknown-unknown wasm32-wasip2

# Workspaces apart from the main one: their crates are built for WebAssembly, in a target directory
# that does not follow CARGO_TARGET_DIR: playbooks name the files in it. The guests of the tests share
# that of the examples, so that what both depend on is built once.
WASM_BUILTIN := plugins
WASM_EXAMPLES := examples/plugins/rust
WASM_GUESTS := tests/plugins
WASM_C_TOOL := examples/plugins/c/tool

# The version is fixed, so that a check which passes today passes tomorrow.
DENY_VERSION := 0.20.2
DENY := $(OUT)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

# The MongoDB server of the tests, for this machine and not for this clone: building it takes minutes.
# It is a program of its own, under another licence, that is never linked or shipped. Where its build
# tools are missing, a slower one in Python takes its place. A real one, a replica set, is used when
# REPLIBOOK_TEST_MONGODB has its address.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/replibook/tools
TEST_SERVER := $(TOOLS)/mongodb-test-server
SECANTUS_RS_VERSION := 0.5.3-beta.196
SECANTUS_RS := $(TOOLS)/secantus-mdb-$(SECANTUS_RS_VERSION)
SECANTUS_PY_VERSION := 0.7.0b3
SECANTUS_PY := $(TOOLS)/secantusdb-$(SECANTUS_PY_VERSION)

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 28

.PHONY: demo
demo: rust-plugins $(if $(filter mongodb,$(STORE)),test-server) ## show a whole run over AGENTS=12 agents; FAIL=2 makes two fail, KEEP=1 lets all go on, STORE=mongodb
	$(CARGO) build --locked --bins
	$(if $(filter mongodb,$(STORE)),tests/support/with-mongodb.sh $(TEST_SERVER)) $(OUT)/debug/replibook demo --agents $(AGENTS) --fail $(FAIL) $(if $(KEEP),--keep)

.PHONY: demo-approval
demo-approval: rust-plugins ## show a run that a person approves in its middle; exit codes 6 and 0
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene approval --agents $(AGENTS) --fail $(FAIL) $(if $(KEEP),--keep)

.PHONY: test
test: example-plugins test-server ## build everything and run all tests
	$(CARGO) test --locked --manifest-path $(WASM_BUILTIN)/Cargo.toml -p replibook-plugin-sdk --target-dir $(WASM_BUILTIN)/target
	$(CARGO) test --locked
	$(MAKE) --no-print-directory mutants

# Mistakes that the feature `mutants` can make on purpose, each of which the simulator has to notice.
# Only our own crate is built again for it.
.PHONY: mutants
mutants: ## check that the simulator notices each mistake that is made on purpose
	$(CARGO) test --locked --test simulation --features mutants -- mutants::

.PHONY: check
check: wasm-targets $(DENY) ## formatting, lints, documentation, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO) clippy --test simulation --features mutants --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked
	$(call check-wasm,$(WASM_BUILTIN),wasm32-unknown-unknown,$(WASM_BUILTIN)/target)
	$(call check-wasm,$(WASM_EXAMPLES),wasm32-wasip2,$(WASM_EXAMPLES)/target)
	$(call check-wasm,$(WASM_GUESTS),wasm32-wasip2,$(WASM_EXAMPLES)/target)
	$(call check-wasm,$(WASM_C_TOOL),$(shell rustc -vV | sed -n 's/host: //p'),.tools/c)
	$(DENY) check bans licenses sources

# Formatting, lints and licences of the workspace $(1), which is built for the target $(2) in the
# folder $(3). Not every licence that we allow is in each of the small workspaces.
define check-wasm
	$(CARGO) fmt --manifest-path $(1)/Cargo.toml --all --check
	$(CARGO) clippy --manifest-path $(1)/Cargo.toml --target-dir $(3) --target $(2) --workspace --locked -- -D warnings
	$(DENY) --manifest-path $(1)/Cargo.toml --config deny.toml check --allow license-not-encountered bans licenses sources
endef

# The simulator: `make simulate SEED=7` plays and shows one history, `make simulate SEEDS=100000` so many
# of them. A single one is played by what `make test` has built, many by our code as a release has it.
SEEDS ?= 10000

.PHONY: simulate
simulate: ## play many random histories; SEEDS=100000 says how many, SEED=7 repeats and shows one
ifdef SEED
	REPLIBOOK_SEED=$(SEED) $(CARGO) test --locked --test simulation -- --nocapture nothing_is_lost
else
	REPLIBOOK_SEEDS=$(SEEDS) $(BENCH_ENV) CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=true \
		CARGO_PROFILE_DEV_OVERFLOW_CHECKS=true $(CARGO) test --locked --test simulation -- nothing_is_lost
endif

# The benchmarks, in this order; `make bench BENCHES="commit plan"` runs some of them.
BENCHES ?= activation plan commit fleet restart neighbour simulate replay

# The dependencies of the development profile are built as for a release already. Only our own code
# is built anew, as a release has it, so that nothing large is compiled a second time.
BENCH_ENV := CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false \
	CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false

.PHONY: bench
bench: example-plugins ## measure speed and print tables; BENCHES="commit plan" runs some only
	$(BENCH_ENV) $(CARGO) build --locked --profile dev --bins
	for bench in $(BENCHES); do \
		$(BENCH_ENV) $(CARGO) bench --quiet --locked --profile dev --bench "$$bench"; \
	done

.PHONY: clean
clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf $(WASM_BUILTIN)/target
	$(MAKE) -C examples/plugins clean

.PHONY: example-plugins
example-plugins: wasm-targets ## build the example plugins, in Rust, JavaScript, Python and C
	$(MAKE) --no-print-directory -C examples/plugins -j2

.PHONY: rust-plugins
rust-plugins: wasm-targets ## build those in Rust, which the example playbooks use
	$(MAKE) --no-print-directory -C examples/plugins rust

.PHONY: test-server
test-server: ## install the MongoDB server that tests use, once for this machine
ifndef REPLIBOOK_TEST_MONGODB
	@if [ -x $(SECANTUS_RS)/bin/secantusd-rs ]; then \
		ln -sfn $(SECANTUS_RS)/bin/secantusd-rs $(TEST_SERVER); \
	elif command -v cmake >/dev/null && command -v c++ >/dev/null; then \
		echo "installing a MongoDB server for tests in $(TOOLS); this takes some minutes, once" >&2; \
		$(CARGO) install --locked secantus-mdb --version $(SECANTUS_RS_VERSION) --ignore-rust-version \
			--root $(SECANTUS_RS) --target-dir $(TOOLS)/build; \
		rm -rf $(TOOLS)/build; \
		ln -sfn $(SECANTUS_RS)/bin/secantusd-rs $(TEST_SERVER); \
	elif [ -x $(SECANTUS_PY)/bin/secantusd-py ]; then \
		ln -sfn $(SECANTUS_PY)/bin/secantusd-py $(TEST_SERVER); \
	elif command -v python3 >/dev/null; then \
		echo "found no cmake and c++: installing the slower MongoDB server for tests in $(TOOLS)" >&2; \
		mkdir -p $(TOOLS); \
		python3 -m venv $(SECANTUS_PY); \
		$(SECANTUS_PY)/bin/pip --quiet install secantusdb==$(SECANTUS_PY_VERSION); \
		ln -sfn $(SECANTUS_PY)/bin/secantusd-py $(TEST_SERVER); \
	else \
		echo "found no MongoDB server for tests, and neither cmake with c++ nor python3 to install one." >&2; \
		echo "install cmake and a C++ compiler, or set REPLIBOOK_TEST_MONGODB to a replica set's address." >&2; \
		exit 1; \
	fi
endif

.PHONY: wasm-targets
wasm-targets: ## add the compiler's WebAssembly targets where they are missing
	@for target in $(WASM_TARGETS); do \
		if [ -d "$$(rustc --print target-libdir --target $$target)" ]; then continue; fi; \
		if ! command -v rustup >/dev/null; then \
			echo "found no $$target standard library for $$(rustc --version), and no rustup to add it." >&2; \
			echo "install rustup (https://rustup.rs), or the target with your distribution's tools." >&2; \
			exit 1; \
		fi; \
		if ! rustup target add $$target; then \
			echo "failed to add the target $$target; plugins are built for it. is there a network?" >&2; \
			exit 1; \
		fi; \
	done

$(DENY):
	$(CARGO) install --locked cargo-deny --version $(DENY_VERSION) \
		--root $(OUT)/tools/cargo-deny-$(DENY_VERSION) --target-dir $(OUT)/tools/build
	rm -rf $(OUT)/tools/build
