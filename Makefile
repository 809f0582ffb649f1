# What a person types. Every target says what it does in `make help`.
.DEFAULT_GOAL := help
.PHONY: help demo test check bed generate
SHELL := bash
.SHELLFLAGS := -o pipefail -ec

# `make bed OPERATOR=0` leaves the operator out.
OPERATOR ?= 1
BED := cargo run --quiet --locked --package birdwatch-bed --bin bed --

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## Show a good release promoted and a bad one rolled back, on real parts (about two minutes once built)
	cargo build --locked --workspace --bins
	$(BED) demo

# Tests of the crate by name; those on the bed start real processes, the image builds a release.
TESTS := $(basename $(notdir $(wildcard tests/*.rs))) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs))
SLOW := image $(sort $(filter bed_%,$(TESTS)))
QUICK := $(sort $(filter-out $(SLOW),$(TESTS)))
# Two beds fill two cores; the image takes what they leave.
AT_ONCE ?= 3

test: check ## Everything: format, lints, docs, generated files, unit tests, tests on the real bed
	cargo build --locked --workspace --bins
	$(BED) build
	cargo test --locked --workspace --no-run
	cargo test --locked --package birdwatch --lib --bins $(QUICK:%=--test %)
	@$(MAKE) --no-print-directory --jobs=$(AT_ONCE) $(SLOW:%=test-%) test-package-birdwatch-bed

# Each line says which of those that run side by side wrote it.
test-image: NICE := nice -n 19
$(SLOW:%=test-%): test-%:
	$(NICE) cargo test --locked --package birdwatch --test $* 2>&1 | sed -u 's/^/$*: /'
test-package-%:
	cargo test --locked --package $* 2>&1 | sed -u 's/^/$*: /'

check: ## Format, lints and docs only
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

bed: ## Start the test bed and stay until Ctrl-C (OPERATOR=0: without the operator)
	cargo build --locked --workspace --bins
	$(BED) up $(if $(filter 0,$(OPERATOR)),--no-operator)

generate: ## Write the files that follow from the types: CRD, the chart's copy of it, reference
	BLESS=1 cargo test --locked --test crd
