//! What `slowerThan` says, and what the histogram makes of it.

use crate::api::plan::{Counters, Plan};
use crate::core::number::human;
use crate::core::sequential::policy;

use super::inventory::Inventory;
use super::spec::this;
use super::{Report, codes};

/// Milliseconds above which a bound is mostly one in another unit.
const IMPROBABLE: f64 = 60_000.0;

pub(super) fn bounds(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    for (metric, test) in policy::metrics(plan) {
        let Counters::Slow { milliseconds } = test.counters else {
            continue;
        };
        let object = this(inventory, &format!("metric {}", metric.name));
        if milliseconds > IMPROBABLE {
            improbable(report, &object, milliseconds);
        }
        let facts = inventory.counters.iter().flatten();
        let mut bounds = facts
            .filter(|facts| facts.metric == metric.name)
            .filter_map(|facts| {
                let bound = facts.bound.as_ref()?;
                bound.parse::<f64>().ok()
            });
        if let Some(bound) = bounds.next().filter(|bound| *bound > milliseconds) {
            report.hint(
                codes::BOUND_NEXT,
                &object,
                format!(
                    "slowerThan is {} ms, and the histogram's next bound is {} ms",
                    human(milliseconds),
                    human(bound)
                ),
                "A histogram knows of each request only between which bounds it is: those above the next bound count as slow.",
                format!("Write slowerThan: {}ms, which is what is counted.", human(bound)),
            );
        }
    }
}

fn improbable(report: &mut Report, object: &str, milliseconds: f64) {
    let seconds = human(milliseconds / 1000.0);
    report.warning(
        codes::UNIT,
        object,
        format!("slowerThan is {seconds} s"),
        "Hardly any request takes as long: nothing is ever slow, and no fault is found. A bare number is seconds.",
        format!("Write slowerThan: {seconds}ms if you mean milliseconds."),
    );
}

/// What to do where counters cannot be counted, as their reason has it.
pub(super) fn remedy(why: &str) -> &'static str {
    if why.starts_with("no bound of the histogram") {
        "Write a shorter slowerThan: at most the largest bound (label le) of the histogram, or give the histogram further bounds."
    } else {
        "See that the service has traffic, that Prometheus scrapes what counts it, and that the selectors name its series."
    }
}
