//! What production's traffic lets anybody see: whether there is any, and enough of it.

use crate::api::Span;
use crate::api::plan::{Counters, Plan, StepPlan, TestPlan};
use crate::core::number::human;
use crate::core::questions;
use crate::core::sequential::planner::Traffic;
use crate::core::sequential::policy::{self, Timing};

use super::inventory::Inventory;
use super::{Report, codes, proposal};

/// Requests of the canary in a step below which a share of them says little.
const FEW: f64 = 30.0;

pub(super) fn traffic(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let counted = counted(inventory);
    let asked = || {
        report
            .look("traffic", &inventory.traffic)
            .map(|traffic| traffic.requests_per_second)
    };
    let Some(rate) = counted.or_else(asked) else {
        return;
    };
    let object = format!("service {}", plan.target.service);
    if rate <= 0.0 {
        return none(report, plan, &object);
    }
    if let Some(step) = plan.steps.first() {
        let of_canary = rate * f64::from(step.weight) / 100.0;
        let Looked { counted, lost } = looked(plan, step, inventory.timing(), rate);
        let requests = of_canary * counted;
        if requests < FEW {
            let partly = if lost > 0.0 {
                let seconds = counted.round();
                format!(", {seconds} s of which are counted")
            } else {
                String::new()
            };
            report.warning(
                codes::TRAFFIC_LITTLE,
                &object,
                format!(
                    "at {} requests/s the first step ({} % for {}{partly}) gives the canary about {} requests",
                    human(rate),
                    step.weight,
                    step.hold,
                    human(requests.round())
                ),
                "One bad request among so few is a large share, and none among them proves little.",
                format!(
                    "Hold the first step {} or longer, or begin with a higher weight.",
                    Span::secs(seconds_for(FEW / of_canary + lost))
                ),
            );
        }
    }
}

/// The rate by the counters of a sequential metric, whoever counts them.
fn counted(inventory: &Inventory) -> Option<f64> {
    let facts = inventory.counters.iter().flatten();
    let rates = facts.filter_map(|facts| Some(facts.counted.as_ref().ok()?.requests_per_second));
    rates.reduce(f64::max)
}

fn none(report: &mut Report, plan: &Plan, object: &str) {
    let own = proposal::own_traffic(plan).is_some();
    let counts_itself = policy::metrics(plan)
        .any(|(_, test)| matches!(test.counters, Counters::Good { .. } | Counters::Bad { .. }));
    // What Istio does not count is no lack of traffic: that these cannot be counted is said of the counters.
    if counts_itself && !own {
        return;
    }
    let compares = plan
        .metrics
        .iter()
        .any(|metric| matches!(metric.test, TestPlan::Threshold(_)));
    report.warning(
        codes::TRAFFIC_NONE,
        object,
        if own {
            "production served no request in the last minutes, by the query in traffic"
        } else {
            "production served no request in the last minutes that Istio counted"
        },
        "Without traffic nothing is known of a canary: only the first step is taken, and the rollout waits there.",
        match (own, compares) {
            (true, _) => "Release while there is traffic, or send some; else see that the query in traffic counts it.",
            (false, true) => {
                "Release while there is traffic, or send some; of what Istio does not count, give the metric a query in traffic."
            }
            (false, false) => {
                "Release while there is traffic, or send some; what Istio does not count, count yourself, with total and bad."
            }
        },
    );
}

/// How much of a step is looked at, and how much of what it is kept is lost, seconds.
struct Looked {
    counted: f64,
    lost: f64,
}

fn looked(plan: &Plan, step: &StepPlan, timing: Timing, rate: f64) -> Looked {
    let Some((_, test)) = policy::metrics(plan).next() else {
        let hold = step.hold.max(questions::settle(plan, timing.scrape_interval));
        return Looked {
            counted: hold.as_secs_f64(),
            lost: 0.0,
        };
    };
    let policy = policy::kept(policy::of(plan, test), plan, timing, None);
    let traffic = Traffic {
        requests_per_second: rate,
        production_bad: 0.0,
    };
    let first = policy.steps.first();
    let kept = first.map(|step| policy.kept(step, traffic));
    kept.map_or(
        Looked {
            counted: 0.0,
            lost: 0.0,
        },
        |kept| Looked {
            counted: kept.counted,
            lost: kept.lasts - kept.counted,
        },
    )
}

/// Whole seconds, at least one and at most an hour's worth of days.
fn seconds_for(seconds: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 720 hours"
    )]
    let whole = seconds.clamp(1.0, 2_592_000.0).ceil() as u32;
    whole
}
