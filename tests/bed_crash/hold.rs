//! Whether steps were held: by when weights were sent, which the proxy sees, and not by what status says of it.

use birdwatch_bed::clock;
use birdwatch_bed::parts::proxy::Call;
use jiff::{SignedDuration, Timestamp};

use crate::end::End;

/// What a write moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The canary's weight, to this.
    Weight(i64),
    /// A label of a subset.
    Label,
}

/// A write of weights or labels, and when it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    at: Timestamp,
    what: What,
}

impl Move {
    /// What a call moves, if anything.
    pub(crate) fn of(call: &Call) -> Option<Self> {
        let what = match call.kind().as_str() {
            "patch virtualservices" => What::Weight(canary_weight(call)?),
            "patch destinationrules" => What::Label,
            _ => return None,
        };
        let at = clock::now();
        Some(Self { at, what })
    }
}

/// The weight of the canary that a JSON Patch writes.
fn canary_weight(call: &Call) -> Option<i64> {
    let body = call.json();
    let writes = |operation: &&serde_json::Value| {
        operation["op"] != "test" && operation["path"] == "/spec/http/0/route/1/weight"
    };
    body.as_array()?.iter().find(writes)?["value"].as_i64()
}

/// The steps that were left before their hold was over. A step begins no sooner than its weight is sent for the last time, as
/// who sends it again does not know it done; and what follows it is sent when its hold was served. So no delay on the way can
/// make a whole hold seem short.
pub(crate) fn rushed(end: End, moves: &[Move]) -> Vec<String> {
    let mut rushed = Vec::new();
    let (mut weight, mut since) = (0, None);
    for Move { at, what } in moves {
        let (rises, next) = match what {
            What::Weight(next) => (*next > weight, *next),
            What::Label => (weight == 100, weight),
        };
        if let Some(since) = since.filter(|_| rises && weight > 0) {
            let held = at.duration_since(since);
            if end.hold(weight).is_some_and(|hold| held < hold) {
                rushed.push(format!("{weight} % was held for {held:#} only"));
            }
        }
        if *what != What::Label {
            (weight, since) = (next, Some(*at));
        }
    }
    rushed
}

impl End {
    /// For how long the canary has this weight at least, where nobody asks for what comes next.
    fn hold(self, weight: i64) -> Option<SignedDuration> {
        let waits_for_people = matches!(self, Self::Supersede | Self::Delete);
        (weight < 50 || !waits_for_people).then_some(SignedDuration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64, what: What) -> Move {
        let at = Timestamp::from_millisecond(milliseconds).unwrap();
        Move { at, what }
    }

    #[test]
    fn a_step_that_is_left_too_soon_is_found_and_one_that_is_sent_again_begins_then() {
        let weight = |at_ms, percent| at(at_ms, What::Weight(percent));
        let mut moves = vec![
            at(0, What::Label),
            weight(0, 20),
            weight(10, 20),
            weight(1010, 50),
            weight(2010, 100),
            at(3010, What::Label),
            weight(3020, 0),
        ];
        assert_eq!(rushed(End::Promote, &moves), [""; 0]);
        moves[3] = weight(950, 50);
        moves[5] = at(2990, What::Label);
        let found = rushed(End::Promote, &moves);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("20 % was held for 940ms"), "{found:?}");
        // A person said `promote`.
        moves[4] = weight(1020, 100);
        assert_eq!(rushed(End::Supersede, &moves).len(), 1);
    }

    #[test]
    fn what_is_lowered_is_not_held() {
        let moves = [(0, 20), (5, 0), (10, 20), (1020, 50), (1030, 20)];
        let moves = moves.map(|(ms, percent)| at(ms, What::Weight(percent)));
        assert_eq!(rushed(End::Rollback, &moves), [""; 0]);
    }
}
