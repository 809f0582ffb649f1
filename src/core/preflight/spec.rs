//! What the spec says by itself: its rules, its queries, and how they go with its steps.

use std::collections::BTreeSet;

use crate::api::Span;
use crate::api::plan::{Plan, TestPlan};
use crate::api::spec::{BirdWatchSpec, Settle};
use crate::core::plan::PlanError;
use crate::core::questions;

use super::inventory::Inventory;
use super::{Report, codes, threshold};

/// How many times a step's hold the queries may look back before that is worth a word.
const MUCH_LONGER: f64 = 2.0;

pub(super) fn unreadable(report: &mut Report, inventory: &Inventory, why: &str) {
    unseen(report);
    report.error(
        codes::SPEC_INVALID,
        &this(inventory, ""),
        why,
        "The operator starts nothing with a spec that it cannot read.",
        "Mend the field; docs/reference.md lists them all.",
    );
}

pub(super) fn refused(
    report: &mut Report,
    inventory: &Inventory,
    spec: &BirdWatchSpec,
    problems: &[PlanError],
) {
    unseen(report);
    let queries = bad_queries(spec);
    for PlanError { field, problem } in problems {
        let object = this(inventory, field);
        if queries.contains(&(field.clone(), problem.clone())) {
            report.error(
                codes::QUERY_SYNTAX,
                &object,
                problem,
                "Without a query that can be asked there is no reading, and no traffic moves.",
                "Mend the query; try it in Prometheus's own page, with values in the place of the variables.",
            );
        } else {
            report.error(
                codes::SPEC_INVALID,
                &object,
                problem,
                "The API server refuses such a spec, or the operator starts nothing with it.",
                format!("Mend spec.{field}; docs/reference.md says what it may be."),
            );
        }
    }
}

fn unseen(report: &mut Report) {
    report.unseen("everything else", "it takes a spec that can be used");
}

/// Every query that cannot be used, as its field and what is wrong.
fn bad_queries(spec: &BirdWatchSpec) -> BTreeSet<(String, String)> {
    let small = spec.metric.iter().map(|query| ("metric".to_owned(), query));
    let listed = spec.metrics.iter().flatten().enumerate().flat_map(|(i, metric)| {
        let traffic = metric.traffic.iter();
        let traffic = traffic.map(move |query| (format!("metrics[{i}].traffic"), query));
        let query = metric.query.iter();
        query
            .map(move |query| (format!("metrics[{i}].query"), query))
            .chain(traffic)
    });
    small
        .chain(listed)
        .filter_map(|(field, query)| Some((field, questions::check(query).err()?.to_string())))
        .collect()
}

pub(super) fn plan(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    for metric in &plan.metrics {
        if threshold::grows(metric) {
            report.warning(
                codes::QUERY_GROWS,
                &this(inventory, &format!("metric {}", metric.name)),
                "its query grows with traffic, and canary and production get different shares of it",
                "A canary with a tenth of the traffic has a tenth of the errors of production, however bad it is.",
                "Add `per: request`, or divide the query by all requests of $(version).",
            );
        }
    }
    ranges(report, inventory, plan);
}

fn ranges(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let scrape = inventory.scrape_interval;
    let Some(shortest) = plan.steps.iter().map(|step| step.hold).min() else {
        return;
    };
    for metric in &plan.metrics {
        let TestPlan::Threshold(test) = &metric.test else {
            continue;
        };
        if let Some(name) = threshold::recorded(test).filter(|_| plan.settle == Settle::Auto) {
            report.warning(
                codes::RANGE_UNKNOWN,
                &this(inventory, &format!("metric {}", metric.name)),
                format!("it reads {name}, which a recording rule makes by a range of its own"),
                "How far that looks back cannot be read from the query: a step may be judged by what was before it.",
                "Set `settle` to that range and the rule's interval, or write the expression out.",
            );
        }
        let Some(range) = threshold::range(test, scrape.std()) else {
            continue;
        };
        let range = Span::millis(i64::try_from(range.as_millis()).unwrap_or(i64::MAX));
        let object = this(inventory, &format!("metric {}", metric.name));
        match plan.settle {
            Settle::Fixed(settle) if settle < range => report.warning(
                codes::SETTLE_TOO_SHORT,
                &object,
                format!("the query looks back {range}, and a check may pass {settle} after a change of weight"),
                "The reading that passes a step still contains traffic from before it: a fault is seen a step too late.",
                format!("Leave settle out (auto), make it at least {range}, or shorten the query's range."),
            ),
            Settle::Fixed(_) => {}
            Settle::Auto => {
                let waits = range.plus(scrape);
                if waits.as_secs_f64() > MUCH_LONGER * shortest.as_secs_f64() {
                    report.warning(
                        codes::RANGE_TOO_LONG,
                        &object,
                        format!("the query looks back {range}, and the shortest step is held {shortest}"),
                        "No check passes a step before its query sees that step alone: the rollout takes much longer than its steps say.",
                        format!("Shorten the query's range to about {shortest}, or hold the steps at least {waits}."),
                    );
                }
            }
        }
    }
}

/// The `BirdWatch`, and a place in it.
pub(super) fn this(inventory: &Inventory, place: &str) -> String {
    let name = &inventory.name.name;
    match place {
        "" => format!("BirdWatch {name}"),
        place if place.starts_with("metric ") => format!("BirdWatch {name}, {place}"),
        field => format!("BirdWatch {name}, spec.{field}"),
    }
}
