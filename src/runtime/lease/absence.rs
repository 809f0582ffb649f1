//! Spans without an operator, and what is common to the lists of several leases. Pure. A list is in order, and no span of it
//! meets the next.

use jiff::Timestamp;

/// How many a lease remembers; beyond it the two that lie closest together become one.
pub(super) const MOST: usize = 32;

/// A span in which no operator is known to have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The last renewal before it.
    pub from: Timestamp,
    /// When the lease was taken again.
    pub to: Timestamp,
}

impl Absence {
    /// Of a lease that was never there nobody knows whether an operator was, ever.
    pub(super) const ALWAYS: Self = Self {
        from: Timestamp::UNIX_EPOCH,
        to: Timestamp::MAX,
    };
}

/// Adds the span before a term. A holder that never renewed does not end the span before it.
pub(super) fn with(mut known: Vec<Absence>, from: Timestamp, to: Timestamp) -> Vec<Absence> {
    match known.last_mut() {
        Some(last) if from <= last.to => last.to = last.to.max(to),
        _ if from < to => known.push(Absence { from, to }),
        _ => {}
    }
    few(known)
}

/// Too many spans: the pair with the least time between them becomes one, so that a little held time is lost, never an absence.
fn few(mut known: Vec<Absence>) -> Vec<Absence> {
    while known.len() > MOST {
        let between = |i: &usize| known[i + 1].from.duration_since(known[*i].to);
        let Some(i) = (0..known.len() - 1).min_by_key(between) else {
            break;
        };
        let next = known.remove(i + 1);
        known[i].to = known[i].to.max(next.to);
    }
    known
}

/// When, by both lists, nobody was there.
pub(super) fn by_both(ours: &[Absence], theirs: &[Absence]) -> Vec<Absence> {
    let common = |one: &Absence, other: &Absence| Absence {
        from: one.from.max(other.from),
        to: one.to.min(other.to),
    };
    let pairs = ours
        .iter()
        .flat_map(|one| theirs.iter().map(move |other| common(one, other)));
    few(joined(pairs.collect()))
}

/// When, by one list or the other, nobody was there.
pub(super) fn by_either(mut ours: Vec<Absence>, theirs: Vec<Absence>) -> Vec<Absence> {
    ours.extend(theirs);
    joined(ours)
}

fn joined(mut all: Vec<Absence>) -> Vec<Absence> {
    all.retain(|span| span.from < span.to);
    all.sort_by_key(|span| span.from);
    let mut apart: Vec<Absence> = Vec::new();
    for span in all {
        match apart.last_mut() {
            Some(before) if span.from <= before.to => before.to = before.to.max(span.to),
            _ => apart.push(span),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn list(spans: &[(i64, i64)]) -> Vec<Absence> {
        let span = |&(from, to): &(i64, i64)| Absence {
            from: at(from),
            to: at(to),
        };
        spans.iter().map(span).collect()
    }

    #[test]
    fn a_clock_that_is_behind_the_last_holders_makes_no_absence() {
        assert_eq!(with(Vec::new(), at(100), at(40)), []);
    }

    #[test]
    fn somebody_was_there_where_one_list_has_no_absence_and_nobody_where_both_have_one() {
        let (ours, theirs) = (list(&[(0, 10), (20, 30)]), list(&[(5, 8), (9, 22), (40, 50)]));
        assert_eq!(by_both(&ours, &theirs), list(&[(5, 8), (9, 10), (20, 22)]));
        assert_eq!(by_either(ours.clone(), theirs), list(&[(0, 30), (40, 50)]));
        assert_eq!(by_both(&ours, &[Absence::ALWAYS]), ours);
        assert_eq!(by_both(&ours, &[]), []);
    }
}
