//! From answers to values: what counts as a number, as a zero, or as nothing known.

use crate::api::plan::ThresholdPlan;
use crate::api::spec::Direction;

use super::line::fit;
use super::observation::{Answer, Outcome, Point, Side};
use super::questions;

/// Series beyond which a query's answer says nothing.
const MOST_SERIES: usize = 100;

/// The most characters of names that a message repeats.
const LONGEST_NAMES: usize = 500;

/// A metric judged by threshold, as it is asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) plan: &'a ThresholdPlan,
}

/// What a metric's answers come to.
pub(super) enum Value {
    Known { points: Vec<Point>, assumed: bool },
    Unknown(String),
}

/// What was answered of a metric and a side.
pub(super) fn answer_of<'a>(asked: Asked<'_>, answers: &'a [Answer], side: Side) -> Option<&'a Answer> {
    answers.iter().find(|a| a.metric == asked.name && a.side == side)
}

/// What an answer says. `before_traffic`: an empty answer of a canary that served nothing counts as an assumed 0.
pub(super) fn value(asked: Asked<'_>, answers: &[Answer], side: Side, before_traffic: bool) -> Value {
    let Some(answer) = answer_of(asked, answers, side) else {
        return Value::Unknown("the query was not asked".to_owned());
    };
    match &answer.outcome {
        Outcome::Failed(why) => Value::Unknown(why.clone()),
        Outcome::Series(points) if points.len() > MOST_SERIES => Value::Unknown(format!(
            "the query answered {} series; at most {MOST_SERIES} are judged",
            points.len()
        )),
        Outcome::Series(points) => per_request(asked.plan, points.clone(), answer),
        Outcome::Empty { unknown_names } => empty(asked.plan, unknown_names, answer, before_traffic),
    }
}

fn per_request(plan: &ThresholdPlan, mut points: Vec<Point>, answer: &Answer) -> Value {
    if plan.per_request {
        match &answer.traffic {
            Some(Ok(rate)) if *rate > 0.0 && rate.is_finite() => {
                for point in &mut points {
                    point.value /= rate;
                }
            }
            Some(Err(why)) => return Value::Unknown(format!("the request rate is unknown: {why}")),
            _ => return Value::Unknown("the version had no requests to divide by".to_owned()),
        }
    }
    Value::Known {
        points,
        assumed: false,
    }
}

/// No result, though there should be one.
pub(super) const NOTHING_MEASURED: &str = "the query has no result, though the version served requests";

fn empty(
    plan: &ThresholdPlan,
    unknown_names: &Result<Vec<String>, String>,
    answer: &Answer,
    before_traffic: bool,
) -> Value {
    let zero = |assumed| Value::Known {
        points: vec![Point {
            labels: String::new(),
            value: 0.0,
        }],
        assumed,
    };
    match unknown_names {
        Err(why) => Value::Unknown(format!(
            "the query has no result, and its names could not be looked up: {why}"
        )),
        Ok(names) if !names.is_empty() => Value::Unknown(format!(
            "no series named {}",
            fit(&names.join(", "), LONGEST_NAMES)
        )),
        Ok(_) => match &answer.traffic {
            Some(Err(why)) => Value::Unknown(format!(
                "the query has no result, and the traffic is unknown: {why}"
            )),
            Some(Ok(rate)) if *rate > 0.0 && questions::is_a_measure(&plan.query) => {
                Value::Unknown(NOTHING_MEASURED.to_owned())
            }
            Some(Ok(rate)) if *rate > 0.0 => zero(false),
            Some(Ok(_)) if before_traffic => zero(true),
            _ => Value::Unknown("the query has no result, and the version served no request".to_owned()),
        },
    }
}

pub(super) fn worst_of<'a>(plan: &ThresholdPlan, points: &'a [Point]) -> Option<&'a Point> {
    if points.iter().any(|p| !p.value.is_finite()) {
        return None;
    }
    let badness = |value: f64| match plan.direction {
        Direction::Increase => value,
        Direction::Decrease => -value,
        Direction::Both => value.abs(),
    };
    points
        .iter()
        .max_by(|a, b| badness(a.value).total_cmp(&badness(b.value)))
}
