# What people do with this repository. `make help` lists it.
SHELL := /bin/sh
CARGO ?= cargo
# One line a skipped test: name, test, why. Written by the tests, read by tests/report-skips.
SKIPS := $(CURDIR)/target/skips

.DEFAULT_GOAL := help
.PHONY: help deps build wait-static demo test test-vm bench soak chaos lint lab

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

deps: ## install what is missing (Debian or Ubuntu, as root); nothing when nothing is
	@./deploy/install-deps

build: ## build every program
	$(CARGO) build --workspace --locked

wait-static: ## target/pwwait, the waiter that images copy in: one small file that needs no libraries
	@CARGO="$(CARGO)" ./wait/build-static $(CURDIR)/target

demo: deps build ## two hosts, four containers, two VLANs: who reaches whom; leaves nothing behind
	@target/debug/demo

lab: deps build ## the demo's two hosts and a shell to try things in
	@target/debug/demo --shell

test: deps build wait-static ## every test; says at the end what was skipped
	@rm -f $(SKIPS)
	PIPEWRIGHT_SKIPS=$(SKIPS) $(CARGO) test --workspace --locked --no-fail-fast; status=$$?; \
	./tests/report-skips $(SKIPS) tests/allowed-skips && exit $$status

test-vm: deps build ## the tests that ask the kernel, in a VM with Debian's; VM_TESTS='vlans pwctl' for some
	@./deploy/install-vm-deps $(CURDIR)/target/vm
	@CARGO="$(CARGO)" ./tests/vm/run $(VM_TESTS)

bench: deps ## what the agent adds to what the kernel takes; BENCH_ROWS=attach,ovs for some rows
	$(CARGO) build --release --workspace --locked --bin pwagent --bin pwctl --bin bench
	@target/release/bench

soak: deps ## N=100000 attaches and detaches: descriptors, threads and memory of the agent
	$(CARGO) build --release --workspace --locked --bin pwagent --bin pwctl --bin bench
	@target/release/bench --soak $(or $(N),100000)

chaos: deps build ## N=200 kills of agent, Open vSwitch, dockerd and guests under load; SEED=S for the choices of another run
	@target/debug/chaos

lint: ## format, clippy, documentation, length of files
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p pipewright-wait --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	@./tests/check-length
