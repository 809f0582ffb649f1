//! What production's traffic lets anybody see: whether there is any, and enough of it.

use crate::api::plan::Plan;
use crate::core::number::human;

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
        let requests = rate * f64::from(step.weight) / 100.0 * step.hold.as_secs_f64();
        if requests < FEW {
            report.warning(
                codes::TRAFFIC_LITTLE,
                &object,
                format!(
                    "at {} requests/s the first step ({} % for {}) gives the canary about {} requests",
                    human(rate),
                    step.weight,
                    step.hold,
                    human(requests.round())
                ),
                "One bad request among so few is a large share, and none among them proves little.",
                format!(
                    "Hold the first step {} or longer, or begin with a higher weight.",
                    crate::api::Span::secs(seconds_for(FEW / (rate * f64::from(step.weight) / 100.0)))
                ),
            );
        }
    }
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
