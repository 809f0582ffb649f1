//! The outbox: notices are recorded with the transition they speak of, and leave when their delivery is acknowledged.

use jiff::Timestamp;

use crate::api::spec::Level;
use crate::api::status::{Notice, NoticeKind, Notices, Rollout, Thread};

use super::line::fit;
use super::observation::NoticeAck;

/// Steps, starts and verbs that wait at most; the oldest give way to the latest.
pub const MOST_PASSING: usize = 20;
/// Notices that wait at most. No end and no alarm is lost while something passing waits.
pub const MOST: usize = 60;
/// Threads that are remembered: the present rollout's and those with notices still on their way.
const MOST_THREADS: usize = 3;
/// Longest text of a notice, in characters.
const LONGEST_TEXT: usize = 1500;

impl NoticeKind {
    /// Whether somebody should look.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        !matches!(
            self,
            Self::Started | Self::Step | Self::Promoted | Self::Superseded | Self::Verb
        )
    }

    /// Whether it gives way where too many wait: of what only passes, the next one tells enough.
    const fn passes(self) -> bool {
        matches!(self, Self::Started | Self::Step | Self::Verb)
    }

    /// Whether it tells the end of an attempt.
    const fn is_end(self) -> bool {
        matches!(self, Self::RolledBack | Self::Promoted | Self::Superseded)
    }

    /// The reason of its Event.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Started => "RolloutStarted",
            Self::Step => "WeightConfirmed",
            Self::Unhealthy => "CanaryUnhealthy",
            Self::Frozen => "Frozen",
            Self::RolledBack => "RolledBack",
            Self::Promoted => "Promoted",
            Self::Blind => "Blind",
            Self::Held => "Held",
            Self::Conflict => "Interference",
            Self::ProductionUnavailable => "ProductionUnavailable",
            Self::Superseded => "Superseded",
            Self::SpecInvalid => "SpecInvalid",
            Self::ProductionReverted => "ProductionReverted",
            Self::Verb => "VerbSeen",
        }
    }

    /// The action of its Event.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Started => "StartRollout",
            Self::Step => "SetWeight",
            Self::Unhealthy => "JudgeCanary",
            Self::Frozen => "Freeze",
            Self::RolledBack => "RollBack",
            Self::Promoted => "Promote",
            Self::Blind | Self::Held => "HoldWeight",
            Self::Conflict | Self::ProductionReverted => "Observe",
            Self::ProductionUnavailable => "DelayRollback",
            Self::Superseded => "Supersede",
            Self::SpecInvalid => "ReadSpec",
            Self::Verb => "HearVerb",
        }
    }
}

/// How much people are told: what the plan asks for, and no more than the administrator lets anybody be told.
pub(super) fn level(administrators: Option<Level>, plans: Option<Level>) -> Option<Level> {
    administrators.map(|most| plans.map_or(most, |asked| asked.min(most)))
}

/// What a notice speaks of, and the channel that its plan asks for.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    rollout: &'a str,
    channel: Option<&'a str>,
}

impl<'a> From<&'a Rollout> for Subject<'a> {
    fn from(rollout: &'a Rollout) -> Self {
        Self {
            rollout: &rollout.id,
            channel: rollout.plan.channel.as_deref(),
        }
    }
}

/// Puts a notice into the outbox, where somebody is to be told.
pub(super) fn record(
    notices: &mut Notices,
    subject: Subject<'_>,
    level: Option<Level>,
    kind: NoticeKind,
    text: &str,
    at: Timestamp,
) {
    let wanted = match level {
        None | Some(Level::Off) => false,
        Some(Level::Ends) => kind != NoticeKind::Step,
        Some(Level::Steps) => true,
    };
    if !wanted {
        return;
    }
    let text = fit(text, LONGEST_TEXT).into_owned();
    let notice = Notice {
        id: notices.next,
        rollout: subject.rollout.to_owned(),
        kind,
        text,
        at,
    };
    push(notices, notice);
    open_thread(notices, subject);
}

/// Puts into the outbox what another one, `of`, has from number `since` on: what was decided on a status that was overtaken.
pub fn carry_over(notices: &mut Notices, of: &Notices, since: i64) {
    for notice in of.pending.iter().filter(|notice| notice.id >= since) {
        push(notices, notice.clone());
        let is_its = |thread: &&Thread| thread.rollout == notice.rollout;
        if !notices.threads.iter().any(|thread| is_its(&thread)) {
            notices.threads.extend(of.threads.iter().find(is_its).cloned());
        }
    }
}

/// Appends a notice under its number, or the next one where that is taken.
fn push(notices: &mut Notices, notice: Notice) {
    let id = notices.next.max(notice.id);
    notices.pending.push(Notice { id, ..notice });
    notices.next = id + 1;
    give_way(notices);
}

/// Where one too many waits, the oldest that only passes goes; then the oldest alarm that another like it follows. An end goes when
/// nothing else is left.
fn give_way(notices: &mut Notices) {
    let passing = notices.pending.iter().filter(|n| n.kind.passes()).count();
    if passing <= MOST_PASSING && notices.pending.len() <= MOST {
        return;
    }
    let all = &notices.pending;
    let passing = all.iter().position(|n| n.kind.passes());
    let is_repeated = |(at, one): (usize, &Notice)| {
        let mut later = all[at + 1..].iter();
        !one.kind.is_end() && later.any(|n| n.kind == one.kind && n.rollout == one.rollout)
    };
    let repeated = || all.iter().enumerate().position(is_repeated);
    let alarm = || all.iter().position(|n| !n.kind.is_end());
    let goes = passing.or_else(repeated).or_else(alarm).unwrap_or(0);
    notices.pending.remove(goes);
    notices.lost += 1;
}

fn open_thread(notices: &mut Notices, subject: Subject<'_>) {
    let asked_channel = subject.channel.map(str::to_owned);
    if let Some(known) = notices.threads.iter_mut().find(|t| t.rollout == subject.rollout) {
        known.asked_channel = asked_channel;
        return;
    }
    notices.threads.push(Thread {
        rollout: subject.rollout.to_owned(),
        asked_channel,
        ..Thread::default()
    });
    let waits = |t: &Thread| notices.pending.iter().any(|n| n.rollout == t.rollout);
    while notices.threads.len() > MOST_THREADS
        && let Some(at) = notices.threads.iter().position(|t| !waits(t))
    {
        notices.threads.remove(at);
    }
}

/// What is known of the way to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nothing new.
    Unheard,
    /// The last notice was taken.
    Works,
    /// The last notice was not taken, for this reason.
    Fails(String),
}

/// The thread of the last rollout opens where the spec now asks for: a channel that is mended after the end is still in time. One
/// that stands, of whichever rollout, goes on where it is, unless its channel is gone.
pub(super) fn redirect(notices: &mut Notices, last: Option<&str>, channel: Option<&str>) {
    let may_move = |thread: &&mut Thread| !thread.ts.is_empty() || last == Some(thread.rollout.as_str());
    for thread in notices.threads.iter_mut().filter(may_move) {
        thread.asked_channel = channel.map(str::to_owned);
    }
}

/// Takes in what became of notices. What is said of a rollout that is not known here was said of a namesake.
pub(super) fn acknowledge(notices: &mut Notices, acks: &[NoticeAck]) -> Delivery {
    let is = |notice: &Notice, rollout: &str, id| notice.rollout == rollout && notice.id == id;
    let mut delivery = Delivery::Unheard;
    let threads: Vec<String> = notices.threads.iter().map(|t| t.rollout.clone()).collect();
    for ack in acks
        .iter()
        .filter(|ack| threads.iter().any(|id| id == ack.rollout()))
    {
        match ack {
            NoticeAck::Parent {
                rollout,
                channel,
                opened_in,
                ts,
                text,
            } => {
                if let Some(thread) = notices.threads.iter_mut().find(|t| t.rollout == *rollout) {
                    thread.channel.clone_from(channel);
                    thread.opened_in.clone_from(opened_in);
                    thread.ts.clone_from(ts);
                    thread.shown.clone_from(text);
                }
                delivery = Delivery::Works;
            }
            // Where nothing else waits, nothing is tried any more.
            NoticeAck::ParentRefused { .. } if notices.pending.is_empty() => delivery = Delivery::Works,
            NoticeAck::ParentRefused { .. } => {}
            NoticeAck::Delivered { rollout, id } => {
                notices.pending.retain(|n| !is(n, rollout, *id));
                delivery = Delivery::Works;
            }
            NoticeAck::Refused { rollout, id, reason } => {
                let before = notices.pending.len();
                notices.pending.retain(|n| !is(n, rollout, *id));
                notices.lost += i64::try_from(before - notices.pending.len()).unwrap_or(0);
                delivery = Delivery::Fails(reason.clone());
            }
            NoticeAck::Failing { reason, .. } => delivery = Delivery::Fails(reason.clone()),
        }
    }
    delivery
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const fn of<'a>(rollout: &'a str, channel: Option<&'a str>) -> Subject<'a> {
        Subject { rollout, channel }
    }

    fn delivered(rollout: &str, id: i64) -> NoticeAck {
        NoticeAck::Delivered {
            rollout: rollout.to_owned(),
            id,
        }
    }

    fn with(kinds: &[NoticeKind]) -> Notices {
        let mut notices = Notices::default();
        for kind in kinds {
            record(
                &mut notices,
                of("v2-1", None),
                Some(Level::Steps),
                *kind,
                &format!("{kind:?}"),
                at(1),
            );
        }
        notices
    }

    /// How many of a kind wait.
    fn waiting(notices: &Notices, kind: NoticeKind) -> usize {
        notices.pending.iter().filter(|n| n.kind == kind).count()
    }

    #[test]
    fn a_flood_of_what_passes_keeps_the_latest_of_it_and_every_end_and_alarm() {
        for passing in [NoticeKind::Step, NoticeKind::Started, NoticeKind::Verb] {
            let mut kinds = vec![NoticeKind::Unhealthy, NoticeKind::RolledBack];
            kinds.extend([passing; 70]);
            kinds.push(NoticeKind::Promoted);
            let notices = with(&kinds);
            let latest: Vec<i64> = notices.pending.iter().map(|n| n.id).collect();
            assert_eq!(latest, [0, 1].into_iter().chain(52..=72).collect::<Vec<_>>());
            for kind in [
                NoticeKind::Unhealthy,
                NoticeKind::RolledBack,
                NoticeKind::Promoted,
            ] {
                assert_eq!(waiting(&notices, kind), 1, "{passing:?} pushes out {kind:?}");
            }
            assert_eq!(notices.lost, 50);
        }
    }

    #[test]
    fn no_end_and_no_alarm_is_lost_while_something_waits_that_only_passes() {
        let mut kinds = vec![NoticeKind::RolledBack];
        kinds.extend([NoticeKind::Verb; MOST_PASSING]);
        kinds.extend([NoticeKind::Held; MOST - 1]);
        let notices = with(&kinds);
        assert_eq!(waiting(&notices, NoticeKind::RolledBack), 1);
        assert_eq!(waiting(&notices, NoticeKind::Held), MOST - 1);
        assert_eq!(notices.lost, i64::try_from(MOST_PASSING).unwrap());

        kinds.push(NoticeKind::Verb);
        assert_eq!(
            waiting(&with(&kinds), NoticeKind::Verb),
            0,
            "it is the one to give way"
        );
        kinds.push(NoticeKind::Frozen);
        let notices = with(&kinds);
        assert_eq!(notices.pending.len(), MOST, "something has to go");
        assert_eq!(
            waiting(&notices, NoticeKind::Held),
            MOST - 2,
            "an alarm that others repeat"
        );
        assert_eq!(waiting(&notices, NoticeKind::RolledBack), 1);
    }

    #[test]
    fn the_level_says_what_is_told() {
        for (level, expected) in [
            (None, 0),
            (Some(Level::Off), 0),
            (Some(Level::Ends), 1),
            (Some(Level::Steps), 2),
        ] {
            let mut notices = Notices::default();
            for kind in [NoticeKind::Step, NoticeKind::Promoted] {
                record(&mut notices, of("v2-1", None), level, kind, "", at(1));
            }
            assert_eq!(notices.pending.len(), expected, "{level:?}");
        }
    }

    #[test]
    fn a_plan_is_told_less_than_the_administrator_lets_it_and_never_more() {
        let [off, ends, steps] = [Level::Off, Level::Ends, Level::Steps].map(Some);
        for (most, asked, told) in [
            (steps, None, steps),
            (steps, ends, ends),
            (ends, None, ends),
            (ends, steps, ends),
            (ends, off, off),
            (off, steps, off),
            (None, steps, None),
        ] {
            assert_eq!(level(most, asked), told, "{most:?} {asked:?}");
        }
    }

    #[test]
    fn a_notice_leaves_when_it_is_delivered_and_counts_as_lost_when_it_is_refused() {
        let mut notices = with(&[NoticeKind::Started, NoticeKind::Step, NoticeKind::Promoted]);
        acknowledge(
            &mut notices,
            &[delivered("v2-1", 0), delivered("v2-1", 0), delivered("v2-0", 2)],
        );
        let failing = acknowledge(
            &mut notices,
            &[
                NoticeAck::Refused {
                    rollout: "v2-1".into(),
                    id: 1,
                    reason: "msg_too_long".into(),
                },
                NoticeAck::Failing {
                    rollout: "v2-0".into(),
                    reason: "of a namesake".into(),
                },
            ],
        );
        assert_eq!((notices.pending.len(), notices.lost), (1, 1));
        assert_eq!(failing, Delivery::Fails("msg_too_long".into()));
    }

    #[test]
    fn a_thread_keeps_the_channel_its_rollout_asked_for_last_whatever_a_later_one_asks_for() {
        let mut notices = Notices::default();
        for (rollout, channel) in [("r1", "a"), ("r1", "b"), ("r2", "c")] {
            let subject = of(rollout, Some(channel));
            record(
                &mut notices,
                subject,
                Some(Level::Ends),
                NoticeKind::Started,
                "",
                at(1),
            );
        }
        let asked: Vec<_> = notices
            .threads
            .iter()
            .map(|t| t.asked_channel.as_deref())
            .collect();
        assert_eq!(asked, [Some("b"), Some("c")]);

        (notices.threads[1].ts, notices.threads[1].channel) = ("1.2".into(), "C1".into());
        let asked = |notices: &Notices| -> Vec<Option<String>> {
            let threads = notices.threads.iter();
            threads.map(|thread| thread.asked_channel.clone()).collect()
        };
        // One that has not opened goes where its own rollout asks for; one that stands may have to leave its channel.
        redirect(&mut notices, None, Some("mended"));
        assert_eq!(asked(&notices), [Some("b".to_owned()), Some("mended".to_owned())]);
        redirect(&mut notices, Some("r1"), Some("mended"));
        assert_eq!(
            asked(&notices),
            [Some("mended".to_owned()), Some("mended".to_owned())]
        );
        let stands = &notices.threads[1];
        assert_eq!(
            (stands.channel.as_str(), stands.ts.as_str()),
            ("C1", "1.2"),
            "one that stands goes on where it is"
        );
    }

    #[test]
    fn a_thread_with_something_to_say_outlives_any_number_of_rollouts() {
        let mut notices = Notices::default();
        let tell = |notices: &mut Notices, rollout: &str| {
            let subject = of(rollout, None);
            record(
                notices,
                subject,
                Some(Level::Ends),
                NoticeKind::Started,
                "",
                at(1),
            );
        };
        tell(&mut notices, "first");
        for rollout in ["a", "b", "c", "d"] {
            tell(&mut notices, rollout);
            let last = notices.next - 1;
            acknowledge(&mut notices, &[delivered(rollout, last)]);
        }
        let threads: Vec<_> = notices.threads.iter().map(|t| t.rollout.as_str()).collect();
        assert_eq!(threads, ["first", "c", "d"]);
        assert_eq!((notices.pending.len(), notices.lost), (1, 0));
    }

    #[test]
    fn a_thread_is_remembered_by_its_rollout() {
        let mut notices = with(&[NoticeKind::Started]);
        let ack = NoticeAck::Parent {
            rollout: "v2-1".into(),
            channel: "C1".into(),
            opened_in: Some("deployment".into()),
            ts: "1.2".into(),
            text: "x".into(),
        };
        acknowledge(&mut notices, &[ack]);
        assert_eq!(
            (
                notices.threads[0].channel.as_str(),
                notices.threads[0].ts.as_str()
            ),
            ("C1", "1.2")
        );
        assert_eq!(notices.threads[0].opened_in.as_deref(), Some("deployment"));
    }
}
