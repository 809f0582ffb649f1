//! What production's traffic lets anybody see: whether there is any, and enough of it.

use crate::api::Span;
use crate::api::plan::{Plan, StepPlan};
use crate::core::number::human;
use crate::core::questions;
use crate::core::sequential::planner::Traffic;
use crate::core::sequential::policy::{self, Timing};

use super::inventory::Inventory;
use super::{Report, codes};

/// Requests of the canary in a step below which a share of them says little.
const FEW: f64 = 30.0;

pub(super) fn traffic(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let Some(traffic) = report.look("traffic", &inventory.traffic) else {
        return;
    };
    let object = format!("service {}", plan.target.service);
    let rate = traffic.requests_per_second;
    if rate <= 0.0 {
        return report.warning(
            codes::TRAFFIC_NONE,
            &object,
            "production served no request in the last minutes",
            "Without traffic nothing is known of a canary: only the first step is taken, and the rollout waits there.",
            "Release while there is traffic, or send some; a workload that is not HTTP needs metrics[].traffic.",
        );
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
