//! What counting has found, in people's terms.

use crate::api::evidence::{Counted, Counts};
use crate::api::plan::{Counters, SequentialPlan};

use crate::core::number::human;
use crate::core::sequential::counters::Unknown;
use crate::core::sequential::counts::Stratum;
use crate::core::sequential::design::Design;

/// A bad share (0 to 1) as people write it, in percent: two decimals, or one digit that says something.
#[must_use]
pub(crate) fn share(share: f64) -> String {
    let percent = 100.0 * share;
    let rounded = if percent >= 0.01 || percent <= 0.0 {
        (100.0 * percent).round() / 100.0
    } else {
        let digit = 10.0_f64.powf(percent.log10().floor());
        (percent / digit).round() * digit
    };
    format!("{} %", human(rounded))
}

/// The natural logarithm of a metric's evidence; none at all where it cannot be read.
pub(crate) fn log(counted: &Counted) -> f64 {
    let design = Design::try_from(counted.design.clone());
    design
        .ok()
        .and_then(|design| counted.evidence.log(&design).ok())
        .unwrap_or(0.0)
}

/// "canary 11 of 1502 bad (0.73 %), production 21 of 24885 (0.08 %); more than 1.5x worse, evidence 393:1"
pub(super) fn metric(name: &str, test: &SequentialPlan, counted: &Counted, alone: bool) -> String {
    let bad = match test.counters {
        Counters::Slow { milliseconds } => {
            let bound = counted.bound.as_ref().and_then(|bound| bound.parse().ok());
            format!("slower than {} ms", human(bound.unwrap_or(milliseconds)))
        }
        _ => "bad".to_owned(),
    };
    let evidence = &counted.evidence;
    let (canary, production) = (of(evidence.canary, &bad), of(evidence.production, ""));
    let says = if alone {
        "; production has no traffic to compare with".to_owned()
    } else if !super::is_compared(counted) {
        "; this step has no requests of both to compare yet".to_owned()
    } else {
        format!("; {}", odds(log(counted), test.tolerance))
    };
    format!("{name}: canary {canary}, production {production}{says}")
}

fn of(counts: Counts, bad: &str) -> String {
    let space = if bad.is_empty() { "" } else { " " };
    let all = format!("{} of {}{space}{bad}", whole(counts.bad), whole(counts.requests));
    match counts.share() {
        Some(part) => format!("{all} ({})", share(part)),
        None => all,
    }
}

fn whole(count: f64) -> String {
    format!("{}", count.round())
}

/// How strong the evidence is for "more than so many times worse".
fn odds(log: f64, tolerance: f64) -> String {
    let times = human(tolerance);
    // Beyond this nobody reads digits.
    let large = 1e6_f64.ln();
    if log >= large {
        format!("more than {times}x worse, evidence over 1000000:1")
    } else if log >= 0.0 {
        format!(
            "more than {times}x worse, evidence {}:1",
            human(log.exp().floor().max(1.0))
        )
    } else if log > -large {
        format!(
            "more than {times}x worse, evidence 1:{}",
            human((-log).exp().floor().max(1.0))
        )
    } else {
        format!("more than {times}x worse, evidence below 1:1000000")
    }
}

/// Why a check says nothing.
pub(super) fn unknown(why: &[Unknown]) -> String {
    let mut texts: Vec<String> = why.iter().take(3).map(ToString::to_string).collect();
    if why.len() > texts.len() {
        texts.push(format!("and {} more", why.len() - texts.len()));
    }
    texts.join("; ")
}

/// What a step still lacks; `part` of it is there, 0 to 1.
pub(super) fn lacking(name: &str, test: &SequentialPlan, step: Stratum, part: f64) -> String {
    let requests = whole(step.canary.requests);
    let fault = share(test.fault);
    if part > 0.01 {
        let needed = whole((step.canary.requests / part).ceil());
        format!(
            "{name}: the canary has had {requests} of about {needed} requests that show a fault of {fault}"
        )
    } else {
        format!("{name}: {requests} requests of the canary in this step say nothing of a fault of {fault}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::evidence::Evidence;

    /// The line that the docs show is what the first of three steps would say.
    #[test]
    fn the_docs_show_a_line_as_it_is_written() {
        let spec = serde_json::from_value(serde_json::json!({"service": "shop"})).unwrap();
        let mut plan = crate::core::plan::resolve(&spec).unwrap();
        let metric_plan = plan.metrics.remove(0);
        let crate::api::plan::TestPlan::Sequential(test) = &metric_plan.test else {
            panic!("{metric_plan:?}");
        };
        let stratum = Stratum {
            canary: Counts {
                requests: 1502.0,
                bad: 11.0,
            },
            production: Counts {
                requests: 24_885.0,
                bad: 21.0,
            },
        };
        let design = Design::new(1.5, 0.01, 1.0, 3).unwrap();
        let mut evidence = Evidence::default();
        evidence.add(&design, 0, &[stratum]).unwrap();
        let counted = Counted {
            reporter: None,
            bound: None,
            design: design.into(),
            share: 1.0,
            evidence,
            judged: None,
            step_canary: stratum.canary,
            step_production: stratum.production,
            requests_per_second: 100.0,
        };
        let line = metric("error-rate", test, &counted, false);
        let docs = include_str!("../../../docs/how-it-decides.md");
        assert!(docs.contains(&line), "{line}");
    }
}
