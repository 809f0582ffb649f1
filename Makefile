# What a person types. Every target says what it does in `make help`.
.DEFAULT_GOAL := help
.PHONY: help demo test valgrind check audit bed soak prove bench generate plots
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

# The longest first: two beds fill two cores, and the image, which builds a release, takes what they leave.
SLOW := image bed_operator bed_promises bed_soak bed_judging bed_chart bed_mesh bed_lives
# Many operators side by side, a short lease, or answers of many MiB: nothing goes on beside them.
ALONE := bed_symptoms bed_leaders bed_crash bed_hostile
BED_TESTS := $(basename $(notdir $(wildcard bed/tests/*.rs)))
TESTS := $(basename $(notdir $(wildcard tests/*.rs))) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs))
QUICK := $(sort $(filter-out $(SLOW) $(ALONE) supply,$(TESTS)))
AT_ONCE ?= 3

# One build for all: what is built for tests, binaries included, is built for nothing else.
test: check valgrind ## Everything: format, lints, docs, generated files, unit tests, tests on the real bed
	cargo test --locked --workspace --no-run
	$${CARGO_TARGET_DIR:-target}/debug/bed build
	cargo test --locked --workspace --lib --bins $(QUICK:%=--test %) --test instructions
	@$(MAKE) --no-print-directory audit
	@$(MAKE) --no-print-directory --jobs=$(AT_ONCE) $(SLOW:%=test-%) test-bed
	@$(MAKE) --no-print-directory $(ALONE:%=test-%)

# Each line says which of those that run side by side wrote it. Cargo keeps its own count of jobs.
test-image: NICE := nice -n 19
test-%: CARGO = $(NICE) env --unset=MAKEFLAGS cargo
$(SLOW:%=test-%) $(ALONE:%=test-%): test-%:
	$(CARGO) test --locked --workspace --test $* 2>&1 | sed -u 's/^/$*: /'
# With one test of the crate itself: without it cargo would build for fewer features, and everything again.
test-bed:
	$(CARGO) test --locked --workspace --test arch $(BED_TESTS:%=--test %) 2>&1 | sed -u 's/^/bed: /'

# It counts the instructions of the hot paths.
valgrind:
	@command -v valgrind >/dev/null || { echo 'test: installing valgrind'; apt-get update -qq && apt-get install -y -qq valgrind; } \
	  || { echo 'test: valgrind is missing, and only root can install it: apt-get install valgrind'; false; }

check: ## Format, lints and docs only
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

# CI does without cargo-deny: it takes four minutes of a processor to build, and of all that deny.toml asks for tests/supply.rs sees to
# licences, bans and sources. What is left are the advisories, whose database is on GitHub: where that cannot be reached nothing fails.
audit: ## Licences, bans, sources and unused crates; with cargo-deny installed advisories too
	cargo test --locked --workspace --test supply
	@if ! cargo deny --version >/dev/null 2>&1; then \
	  echo 'audit: advisories were NOT checked: cargo-deny is not installed (cargo install --locked cargo-deny)'; \
	else \
	  cargo deny --locked check bans licenses sources; \
	  if timeout 60 cargo deny fetch db; then cargo deny --locked check --disable-fetch advisories; \
	  else echo 'audit: advisories were NOT checked: their database cannot be reached'; fi; \
	fi

bed: ## Start the test bed and stay until Ctrl-C (OPERATOR=0: without the operator)
	cargo build --locked --workspace --bins
	$(BED) up $(if $(filter 0,$(OPERATOR)),--no-operator)

# The same seed draws the same; what comes of it depends on the machine, too.
MINUTES ?= 30
soak: ## Releases good and bad, and everything around them disturbed at random (MINUTES=30, SEED=...)
	cargo build --locked --workspace --bins --test bed_soak
	SOAK_MINUTES=$(MINUTES) $(if $(SEED),BIRDWATCH_SEED=$(SEED)) \
	  cargo test --locked --workspace --test bed_soak -- --nocapture --ignored

# What is proved at length; what each part goes through is on docs/proof.md. The model keeps processors busy while crash runs mostly
# wait, so these go side by side; of what comes after, nothing goes beside what is measured.
COMPUTED := model mutations
WAITED := crash manifests
MEASURED := many hostile leaders soak
PROOFS := $(COMPUTED) $(WAITED) $(MEASURED)
IGNORED := -- --nocapture --ignored
# Another one each time, and said; a failure is had again with HOSTILE_SEED=...
FRESH := HOSTILE_SEED=$${HOSTILE_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
prove-model: PROOF = cargo test --locked --profile prove --test model $(IGNORED) every_promise_is_kept_in_the_large
# Ten minutes and 10 GB; not part of `make prove`.
prove-largest: PROOF = cargo test --locked --profile prove --test model $(IGNORED) in_the_largest
prove-mutations: PROOF = cargo test --locked --test model $(IGNORED) every_mutation
prove-many: PROOF = BIRDWATCHES=10000 cargo test --locked --profile prove --test controller_many --test crowd -- --nocapture
HOSTILE = $(FRESH) HOSTILE_INPUTS=20000 cargo test --locked --test hostile -- --nocapture
# Memory is measured where answers are spoiled: nothing else takes any meanwhile.
prove-hostile: PROOF = { $(HOSTILE) --skip answers:: && $(HOSTILE) --test-threads=1 answers::; }
prove-manifests: PROOF = $(FRESH) HOSTILE_MANIFESTS=5000 cargo test --locked --test bed_hostile -- --nocapture
prove-leaders: PROOF = LEADERS_RUNS=5 cargo test --locked --test bed_leaders -- --nocapture --include-ignored
# The API server is what these wait for: it may take more room before it collects its garbage.
prove-crash: PROOF = GOGC=400 BIRDWATCH_RUNS=96 cargo test --locked --profile prove --test bed_crash $(IGNORED) killed_or
prove-soak: PROOF = $(MAKE) --no-print-directory soak MINUTES=6
$(PROOFS:%=prove-%) prove-largest: prove-%:
	@mkdir -p target/proved
	$(PROOF) 2>&1 | tee target/proved/$*.log

# What a part says it proved, also where it stands behind the name of the only test at a time. A part that says nothing ran
# no test.
PROVED := sed -nE 's/^(test .* \.\.\. )?proved: /  /p'
# All of each, whatever part of it was last asked for by name.
WHOLE := env $(addprefix --unset=,ONLY MUTATION BIRDWATCH_ENDS BIRDWATCH_FAULTS)
$(COMPUTED:%=said-%): WHOLE := nice -n 19 $(WHOLE)
said-%:
	@since=$$SECONDS; word=kept; $(WHOLE) $(MAKE) --no-print-directory prove-$* || word=BROKEN; \
	proved=$$($(PROVED) target/proved/$*.log || :); \
	test -n "$$proved" || word='BROKEN, nothing was proved,'; \
	{ echo "prove: $*: $$word in $$((SECONDS - since)) s"; echo "$$proved"; } > target/proved/$*.said
prove: ## Everything that is proved at length, and a line of each part (target/proved has the logs)
	cargo test --locked --workspace --no-run
	cargo test --locked --profile prove --no-run --test model --test bed_crash --test controller_many --test crowd
	@rm -rf target/proved; mkdir -p target/proved; begun=$$SECONDS; \
	$(MAKE) --no-print-directory $(COMPUTED:%=said-%) & $(MAKE) --no-print-directory $(WAITED:%=said-%); wait; \
	$(MAKE) --no-print-directory $(MEASURED:%=said-%); \
	cat $(PROOFS:%=target/proved/%.said); \
	if grep -q BROKEN target/proved/*.said; then end=', and something is BROKEN'; fi; \
	echo "prove: all of it in $$((SECONDS - begun)) s$$end"; test -z "$$end"

# BirdWatch as its image has it, by the image's own build step. What is measured already is not measured again.
ROUNDS ?= 3
BENCH := cargo run --locked --profile prove --package birdwatch-bench --
RELEASED := $${CARGO_TARGET_DIR:-target}/$$(uname -m)-unknown-linux-gnu/release/birdwatch
bench: ## BirdWatch beside Flagger and Argo Rollouts, and docs/performance.md from it (hours; ONLY=..., CONTENDERS=..., ROUNDS=3, ANEW=1)
	sed -n 's/^RUN \(RUSTFLAGS=.*cargo build.*\)/\1/p' Dockerfile | sh -e
	@failed=; $(BENCH) run --birdwatch $(RELEASED) --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(CONTENDERS),--contenders $(CONTENDERS)) $(if $(ANEW),--fresh) || failed=1; \
	$(BENCH) report; test -z "$$failed"

generate: ## Write the files that follow from others: CRD, the chart's copy of it, reference, bill of materials
	BLESS=1 cargo test --locked --test crd --test supply

# A test draws them again by these lines and compares every byte.
SIMULATE := cargo run --quiet --locked --bin birdwatch -- simulate examples/shop.yaml --output svg
plots: ## Draw the plots of the docs again
	$(SIMULATE) --plot evidence --rps 100 --canary-bad 2% --runs 50 --out docs/plots/evidence.svg
	$(SIMULATE) --plot detection --rps 10 --canary-bad 0.5%,2%,5%,20% --runs 400 --out docs/plots/detection.svg
	$(SIMULATE) --plot sight --rps 10 --runs 1 --out docs/plots/sight.svg
