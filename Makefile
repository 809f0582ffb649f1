# What a person types. Every target says what it does in `make help`.
.DEFAULT_GOAL := help
.PHONY: help demo test check bed generate on-package

# `make bed OPERATOR=0` leaves the operator out.
OPERATOR ?= 1
BED := cargo run --quiet --locked --package birdwatch-bed --bin bed --

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## Show a good release promoted and a bad one rolled back, on real parts (about two minutes once built)
	cargo build --locked --workspace --bins
	$(BED) demo

# Tests of the crate by name; those on the bed start real processes.
TESTS := $(basename $(notdir $(wildcard tests/*.rs))) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs))
BEDS := $(sort $(filter bed_%,$(TESTS)))
QUICK := $(sort $(filter-out bed_%,$(TESTS)))

test: check ## Everything: format, lints, docs, generated files, unit tests, tests on the real bed
	cargo build --locked --workspace --bins
	$(BED) build
	cargo test --locked --package birdwatch --lib --bins $(QUICK:%=--test %)
	@$(MAKE) --no-print-directory $(BEDS:%=on-%) on-package

# Real processes on a busy machine: what fails is named and run once more, and fails for good the second time.
on-bed_%:
	cargo test --locked --package birdwatch --test bed_$* || \
	  { echo "bed_$* FAILED ONCE: running it again"; cargo test --locked --package birdwatch --test bed_$*; }

on-package:
	cargo test --locked --package birdwatch-bed || \
	  { echo "birdwatch-bed FAILED ONCE: running it again"; cargo test --locked --package birdwatch-bed; }

check: ## Format, lints and docs only
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

bed: ## Start the test bed and stay until Ctrl-C (OPERATOR=0: without the operator)
	cargo build --locked --workspace --bins
	$(BED) up $(if $(filter 0,$(OPERATOR)),--no-operator)

generate: ## Write the files that follow from the types: CRD, the chart's copy of it, reference
	BLESS=1 cargo test --locked --test crd
