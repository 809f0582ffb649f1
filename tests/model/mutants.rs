//! The ways in which the core could be wrong that the model has to find, each with the words of what finds it.

/// A way in which the core could be wrong.
pub(crate) struct Mutation {
    pub(crate) what: &'static str,
    /// What is said of it.
    pub(crate) by: &'static str,
    /// The quick configuration that finds it.
    pub(crate) found_in: &'static str,
    /// Each in a file: a text that is there once, and what stands there instead.
    pub(crate) changes: &'static [(&'static str, &'static str, &'static str)],
}

pub(crate) const MUTATIONS: [Mutation; 34] = [
    Mutation {
        what: "an unhealthy check is not heard",
        by: "a pass that judges a canary unhealthy rolls back or freezes",
        found_in: "four steps",
        changes: &[(
            "src/core/guards.rs",
            "(verdict == Verdict::Unhealthy).then(|| {",
            "(verdict == Verdict::Unhealthy && rollout.step > 99).then(|| {",
        )],
    },
    Mutation {
        what: "a rollback waits for the next pass to lower",
        by: "a rollback lowers in the pass that decides it",
        found_in: "four steps",
        changes: &[(
            "src/core/end.rs",
            "        turn.effect(Effect::Lower { percent: 0 });\n        return;",
            "        turn.wake_at(turn.now);\n        return;",
        )],
    },
    Mutation {
        what: "a rollback does not look for production's pods",
        by: "does not send traffic to production without pods",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/end.rs",
            "if reason.spares_traffic() && production_is_gone(turn, rollout) {",
            "if reason.spares_traffic() && turn.seen.draining && production_is_gone(turn, rollout) {",
        )],
    },
    Mutation {
        what: "a route that somebody lowered is not noticed",
        by: "no raise but on a good check of this step",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/guards.rs",
            "    let Some(route) = lowered(&turn.seen.routes, rollout) else {",
            "    let Some(route) = lowered(&[], rollout) else {",
        )],
    },
    Mutation {
        what: "a raise skips a step",
        by: "a raise goes to the next step",
        found_in: "four steps",
        changes: &[(
            "src/core/progress.rs",
            ".find(|weight| *weight > rollout.confirmed)",
            ".filter(|weight| *weight > rollout.confirmed)\n            .last()",
        )],
    },
    Mutation {
        what: "a new step goes on with the old clock",
        by: "no raise before the step was held",
        found_in: "four steps",
        changes: &[(
            "src/core/progress.rs",
            "    rollout.clock = HoldClock::started(turn.now);\n    rollout.verdict = None;",
            "    rollout.clock.run(turn.now);\n    rollout.verdict = None;",
        )],
    },
    Mutation {
        what: "the last hold is not served",
        by: "production's label follows a whole hold at 100",
        found_in: "four steps",
        changes: &[(
            "src/core/progress.rs",
            "        Some(end) => at >= end,",
            "        Some(end) => at >= end || rollout.confirmed == 100,",
        )],
    },
    Mutation {
        what: "a pause keeps nothing from rising",
        by: "no raise while paused",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/blocks.rs",
            "    if progress::is_paused(turn) {\n        return block(\"Paused\", progress::paused_at(rollout), false);\n    }\n",
            "",
        )],
    },
    Mutation {
        what: "capacity is not asked for",
        by: "no raise to pods that are not there",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/blocks.rs",
            "(f64::from(pods) < needed).then(|| Block {",
            "(f64::from(pods) < needed - 1.0).then(|| Block {",
        )],
    },
    Mutation {
        what: "the clock runs on while nothing is known",
        by: "while nothing is known the clock of the hold stands",
        found_in: "four steps",
        changes: &[(
            "src/core/progress.rs",
            "if heed_pause(turn, rollout) || rollout.verdict == Some(Verdict::Unknown) {",
            "if heed_pause(turn, rollout) {",
        )],
    },
    Mutation {
        what: "a pause leaves the clock running",
        by: "no time is held that was unknown, paused or without an operator",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/progress.rs",
            "if heed_pause(turn, rollout) || rollout.verdict == Some(Verdict::Unknown) {",
            "let _ = heed_pause(turn, rollout);\n    if rollout.verdict == Some(Verdict::Unknown) {",
        )],
    },
    Mutation {
        what: "time without an operator counts",
        by: "no time is held that was unknown, paused or without an operator",
        found_in: "killed at any call",
        changes: &[("src/core/decide.rs", "        running.clock.skip(&gaps);\n", "")],
    },
    Mutation {
        what: "unknown is good",
        by: "while nothing is known the clock of the hold stands",
        found_in: "four steps",
        changes: &[(
            "src/core/verdict.rs",
            "                Verdict::Unhealthy\n            } else {\n                Verdict::Unknown\n            }",
            "                Verdict::Unhealthy\n            } else {\n                Verdict::Good\n            }",
        )],
    },
    Mutation {
        what: "unknown is unhealthy",
        by: "no canary is judged by a metric that was never bad",
        found_in: "four steps",
        changes: &[(
            "src/core/verdict.rs",
            "(Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,",
            "(Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unhealthy,",
        )],
    },
    Mutation {
        what: "a canary that was changed is the same",
        by: "what is raised or promoted is what was analysed",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/candidates.rs",
            "(a.uid == b.uid || is_made_again) && is_revision",
            "(a.uid == b.uid || is_made_again)",
        )],
    },
    Mutation {
        what: "a wake-up is forgotten",
        by: "no decided end is reached",
        found_in: "four steps",
        changes: &[(
            "src/core/turn.rs",
            "        if at > self.now {\n            self.wake_at(at);\n        }\n",
            "",
        )],
    },
    Mutation {
        what: "a promotion leaves the weights as they are",
        by: "no decided end is reached",
        found_in: "four steps",
        changes: &[(
            "src/core/promote.rs",
            "        rollout.intended = 0;\n        turn.effect(Effect::Lower { percent: 0 });",
            "        rollout.intended = 0;",
        )],
    },
    Mutation {
        what: "the younger BirdWatch acts as well",
        by: "of two BirdWatches on the same objects the older acts",
        found_in: "two BirdWatches, one goes",
        changes: &[(
            "src/core/rest.rs",
            "if let Some(other) = &turn.seen.conflict {",
            "if let Some(other) = turn.seen.conflict.as_ref().filter(|_| turn.seen.draining) {",
        )],
    },
    Mutation {
        what: "a late raise is taken back whoever wrote it",
        by: "weights that a person has set at rest stay",
        found_in: "a raise comes late, and a hand",
        changes: &[(
            "src/core/late.rs",
            "(late, turn.seen.routes_writer.as_deref())",
            "(late, turn.seen.routes_writer.as_ref().map(|_| OURSELVES))",
        )],
    },
    Mutation {
        what: "a late raise stays",
        by: "no decided end is reached",
        found_in: "a raise comes late, and a hand",
        changes: &[(
            "src/core/late.rs",
            "last.ended.is_none() || !last.raised",
            "last.ended.is_none() || last.raised",
        )],
    },
    Mutation {
        what: "a new step is judged by the last check before it",
        by: "no raise but on a good check of this step",
        found_in: "four steps",
        changes: &[
            (
                "src/core/progress.rs",
                "    rollout.verdict = None;\n    if before == 0 {",
                "    if before == 0 {",
            ),
            (
                "src/core/progress.rs",
                "fn is_served(rollout: &Rollout) -> bool {",
                "fn is_served(turn: &Turn<'_>, rollout: &Rollout) -> bool {",
            ),
            (
                "src/core/progress.rs",
                "        Some(end) => at >= end,",
                "        Some(end) => turn.now.max(at) >= end,",
            ),
            (
                "src/core/progress.rs",
                "!is_served(rollout)",
                "!is_served(turn, rollout)",
            ),
        ],
    },
    Mutation {
        what: "no answer is a baseline",
        by: "no raise without a baseline",
        found_in: "four steps",
        changes: &[(
            "src/core/baseline.rs",
            "Value::Unknown(why) => return Err(why.into()),",
            "Value::Unknown(_) => (0.0, BaselineSource::AssumedZero),",
        )],
    },
    Mutation {
        what: "production keeps its weight",
        by: "both weights change in one write",
        found_in: "four steps",
        changes: &[(
            "src/istio/weights.rs",
            "        operations.push(set(weight_at(route, &route.production), route.total - canary));\n",
            "",
        )],
    },
    Mutation {
        what: "a version label takes the place of all labels",
        by: "nothing that is not ours changes",
        found_in: "four steps",
        changes: &[(
            "src/istio/destination_rule.rs",
            "    if found.labels.is_some() {\n        operations.push(set(",
            "    if found.labels.is_some() && version.is_empty() {\n        operations.push(set(",
        )],
    },
    Mutation {
        what: "a label does not wait for weight 0",
        by: "a subset's label changes only while its weight is 0",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/start.rs",
            "if turn.canary_is_quiet() {",
            "if turn.canary_is_quiet() || !turn.canary_is_at_zero() {",
        )],
    },
    Mutation {
        what: "a raise is not worth a status",
        by: "a raise is announced by a status that says so",
        found_in: "four steps",
        changes: &[(
            "src/core/decide.rs",
            "    if without_readings(old) != without_readings(new) {",
            "    let raises = |rollout: &Rollout| rollout.intended > rollout.confirmed;\n    let raises = new.rollout.as_ref().is_some_and(raises);\n    if !raises && without_readings(old) != without_readings(new) {",
        )],
    },
    Mutation {
        what: "pods that were changed unseen are the same",
        by: "what is raised or promoted is what was analysed",
        found_in: "a late watch, and other pods",
        changes: &[(
            "src/core/candidates.rs",
            "self.candidate().as_ref() == Some(candidate)",
            "self.candidate().is_some_and(|own| own.uid == candidate.uid)",
        )],
    },
    Mutation {
        what: "the older BirdWatch gives way",
        by: "of two BirdWatches on the same objects the older acts",
        found_in: "two BirdWatches, one goes",
        changes: &[(
            "src/controller/index.rs",
            "older.retain(|(age, _)| *age < than);",
            "older.retain(|(age, _)| *age > than);",
        )],
    },
    Mutation {
        what: "a weight at rest is lowered",
        by: "at rest no weight is written",
        found_in: "a raise comes late, and a hand",
        changes: &[(
            "src/core/rest.rs",
            "        wait(turn, resting, WEIGHT_NOT_ZERO, &why);",
            "        turn.effect(Effect::Lower { percent: 0 });\n        wait(turn, resting, WEIGHT_NOT_ZERO, &why);",
        )],
    },
    Mutation {
        what: "what a person adds to the canary stays",
        by: "no decided end is reached",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/guards.rs",
            "    turn.effect(Effect::Lower {\n        percent: rollout.intended,\n    });\n",
            "",
        )],
    },
    Mutation {
        what: "unknown for a moment is as good as bad",
        by: "no canary is judged by a metric that was never bad",
        found_in: "unknown for long is as good as bad",
        changes: &[(
            "src/core/verdict.rs",
            "Span::between(since, at) >= plan.unknown_for",
            "Span::between(since, at) >= Span::ZERO",
        )],
    },
    Mutation {
        what: "a canary whose pods come back goes on where it was taken back",
        by: "an attempt that was taken back is never raised again",
        found_in: "people, once, no verb",
        changes: &[(
            "src/core/end.rs",
            "    conclude(turn, rollout, reason.outcome());\n",
            "    if reason == FailureReason::CanaryUnavailable && canary_pods(turn, rollout) > 0 {\n        (rollout.failure, rollout.step, rollout.confirmed) = (None, 0, 0);\n        turn.enter(Phase::Pending, \"the canary is back\");\n        return;\n    }\n    conclude(turn, rollout, reason.outcome());\n",
        )],
    },
    Mutation {
        what: "a step is looked at once and left",
        by: "no raise before the step was held",
        found_in: "four steps",
        changes: &[(
            "src/core/progress.rs",
            "        Some(end) => at >= end,",
            "        Some(end) => at >= end || rollout.verdict == Some(Verdict::Good),",
        )],
    },
    Mutation {
        what: "a bad canary is spared whose steps were edited",
        by: "the canary keeps its traffic",
        found_in: "people, once, no verb",
        changes: &[
            (
                "src/core/replan.rs",
                "    if *plan == rollout.plan || plan.target != rollout.plan.target {",
                "    if *plan == rollout.plan || plan.target != rollout.plan.target || rollout.confirmed > 0 {",
            ),
            (
                "src/core/guards.rs",
                "(verdict == Verdict::Unhealthy).then(|| {",
                "(verdict == Verdict::Unhealthy && turn.desired.as_ref() == Ok(&rollout.plan)).then(|| {",
            ),
        ],
    },
];
