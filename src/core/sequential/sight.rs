//! What a policy can see, in people's terms, and the nearest policy that sees clearly more. Expectations of a calm
//! service by the planner's formula, not promises: about half of such faults are found sooner, half later.

use std::time::Duration;

use super::planner::{PlannerError, Policy, Step, Traffic};

/// Within this factor of the tolerance there is nothing left to see: what is smaller is tolerated.
const NEAR_TOLERANCE: f64 = 1.1;
/// A policy sees clearly more when its smallest fault is at most this part of the other's.
const CLEARLY: f64 = 0.5;
/// Whoever sees faults of this share, 0.1 %, is not told how to see more.
const FINE: f64 = 0.001;
/// How far a proposal goes, smallest first: a factor of the first weight, of the holds, or by which the excess of the
/// tolerance is divided.
const FACTORS: [f64; 12] = [1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0];
/// No proposal begins with more of the traffic than this, percent: a first step is there to spare people.
const MOST_WEIGHT: f64 = 50.0;
/// No proposal holds a step longer than this.
const LONGEST_HOLD: Duration = Duration::from_hours(24);
/// No proposal tolerates less than this: releases differ a little.
const LEAST_TOLERANCE: f64 = 1.1;

/// One sentence on the smallest fault that `policy` is expected to find within `within` of the first step's start, such as
/// "at 10 requests/s, nothing below 3 % errors is found within 5 minutes"; `noun` is what they are called.
///
/// # Errors
/// A policy or traffic that is none.
pub fn sight(
    policy: &Policy,
    traffic: Traffic,
    within: Duration,
    noun: &str,
) -> Result<String, PlannerError> {
    let smallest = policy.smallest_seen(traffic, within)?;
    let time = period(policy, traffic, within);
    if traffic.requests_per_second <= 0.0 {
        return Ok("without traffic nothing is ever found".to_owned());
    }
    let load = format!("at {}", load(traffic.requests_per_second));
    Ok(match smallest {
        None => format!("{load}, not even a version that fails every request is found {time}"),
        Some(_) if sees_all(policy, traffic, smallest) => {
            let tolerated = percent(policy.tolerated(traffic));
            format!("{load}, every fault beyond the tolerance of {tolerated} {noun} is found {time}")
        }
        Some(smallest) => format!(
            "{load}, nothing below {} {noun} is found {time}",
            percent(smallest)
        ),
    })
}

/// The policy with the smallest change that sees clearly more within `within`: its smallest visible fault is at most half as
/// large, or there is one where there was none. With it, in words, what changes and what that gains. When the holds are made
/// longer, `within` grows with them, as the same part of the rollout. None when there is little more to see (nearly all that is
/// not tolerated, or faults of 0.1 %, are found already), or no such change within reach: less than 30 fold, first weights to 50 %, holds to a day, tolerance down to 1.1.
///
/// # Errors
/// A policy or traffic that is none.
pub fn nearest(
    policy: &Policy,
    traffic: Traffic,
    within: Duration,
    noun: &str,
) -> Result<Option<(Policy, String)>, PlannerError> {
    let now = policy.smallest_seen(traffic, within)?;
    let enough = sees_all(policy, traffic, now) || now.is_some_and(|smallest| smallest <= FINE);
    if traffic.requests_per_second <= 0.0 || enough {
        return Ok(None);
    }
    for factor in FACTORS {
        let proposals = [
            heavier(policy, factor).map(|(other, words)| (other, within, words)),
            longer(policy, traffic, factor).map(|(other, words)| (other, stretched(within, factor), words)),
            stricter(policy, factor).map(|(other, words)| (other, within, words)),
        ];
        for (other, within, words) in proposals.into_iter().flatten() {
            let then = other.smallest_seen(traffic, within)?;
            if let Some(gain) = gain(now, then, noun) {
                let time = period(&other, traffic, within);
                let words = format!("{words}, faults of {gain} are found {time}");
                return Ok(Some((other, words)));
            }
        }
    }
    Ok(None)
}

/// Whether all that is not tolerated is seen, or nearly so.
fn sees_all(policy: &Policy, traffic: Traffic, smallest: Option<f64>) -> bool {
    smallest.is_some_and(|smallest| smallest <= policy.tolerated(traffic) * NEAR_TOLERANCE)
}

/// What is gained, in words; none when that is not clearly more.
fn gain(now: Option<f64>, then: Option<f64>, noun: &str) -> Option<String> {
    let then = then?;
    match now {
        None => Some(format!("{} {noun}", rounded(then, f64::ceil))),
        Some(now) if then <= now * CLEARLY => {
            let (then, now) = (rounded(then, f64::ceil), percent(now));
            Some(format!("{then} {noun} (instead of {now})"))
        }
        Some(_) => None,
    }
}

/// A heavier beginning: whatever step is below the new first weight is raised to it, so that the rollout takes as long.
fn heavier(policy: &Policy, factor: f64) -> Option<(Policy, String)> {
    let first = policy.steps.first()?.weight;
    let weight = (first * factor).ceil();
    if weight > MOST_WEIGHT || first <= 0.0 {
        return None;
    }
    let mut steps: Vec<Step> = Vec::new();
    for step in &policy.steps {
        let raised = step.weight.max(weight);
        match steps.last_mut().filter(|last| last.weight >= raised) {
            Some(last) => last.hold = last.hold.saturating_add(step.hold),
            None => steps.push(Step {
                weight: raised,
                hold: step.hold,
            }),
        }
    }
    let words = format!(
        "with a first weight of {} % instead of {} %",
        short(weight),
        short(first)
    );
    Some((
        Policy {
            steps,
            ..policy.clone()
        },
        words,
    ))
}

/// Longer holds: of what each step is kept now, which may be more than the manifest says.
fn longer(policy: &Policy, traffic: Traffic, factor: f64) -> Option<(Policy, String)> {
    let kept =
        |step: &Step| Duration::try_from_secs_f64(policy.kept(step, traffic).lasts).unwrap_or(Duration::MAX);
    let steps: Vec<Step> = policy
        .steps
        .iter()
        .map(|step| Step {
            weight: step.weight,
            hold: stretched(kept(step), factor),
        })
        .collect();
    if steps.iter().any(|step| step.hold > LONGEST_HOLD) {
        return None;
    }
    let first = policy.steps.first()?;
    let now = if policy.steps.iter().all(|step| kept(step) == step.hold) {
        String::new()
    } else {
        let then = time(stretched(kept(first), factor));
        format!(" as it is kept now ({then} for the first)")
    };
    let words = format!("with every step held {} times as long{now}", short(factor));
    Some((
        Policy {
            steps,
            ..policy.clone()
        },
        words,
    ))
}

fn stretched(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

fn stricter(policy: &Policy, factor: f64) -> Option<(Policy, String)> {
    let tolerance = 1.0 + (policy.tolerance - 1.0) / factor;
    if policy.tolerance <= 1.0 || tolerance < LEAST_TOLERANCE {
        return None;
    }
    let tolerance = (tolerance * 100.0).round() / 100.0;
    let words = format!(
        "with a tolerance of {} instead of {}",
        short(tolerance),
        short(policy.tolerance)
    );
    Some((
        Policy {
            tolerance,
            ..policy.clone()
        },
        words,
    ))
}

/// "10 requests/s".
#[must_use]
pub fn load(requests_per_second: f64) -> String {
    let unit = if (requests_per_second - 1.0).abs() < 1e-9 {
        "request/s"
    } else {
        "requests/s"
    };
    format!("{} {unit}", short(requests_per_second))
}

/// "within 5 minutes", or "within the whole rollout of 20 minutes".
fn period(policy: &Policy, traffic: Traffic, within: Duration) -> String {
    let whole = policy.length(traffic);
    if within >= whole {
        format!("within the whole rollout of {}", time(whole))
    } else {
        format!("within {}", time(within))
    }
}

/// A time in its largest unit that leaves no remainder worth a word.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (count, unit) = match seconds {
        s if s < 120.0 && s % 60.0 > 0.0 || s < 60.0 => (s, "second"),
        s if s < 7200.0 && s % 3600.0 > 0.0 || s < 3600.0 => (s / 60.0, "minute"),
        s => (s / 3600.0, "hour"),
    };
    let count = (count * 10.0).round() / 10.0;
    let plural = if (count - 1.0).abs() < 1e-9 { "" } else { "s" };
    format!("{} {unit}{plural}", short(count))
}

/// A share in percent with two digits, rounded down, so that "nothing below" stays true.
#[must_use]
pub fn percent(share: f64) -> String {
    rounded(share, f64::floor)
}

/// The same, rounded as told: up where something is found.
fn rounded(share: f64, round: fn(f64) -> f64) -> String {
    let value = share * 100.0;
    if value <= 0.0 || !value.is_finite() {
        return "0 %".to_owned();
    }
    let scale = 10.0_f64.powf(1.0 - value.log10().floor());
    let scaled = value * scale;
    // A whole number of digits is not to be moved by rounding errors.
    let near = scaled.round();
    let whole = if (scaled - near).abs() < 1e-6 {
        near
    } else {
        round(scaled)
    };
    format!("{} %", short(whole / scale))
}

/// A number with at most six digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = 10.0_f64.powf(5.0 - value.abs().log10().floor());
    format!("{}", (value * digits).round() / digits)
}

#[cfg(test)]
mod tests;
