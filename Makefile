# On a Debian 12 with Rust: `make demo` to see it, `make test` to check it, `make help` for the rest.

# dev builds in a third of release's time, and the demo waits for disks and guests, not for our code.
PROFILE ?= dev
CARGO_NEXTEST_VERSION := 0.9.143
CARGO_DENY_VERSION := 0.20.2

TOOLS := $(CURDIR)/target/tools
OUT := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
# Debian's nats-server is in /usr/sbin, which a person's PATH leaves out.
export PATH := $(PATH):$(HOME)/.cargo/bin:$(TOOLS)/bin:/usr/sbin

SEEDS ?= 10000
.PHONY: help deps tools guest build test bench simulate bench-boot bench-hostd bench-uos bench-failover faults e2e-box fmt-check doc-test lint licences deny demo \
  fmt clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

demo: build guest ## start a cluster on loopback and show it at work; ONCE=1 ends by itself
	@echo "== demo"
	@exec $(OUT)/chv-demo $(if $(ONCE),--once)

bench: ## the log beside JetStream and etcd, under load: about 10 minutes; QUICK=1 under three
	@deploy/debian/install-deps bench
	@e2e/fetch-nats-server $(TOOLS)/nats
	@echo "== bench: building (release)"
	@cargo build --release -p chv-scheduler -p chv-e2e --bin chv-scheduler --bin chv-bench-log
	@echo "== bench"
	@exec target/release/chv-bench-log $(if $(QUICK),--quick)

bench-boot: build guest ## what a command adds to a hypervisor's own start; fails at 50 ms
	@echo "== bench-boot"
	@exec $(OUT)/chv-bench-boot

bench-hostd: ## what a host's daemon adds to a start, and a thousand VMs on it; ONLY=one, hundred or thousand
	@echo "== bench-hostd: building (release)"
	@cargo build --release -p chv-hostd --bin chv-hostd --example chv-fake-hypervisor
	@echo "== bench-hostd"
	@cargo bench --quiet -p chv-hostd --bench figures -- $(ONLY)

bench-uos: guest ## how long uOS takes until it is ready, beside the least init on the same kernel; fails at a tenth more
	@cargo build -p chv-e2e --bin chv-bench-uos
	@echo "== bench-uos"
	@exec target/debug/chv-bench-uos

bench-failover: build ## how long nobody is answered when the leader is killed under load, 50 times; ROUNDS=n
	@echo "== bench-failover"
	@exec $(OUT)/chv-bench-failover $(if $(ROUNDS),--rounds $(ROUNDS))

faults: deps tools build guest ## the fault rigs in their long form: LONG=minutes of each (10), SEED=number, ONLY=part of a name
	@echo "== faults: $(or $(LONG),10) minutes of each"
	@CHV_FAULTS_MINUTES=$(or $(LONG),10) $(if $(SEED),CHV_FAULTS_SEED=$(SEED)) cargo nextest run --profile faults \
	  -p chv-e2e -E '(binary(power_loss) or binary(faults)) and test(/$(or $(ONLY),.)/)' --success-output immediate

test: deps tools fmt-check licences lint doc-test guest build ## everything: formatting, lints, licences, all tests
	@echo "== test: unit, property and end-to-end tests"
	@.ci/nextest

e2e-box: deps tools build guest ## hosts in boxes alone, with the hypervisors that are at hand (CHV_CLOUD_HYPERVISOR, CHV_FIRECRACKER)
	@echo "== e2e-box"
	@.ci/nextest 'package(chv-e2e) & binary(host_in_a_box)'

simulate: deps ## run SEEDS=10000 seeds of the simulation; BUG=fencing leaves a rule out, FROM=1 is the first seed
	@echo "== simulate"
	@cargo run --release --quiet -p chv-simulation --bin chv-simulate -- --seeds $(SEEDS) --from $(or $(FROM),1) $(if $(BUG),--bug $(BUG))

build: deps ## build every program; PROFILE=release for optimised ones
	@echo "== build ($(PROFILE))"
	@cargo build --workspace --profile $(PROFILE)

guest: deps ## build the guest: Debian's cloud kernel and uOS, in target/guest
	@echo "== guest: kernel and initramfs"
	@deploy/guest/build.sh

deps: ## install what is missing from Debian's packages
	@deploy/debian/install-deps

fmt: ## format the sources
	@cargo fmt --all

lint: deps ## clippy, warnings denied
	@echo "== lint"
	@cargo clippy --workspace --all-targets -- -D warnings

deny: deps tools ## check dependencies: licences, bans, sources and security advisories (needs the internet)
	@echo "== deny"
	@cargo deny check

clean: ## remove everything that was built
	@cargo clean

# The parts of `test`.

fmt-check:
	@echo "== test: formatting"
	@cargo fmt --all --check

licences: tools
	@echo "== test: licences and sources of dependencies"
	@cargo deny check licenses bans sources

doc-test: deps
	@echo "== test: examples in the documentation"
	@cargo test --workspace --doc --quiet

# The tools that are in the PATH serve; others are built once into target/tools, unoptimised, which takes about two
# minutes instead of seven on two cores.
tools: deps
	@command -v cargo-nextest >/dev/null || { echo "== tools: cargo-nextest $(CARGO_NEXTEST_VERSION)"; \
	  $(INSTALL) --no-default-features --features default-no-update cargo-nextest@$(CARGO_NEXTEST_VERSION); }
	@command -v cargo-deny >/dev/null || { echo "== tools: cargo-deny $(CARGO_DENY_VERSION)"; \
	  $(INSTALL) cargo-deny@$(CARGO_DENY_VERSION); }
	@rm -rf $(TOOLS)/build

INSTALL = CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build
