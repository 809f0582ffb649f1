//! One decision in the making: what is seen, the status to come, and what to do. It decides nothing by itself.

use jiff::Timestamp;

use crate::api::conditions::{self, ConditionType};
use crate::api::plan::Plan;
use crate::api::status::{NoticeKind, Phase, Rollout};
use crate::api::{BirdWatchSpec, BirdWatchStatus, Span};

use super::decision::{CheckRequest, Decision, Effect, Event};
use super::line::{LONGEST, fit};
use super::notices;
use super::observation::Observation;
use super::plan;

pub(super) struct Turn<'a> {
    pub(super) seen: &'a Observation,
    /// What the spec asks for, or what is wrong with it.
    pub(super) desired: Result<Plan, String>,
    pub(super) now: Timestamp,
    /// The status to come. Its rollout is taken out while phases work on it.
    pub(super) next: BirdWatchStatus,
    pub(super) effects: Vec<Effect>,
    pub(super) check: Option<CheckRequest>,
    pub(super) wake: Option<Timestamp>,
    pub(super) events: Vec<Event>,
}

pub(super) fn desired(spec: &Result<BirdWatchSpec, String>) -> Result<Plan, String> {
    let spec = spec.as_ref().map_err(Clone::clone)?;
    plan::resolve(spec).map_err(|problems| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    })
}

/// What has begun to hold again for the same reason is news after this time.
const NEWS_AGAIN_AFTER: Span = Span::secs(600);

/// Kubernetes counts events of the same action as one, and shows the first note: the same text twice is the same event,
/// another text is another.
fn action(what: &str, rollout: &Rollout, text: &str) -> String {
    let mark = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{what}-{}-{mark:08x}", rollout.id)
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        status: &BirdWatchStatus,
        seen: &'a Observation,
        desired: Result<Plan, String>,
        now: Timestamp,
    ) -> Self {
        Self {
            seen,
            desired,
            now,
            next: status.clone(),
            effects: Vec::new(),
            check: None,
            wake: None,
            events: Vec::new(),
        }
    }

    pub(super) fn into_decision(self) -> Decision {
        Decision {
            next: self.next,
            effects: self.effects,
            check: self.check,
            wake: self.wake,
            events: self.events,
        }
    }

    /// Goes to `phase`; whatever the last one waited for is no longer waited for.
    pub(super) fn enter(&mut self, phase: Phase, message: impl AsRef<str>) {
        if self.next.phase != phase {
            self.next.phase = phase;
            self.wake = None;
            self.clear(ConditionType::Held);
        }
        self.say(message);
    }

    pub(super) fn say(&mut self, message: impl AsRef<str>) {
        self.next.message = fit(message.as_ref(), LONGEST).into_owned();
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }

    /// Looks again at `at`, or sooner where something else asks for it.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Whether `at` has come; if not, looks again then.
    pub(super) fn has_come(&mut self, at: Timestamp) -> bool {
        if at > self.now {
            self.wake_at(at);
        }
        at <= self.now
    }

    /// The instant `span` after `at`; never, where that cannot be expressed.
    pub(super) fn after(at: Timestamp, span: Span) -> Timestamp {
        at.checked_add(span.signed()).unwrap_or(Timestamp::MAX)
    }

    /// Tells people: a notice in the outbox, and an Event.
    pub(super) fn tell(&mut self, rollout: &Rollout, kind: NoticeKind, text: impl AsRef<str>) {
        let text = fit(text.as_ref(), LONGEST).into_owned();
        self.events.push(Event {
            warning: kind.is_alarm(),
            reason: kind.reason(),
            action: match kind {
                NoticeKind::Step => format!("{}To{}-{}", kind.action(), rollout.confirmed, rollout.id),
                _ => action(kind.action(), rollout, &text),
            },
            note: text.clone(),
        });
        let level = notices::level(self.seen.settings.notify, rollout.plan.level);
        notices::record(
            &mut self.next.notices,
            rollout.into(),
            level,
            kind,
            &text,
            self.now,
        );
    }

    /// An Event alone, for what is worth no message.
    pub(super) fn note(&mut self, rollout: &Rollout, reason: &'static str, text: &str) {
        self.events.push(Event {
            warning: false,
            reason,
            action: action(reason, rollout, text),
            note: fit(text, LONGEST).into_owned(),
        });
    }

    /// Sets a condition; tells people where it is news.
    pub(super) fn alarm(
        &mut self,
        rollout: &Rollout,
        kind: ConditionType,
        reason: &'static str,
        message: &str,
        notice: NoticeKind,
    ) {
        if self.is_news(kind, reason, message) {
            self.tell(rollout, notice, message);
        }
    }

    /// Sets a condition. Whether it is news, which it is once each time that it begins to hold for this reason; where it did
    /// so a moment ago, only if it stays.
    pub(super) fn is_news(&mut self, kind: ConditionType, reason: &str, message: &str) -> bool {
        let quiet = conditions::quiet_since(&self.next.conditions, kind);
        self.condition(kind, true, reason, message);
        let key = format!("{}/{reason}", kind.as_str());
        let begun = conditions::since(&self.next.conditions, kind).unwrap_or(self.now);
        if let Some(told) = self.next.notices.told.get(&key).copied() {
            let is_old = quiet.is_some_and(|since| Span::between(since, self.now) >= NEWS_AGAIN_AFTER);
            if told >= begun || !(is_old || self.has_come(Self::after(begun, NEWS_AGAIN_AFTER))) {
                return false;
            }
        }
        self.next.notices.told.insert(key, self.now);
        true
    }

    pub(super) fn holds(&self, kind: ConditionType) -> bool {
        conditions::holds(&self.next.conditions, kind)
    }

    pub(super) fn condition(&mut self, kind: ConditionType, holds: bool, reason: &str, message: &str) {
        let generation = self.seen.generation;
        conditions::set(
            &mut self.next.conditions,
            kind,
            holds,
            reason,
            fit(message, LONGEST),
            generation,
            self.now,
        );
    }

    /// A condition holds no more for now; that people were told of it is remembered.
    pub(super) fn end(&mut self, kind: ConditionType) {
        conditions::end(&mut self.next.conditions, kind, self.seen.generation, self.now);
    }

    pub(super) fn clear(&mut self, kind: ConditionType) {
        conditions::clear(&mut self.next.conditions, kind);
        let of_kind = |key: &str| key.split('/').next() == Some(kind.as_str());
        self.next.notices.told.retain(|key, _| !of_kind(key));
    }

    /// Whether every route of ours gives the canary nothing.
    pub(super) fn canary_is_at_zero(&self) -> bool {
        self.seen.routes.iter().all(|route| route.is_at(0))
    }

    /// Whether what is seen of the routes is known to be what the server had when it was asked. Asks where it is not: the
    /// watch of an operator that has just taken over may be late.
    pub(super) fn routes_are_live(&mut self) -> bool {
        let is_known = self.seen.routes_writer.is_some();
        if !is_known {
            self.effect(Effect::ReadRoutes);
        }
        is_known
    }

    /// The same of the rule; one that cannot be used has nothing to say.
    pub(super) fn rule_is_live(&mut self) -> bool {
        let is_known = self.seen.rule_writer.is_some() || self.seen.rule.is_err();
        if !is_known {
            self.effect(Effect::IdentifyRuleWriter);
        }
        is_known
    }

    /// Whether the canary has had nothing for as long as the mesh needs to know.
    pub(super) fn canary_is_quiet(&mut self) -> bool {
        if self.seen.routes.is_empty() {
            return true;
        }
        match self.seen.canary_zero_since {
            Some(since) if self.canary_is_at_zero() => {
                self.has_come(Self::after(since, self.seen.settings.propagation_delay))
            }
            _ => false,
        }
    }
}
