# What a person types. Every target says what it does in `make help`.
.DEFAULT_GOAL := help
.PHONY: help bed

# `make bed OPERATOR=0` leaves the operator out.
OPERATOR ?= 1

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bed: ## Start the test bed and stay until Ctrl-C (OPERATOR=0: without the operator)
	cargo build --package birdwatch-bed --bins
	cargo run --quiet --package birdwatch-bed --bin bed -- up $(if $(filter 0,$(OPERATOR)),--no-operator)
