# Everything that a contributor types. `make help` shows the targets.
#
# `make test` and `make demo` share one profile (Cargo.toml, profile.dev), so that wasmtime
# is compiled once; tokio and what needs it is twice, since tests pause time. CARGO_TARGET_DIR is honoured.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
OUT := $(or $(CARGO_TARGET_DIR),target)

# Number of agents of the demonstrations, and how many of them fail.
AGENTS ?= 12
FAIL ?= 0
DEMO_ARGS = --agents $(AGENTS) --fail $(FAIL) $(if $(KEEP),--keep) $(if $(EXPORT),--export '$(EXPORT)')

# Its store, and that of the benchmarks: sqlite, or mongodb, for which the server of the tests is
# started and stopped again.
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

# Spelling: a program from PyPI, which is quicker to have than to build.
TYPOS_VERSION := 1.52.0
TYPOS := .tools/typos-$(TYPOS_VERSION)/bin/typos

# The MongoDB server of the tests, for this machine and not for this clone: building it takes minutes.
# It is a program of its own, under another licence (GPL), that is never linked or shipped. It needs
# cmake, which comes from PyPI where it is missing, and a C++ compiler. When REPLIBOOK_TEST_MONGODB has the
# address of a real one, a replica set, only tests that start, stop or break their server use this one.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/replibook/tools
TEST_SERVER := $(TOOLS)/mongodb-test-server
SECANTUS_VERSION := 0.5.3-beta.196
SECANTUS := $(TOOLS)/secantus-mdb-$(SECANTUS_VERSION)/bin/secantusd-rs
# The last version that still takes build files written for the first ones.
CMAKE_VERSION := 3.31.10

# The path of a program; empty where there is none.
program = $(shell command -v $(1) 2>/dev/null)
CMAKE := $(or $(call program,cmake),$(if $(call program,python3),$(TOOLS)/cmake-$(CMAKE_VERSION)/bin/cmake))

# Installs $(1) into an environment of its own, in which the target is a program.
from-pypi = python3 -m venv $(dir $(@D)) && $(@D)/pip --quiet install $(1)

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 28

# Runs what follows with a MongoDB server where that is the store.
ON_MONGODB = $(if $(filter mongodb,$(STORE)),tests/support/with-mongodb.sh $(TEST_SERVER))

.PHONY: demo
demo: rust-plugins $(if $(filter mongodb,$(STORE)),test-server) ## show a whole run over AGENTS=12 agents; FAIL=2 makes two fail, KEEP=1 lets all go on, EXPORT=FILE writes the run to a file, STORE=mongodb
	$(CARGO) build --locked --bins
	$(ON_MONGODB) $(OUT)/debug/replibook demo $(DEMO_ARGS)

.PHONY: demo-approval
demo-approval: rust-plugins ## show a run that a person approves in its middle; exit codes 6 and 0
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene approval $(DEMO_ARGS)

.PHONY: demo-canary
demo-canary: wasm-targets ## show a canary that is watched, and growing batches after it
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene canary $(DEMO_ARGS)

.PHONY: demo-membership
demo-membership: wasm-targets ## show a cluster that a platform tells of; one agent joins and one leaves in the middle
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene membership $(DEMO_ARGS)

.PHONY: demo-ha
demo-ha: rust-plugins test-server ## show three engines on one MongoDB: one is killed and one drained in the middle of three runs
	$(CARGO) build --locked --bins
	tests/support/with-mongodb.sh $(TEST_SERVER) $(OUT)/debug/replibook demo --scene ha --agents $(AGENTS)

.PHONY: demo-registry
demo-registry: rust-plugins test-registry minisign ## show plugins that are signed, pushed to a registry and run under a policy; a wrong signature is refused
	$(CARGO) build --locked --bins
	PATH="$(TOOLS):$$PATH" $(OUT)/debug/replibook demo --scene registry $(DEMO_ARGS)

.PHONY: demo-guard
demo-guard: rust-plugins ## show a strategy that starts everybody at once, and a guard of the cluster that lets one zone go at a time
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene guard $(DEMO_ARGS)

.PHONY: demo-secure
demo-secure: rust-plugins ## show TLS on all sides, tokens with three roles, a run that two people approve, and the audit of what was refused
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene secure $(DEMO_ARGS)

.PHONY: demo-ssh
demo-ssh: wasm-targets test-nodes ## show nodes behind SSH: an inventory of Ansible is imported, a script goes over them, one fails; exit code 5
	$(CARGO) build --locked --bins
	$(OUT)/debug/replibook demo --scene ssh --agents $(AGENTS) --fail $(or $(filter-out 0,$(FAIL)),1) $(if $(KEEP),--keep) $(if $(EXPORT),--export '$(EXPORT)')

.PHONY: test
test: example-plugins test-server test-registry test-nodes test-issuer schemathesis minisign ## build everything and run all tests
	$(CARGO) test --locked --manifest-path $(WASM_BUILTIN)/Cargo.toml -p replibook-plugin-sdk --target-dir $(WASM_BUILTIN)/target
	$(CARGO) test --locked --workspace --exclude replibook-simulation
	$(MAKE) --no-print-directory mutants

# The simulator, and mistakes that the feature `mutants` can make on purpose, each of which it has to notice. Our own
# crates are built again for it, optimised and with their assertions: that takes less time than it saves. With the
# whole workspace chosen, what they depend on stays as it is.
SIMULATION := --locked --workspace --test simulation

.PHONY: mutants
mutants: ## play random histories, and check that each mistake that is made on purpose is noticed
	CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_INCREMENTAL=0 $(CARGO) test $(SIMULATION) \
		--features replibook-simulation/mutants

.PHONY: check
check: wasm-targets $(DENY) $(TYPOS) ## formatting, spelling, lints, documentation, licences
	$(TYPOS)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@# What is shipped has no dev-dependencies, and so no faults.
	$(CARGO) clippy --locked --lib --bins -- -D warnings
	$(CARGO) clippy $(SIMULATION) --features replibook-simulation/mutants -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
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
# of them, from 0 or from FROM on, until one or so many FAILURES fail. Many are played by our code as a release has it.
SEEDS ?= 10000
FROM ?= 0
FAILURES ?= 1

.PHONY: simulate
simulate: ## play many random histories; SEEDS=100000 says how many, SEED=7 repeats and shows one
ifdef SEED
	REPLIBOOK_SEED=$(SEED) $(CARGO) test $(SIMULATION) -- --nocapture nothing_is_lost
else
	REPLIBOOK_SEEDS=$(SEEDS) REPLIBOOK_SEED_FROM=$(FROM) REPLIBOOK_FAILURES=$(FAILURES) \
		$(BENCH_ENV) CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=true \
		CARGO_PROFILE_DEV_OVERFLOW_CHECKS=true $(CARGO) test $(BENCH_CONFIG) $(SIMULATION) -- nothing_is_lost
endif

# The benchmarks, in this order; `make bench BENCHES="commit plan"` runs some of them.
BENCHES ?= activation plan commit fleet restart neighbour http access simulate replay prove

# Most dependencies of the development profile are built as for a release already. Our own code is built anew, as a
# release has it, and so are the dependencies that benchmarks run and tests hardly do; nothing very large is compiled a
# second time. The programs are the build of the tests (Cargo has the dev-dependencies in benchmarks).
BENCH_ENV := CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false \
	CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false CARGO_PROFILE_DEV_CODEGEN_UNITS=16 CARGO_INCREMENTAL=0
BENCH_CONFIG := $(foreach crate,axum bson jsonschema mongodb reqwest rustls tar wasmtime-wasi, \
	--config profile.dev.package.$(crate).opt-level=2)

.PHONY: bench
bench: example-plugins $(if $(filter mongodb,$(STORE)),test-server) ## measure speed and print tables; BENCHES="commit plan" runs some only, STORE=mongodb beside SQLite
	$(BENCH_ENV) $(CARGO) bench --no-run $(BENCH_CONFIG) --locked --profile dev $(addprefix --bench ,$(BENCHES))
	for bench in $(BENCHES); do \
		$(BENCH_ENV) $(ON_MONGODB) $(CARGO) bench --quiet $(BENCH_CONFIG) --locked --profile dev --bench "$$bench"; \
	done

# How a gateway compares with Ansible and with bare ssh, over one sshd on loopback. `HOSTS="50 200"` says how many hosts, FORKS
# how many at a time, ROUNDS how often, ONLY="ssh ansible replibook" who. PROGRAMS names a folder with both programs, which
# are otherwise built as those of the benchmarks are.
.PHONY: bench-peers
bench-peers: ansible test-nodes $(if $(PROGRAMS),,wasm-targets) ## measure a gateway beside Ansible and bare ssh; HOSTS=50 says how many hosts
	$(if $(PROGRAMS),,$(BENCH_ENV) $(CARGO) build $(BENCH_CONFIG) --locked --bins)
	@HOSTS='$(or $(HOSTS),50 200)' PROGRAMS='$(or $(PROGRAMS),$(OUT)/debug)' ANSIBLE='$(dir $(ANSIBLE))' python3 benches/peers/peers.py
	@PROGRAMS='$(or $(PROGRAMS),$(OUT)/debug)' python3 benches/peers/memory.py

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
test-server: $(SECANTUS) ## install the MongoDB server that tests use, once for this machine
	@ln -sfn $(SECANTUS) $(TEST_SERVER)

# Its licence stays with it: the program is started by tests, and nothing of it is linked.
$(SECANTUS): | $(CMAKE)
	@if [ -z "$(CMAKE)" ] || ! command -v c++ >/dev/null; then \
		echo "found no C++ compiler, or neither cmake nor python3 to get it with. $(TEST_SERVER_HINT)" >&2; \
		exit 1; \
	fi
	@echo "building a MongoDB server for tests in $(TOOLS); this takes some minutes, once" >&2
	@# Its own profile optimises all crates as one, which takes minutes and gains tests nothing.
	@CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		PATH="$(dir $(CMAKE)):$$PATH" $(CARGO) install --locked secantus-mdb --version $(SECANTUS_VERSION) \
		--ignore-rust-version --root $(TOOLS)/secantus-mdb-$(SECANTUS_VERSION) \
		--target-dir $(TOOLS)/build \
		|| { echo "failed to build the MongoDB server for tests. $(TEST_SERVER_HINT)" >&2; exit 1; }
	@rm -rf $(TOOLS)/build

$(TOOLS)/cmake-$(CMAKE_VERSION)/bin/cmake:
	@$(call from-pypi,cmake==$(CMAKE_VERSION)) \
		|| { echo "failed to install cmake $(CMAKE_VERSION) from PyPI. $(TEST_SERVER_HINT)" >&2; exit 1; }

TEST_SERVER_HINT := expected a C++ compiler, and cmake or python3 with venv (on Debian: apt install g++ \
	python3-venv)

# What the tests of registries use: a registry, and a client of others. Both are programs of Debian.
REGISTRY_PROGRAMS := docker-registry skopeo

.PHONY: test-registry
test-registry: ## install the registry that tests use, where it is missing
	@missing=""; for program in $(REGISTRY_PROGRAMS); do \
		command -v "$$program" >/dev/null || missing="$$missing $$program"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "found no$$missing, which the tests of registries need; install them with your distribution's tools" >&2; \
		exit 1; \
	fi; \
	root=""; [ "$$(id -u)" = 0 ] || root=sudo; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing >&2

# What the tests of the gateway use: a server of SSH, and the shells that nodes have. All of it is Debian's.
.PHONY: test-nodes
test-nodes: ## install the SSH server and the shells that tests of the gateway use, where they are missing
	@missing=""; \
	command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || missing="$$missing openssh-server"; \
	command -v ssh >/dev/null || missing="$$missing openssh-client"; \
	for program in bash busybox dash; do command -v "$$program" >/dev/null || missing="$$missing $$program"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "found no$$missing, which the tests of the gateway need; install them with your distribution's tools" >&2; \
		exit 1; \
	fi; \
	root=""; [ "$$(id -u)" = 0 ] || root=sudo; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing >&2

# An issuer of OpenID Connect, which tests log in at: a library of npm on Node, and a few lines over it.
ISSUER := .tools/issuer/installed

.PHONY: test-issuer
test-issuer: $(ISSUER) ## install the issuer of OpenID Connect that tests use, from npm

$(ISSUER): $(addprefix tests/support/oidc/,package.json package-lock.json issuer.js)
	@command -v node npm >/dev/null || { echo "found no node or npm, which the tests of logins need (Node 20 or later)" >&2; exit 1; }
	@mkdir -p $(@D) && cp $^ $(@D)
	@cd $(@D) && npm ci --no-audit --no-fund --loglevel=error >&2 \
		|| { echo "failed to install the packages of tests/support/oidc/package-lock.json; is the registry of npm reachable?" >&2; exit 1; }
	@touch $@

# Makes requests of the description of the API, and checks the answers. All that it needs has fixed versions.
SCHEMATHESIS := .tools/schemathesis/installed

.PHONY: schemathesis
schemathesis: $(SCHEMATHESIS) ## install Schemathesis, which tests ask the API with, from PyPI

$(SCHEMATHESIS): tests/openapi/requirements.txt
	@command -v python3 >/dev/null || { echo "found no python3 with venv, which the tests of the API need (on Debian: apt install python3-venv)" >&2; exit 1; }
	@rm -rf $(@D) && python3 -m venv $(@D) && $(@D)/bin/pip --quiet install --no-deps --requirement $< \
		|| { echo "failed to install the packages of $< from PyPI; is it reachable, and python3 3.10 or later?" >&2; exit 1; }
	@touch $@

# Ansible, which a benchmark compares with; its dependencies have fixed versions, too.
ANSIBLE := .tools/ansible/bin/ansible-playbook

.PHONY: ansible
ansible: $(ANSIBLE) ## install Ansible, which a benchmark compares with, from PyPI

$(ANSIBLE): benches/peers/requirements.txt
	@command -v python3 >/dev/null || { echo "found no python3 with venv, which Ansible needs (on Debian: apt install python3-venv)" >&2; exit 1; }
	@rm -rf .tools/ansible && python3 -m venv .tools/ansible && .tools/ansible/bin/pip --quiet install --no-deps --requirement $< \
		|| { echo "failed to install the packages of $< from PyPI; is it reachable, and python3 3.11 or later?" >&2; exit 1; }
	@touch $@

# Signs plugins in tests. It is put into the user's cache folder, with the library that it needs, so that nobody has to be
# root. Its licence (ISC) is that of the library.
MINISIGN := $(TOOLS)/minisign

.PHONY: minisign
minisign: $(if $(call program,minisign),,$(MINISIGN)) ## get minisign from Debian, once for this machine, where it is missing

$(MINISIGN):
	@command -v apt-get dpkg >/dev/null || { echo "found neither minisign nor apt-get to get it with; expected minisign 0.11 or later in PATH" >&2; exit 1; }
	@rm -rf $(TOOLS)/minisign-debian && mkdir -p $(TOOLS)/minisign-debian
	@cd $(TOOLS)/minisign-debian && apt-get download --quiet minisign libsodium23 \
		&& for package in *.deb; do dpkg -x "$$package" .; done \
		|| { echo "failed to get minisign from Debian (apt-get download minisign libsodium23)" >&2; exit 1; }
	@libraries="$$(dirname "$$(find $(TOOLS)/minisign-debian -name 'libsodium.so.*' | head -n 1)")"; \
		printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$$@"\n' "$$libraries" \
		$(TOOLS)/minisign-debian/usr/bin/minisign > $@
	@chmod +x $@

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

$(TYPOS):
	@command -v python3 >/dev/null || { echo "found no python3 with venv, which the check of spelling needs (on Debian: apt install python3-venv)" >&2; exit 1; }
	@$(call from-pypi,typos==$(TYPOS_VERSION)) \
		|| { echo "failed to install typos $(TYPOS_VERSION) from PyPI; is it reachable?" >&2; exit 1; }

$(DENY):
	@# It runs for seconds, and takes minutes less to build like this.
	$(CARGO) install --debug --locked cargo-deny --version $(DENY_VERSION) \
		--root $(OUT)/tools/cargo-deny-$(DENY_VERSION) --target-dir $(OUT)/tools/build
	rm -rf $(OUT)/tools/build
