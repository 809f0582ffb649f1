//! Hands the notices of written statuses to the sender, and its answers back to reconcile. It waits for nobody.
//!
//! One at a time of each thread: the next is handed in when status no longer holds the one before it, so that a crash
//! leaves at most one that was told and not noted.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::api::conditions::{self, ConditionType};
use crate::api::status::{NoticeKind, Outcome, Thread as KnownThread};
use crate::api::{BirdWatchSpec, BirdWatchStatus};
use crate::clients::slack::{
    Ack, Acked, Delivery, Fate, Heard, Item, Permission, Permit, Posted, SlackHandle, Thread,
};
use crate::core::messages;
use crate::core::observation::{NoticeAck, ObjectName};
use crate::runtime::lease::Gate;
use crate::runtime::metrics::{Metrics, NoticeResult};

use super::channels::Channels;
use super::context::Scope;
use super::later::{Later, Waiting};

/// Where people are told.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The sender; none: nobody is told.
    slack: Option<SlackHandle>,
    /// The channel, unless a plan names another that it may.
    channels: Arc<Channels>,
    /// What is counted.
    metrics: Metrics,
    /// What waits for its turn.
    later: Arc<Later>,
}

impl Deliver {
    /// Tells nobody.
    #[must_use]
    pub fn nobody(metrics: Metrics) -> Self {
        Self {
            slack: None,
            channels: Arc::default(),
            metrics,
            later: Arc::default(),
        }
    }

    /// Tells whom the sender reaches.
    #[must_use]
    pub fn through(slack: SlackHandle, channels: Channels, metrics: Metrics) -> Self {
        Self {
            slack: Some(slack),
            channels: Arc::new(channels),
            ..Self::nobody(metrics)
        }
    }

    /// What to tell somebody whose spec asks for a channel that is not allowed.
    #[must_use]
    pub fn warning(&self, spec: &BirdWatchSpec) -> Option<String> {
        let asked = spec.notify.as_ref()?.channel.as_deref()?;
        self.slack.as_ref().and_then(|_| self.channels.warning(asked))
    }

    /// A status was written: its notices go out, and the parent message where the state it shows has changed.
    pub fn committed(&self, name: &ObjectName, before: &BirdWatchStatus, after: &BirdWatchStatus) {
        let changed = state(before) != state(after);
        if changed {
            self.hand_over(name, after, true);
        } else {
            self.pending(name, after);
        }
    }

    /// A written status was looked at: what waits in it goes out, if it has not gone already.
    pub fn pending(&self, name: &ObjectName, status: &BirdWatchStatus) {
        if status.notices.pending.is_empty() {
            drop(self.later.take(&key(name)));
            self.count_waiting();
            return;
        }
        self.hand_over(name, status, false);
    }

    fn hand_over(&self, name: &ObjectName, status: &BirdWatchStatus, changed: bool) {
        if self.slack.is_none() {
            return;
        }
        self.later.clear(&key(name));
        let turn = self.turn(name, status);
        for thread in rollouts(status) {
            self.submit(name, status, thread, changed, turn.has(thread));
        }
    }

    /// Which thread may be told something new: one at a time, so that a crash repeats one message at most. Where Slack does not
    /// take what it is told, one thread does not wait for another.
    fn turn(&self, name: &ObjectName, status: &BirdWatchStatus) -> Turn {
        if conditions::holds(&status.conditions, ConditionType::NotifyFailing) {
            return Turn::Everybody;
        }
        let waiting = rollouts(status).filter_map(|thread| {
            let of_it = || {
                let pending = status.notices.pending.iter();
                pending.filter(|notice| notice.rollout == thread.rollout)
            };
            let first = of_it().next()?.id;
            Some(Waiting {
                rollout: thread.rollout.clone(),
                notice: self.has_parent(name, thread).then_some(first),
                urgent: of_it().any(|notice| is_urgent(notice.kind)),
            })
        });
        Turn::Of(self.later.next(&key(name), waiting.collect()))
    }

    /// A written status was looked at for the first time in a term: whoever led before may have ended with a parent
    /// message not yet updated, and without a change to come nobody else would do it.
    pub fn taken_over(&self, name: &ObjectName, status: &BirdWatchStatus) {
        let turn = self.turn(name, status);
        for thread in status.notices.threads.iter().filter(|t| may_be_stale(status, t)) {
            self.submit(name, status, thread, true, turn.has(thread));
        }
    }

    /// The `BirdWatch` is gone, and with it whoever could mend what keeps its notices waiting, and where it could be
    /// noted that one was told.
    pub fn released(&self, name: &ObjectName) {
        let waiting = self.later.take(&key(name));
        if let Some(slack) = &self.slack {
            for all in waiting {
                slack.submit(all);
            }
            slack.release(key(name));
        }
    }

    /// Somebody else tells people of these namespaces from now on. What is being said is said.
    pub fn withdraw(&self, of: impl Fn(&str) -> bool + Send + 'static) {
        let is_theirs = move |key: &str| key.split_once('/').is_some_and(|(namespace, _)| of(namespace));
        self.later.forget_all(&is_theirs);
        if let Some(slack) = &self.slack {
            slack.withdraw(is_theirs);
        }
        self.count_waiting();
    }

    fn submit(
        &self,
        name: &ObjectName,
        status: &BirdWatchStatus,
        thread: &KnownThread,
        changed: bool,
        has_turn: bool,
    ) {
        let Some(slack) = &self.slack else { return };
        let waiting: Vec<_> = status
            .notices
            .pending
            .iter()
            .filter(|notice| notice.rollout == thread.rollout)
            .collect();
        let text = messages::parent(name, status, &thread.rollout);
        let begun = !thread.ts.is_empty() || !waiting.is_empty();
        // An alarm hurries what is before it in its thread.
        let urgent = waiting.iter().any(|notice| is_urgent(notice.kind));
        let mut items = Vec::new();
        if begun && text != thread.shown && (changed || !waiting.is_empty()) {
            items.push(Item::UpdateParent {
                thread: self.thread(thread),
                text,
                urgent,
            });
        }
        let posts: Vec<_> = waiting
            .iter()
            .map(|notice| Item::Post {
                notice_id: notice.id,
                thread: self.thread(thread),
                text: notice.text.clone(),
                urgent,
            })
            .collect();
        let first = posts
            .first()
            .filter(|_| has_turn && self.has_parent(name, thread));
        // A parent that is there is edited, which repeats nothing.
        let parent = items.iter().filter(|_| has_turn || !thread.ts.is_empty());
        let now: Vec<_> = parent.chain(first).cloned().collect();
        items.extend(posts);
        let delivery = |items| Delivery {
            key: key(name),
            rollout: thread.rollout.clone(),
            items,
        };
        self.later.put(delivery(items));
        if !now.is_empty() {
            slack.submit(delivery(now));
            self.count_waiting();
        }
    }

    /// What waits for its turn, or, of those that are gone, what the sender has.
    fn count_waiting(&self) {
        if let Some(slack) = &self.slack {
            self.metrics
                .notices_waiting(slack.waiting().max(self.later.notices()));
        }
    }

    /// Whether a notice has something to answer, or never will.
    fn has_parent(&self, name: &ObjectName, thread: &KnownThread) -> bool {
        !thread.ts.is_empty() || self.later.is_without_parent(&key(name), &thread.rollout)
    }

    /// Slack does not take the parent of a thread.
    fn note_refusal(&self, ack: &Ack) {
        if let (Acked::Parent { .. }, Fate::Refused { .. }) = (&ack.what, &ack.fate) {
            self.later.goes_without_parent(&ack.key, &ack.rollout);
        }
    }

    fn thread(&self, known: &KnownThread) -> Thread {
        let channel = self.channels.choose(known.asked_channel.as_deref()).to_owned();
        let parent = (!known.ts.is_empty()).then(|| Posted {
            channel_id: known.channel.clone(),
            ts: known.ts.clone(),
        });
        Thread {
            channel,
            parent,
            opened_in: known.opened_in.clone(),
        }
    }
}

/// Who may be told something new now.
enum Turn {
    /// Every thread.
    Everybody,
    /// This one, by its rollout, or none.
    Of(Option<String>),
}

impl Turn {
    fn has(&self, thread: &KnownThread) -> bool {
        match self {
            Self::Everybody => true,
            Self::Of(rollout) => rollout.as_ref() == Some(&thread.rollout),
        }
    }
}

/// Whether the parent message may be behind: the present rollout's, or an earlier one's that does not show its end.
fn may_be_stale(status: &BirdWatchStatus, thread: &KnownThread) -> bool {
    let is_its = |id: &str| id == thread.rollout;
    let shows = |outcome: Outcome| thread.shown.contains(&format!("*{outcome:?}*"));
    status.rollout.as_ref().is_some_and(|rollout| is_its(&rollout.id))
        || status
            .ended
            .iter()
            .any(|end| is_its(&end.id) && !shows(end.outcome))
}

/// What the parent message shows, readings aside. The phase is that of the rollout only while it is under way.
fn state(status: &BirdWatchStatus) -> impl PartialEq + use<> {
    let rollout = status.rollout.as_ref();
    (
        rollout.filter(|r| r.ended.is_none()).map(|_| status.phase),
        rollout.map(|r| (r.id.clone(), r.confirmed, r.failure.clone(), r.ended)),
    )
}

/// The threads with something to say: the present rollout's, and those with notices still on their way.
fn rollouts(status: &BirdWatchStatus) -> impl Iterator<Item = &KnownThread> {
    let present = status.rollout.as_ref().map(|rollout| rollout.id.as_str());
    status.notices.threads.iter().filter(move |thread| {
        Some(thread.rollout.as_str()) == present
            || status
                .notices
                .pending
                .iter()
                .any(|notice| notice.rollout == thread.rollout)
    })
}

/// Ends and alarms go first.
fn is_urgent(kind: NoticeKind) -> bool {
    kind.is_alarm() || matches!(kind, NoticeKind::Promoted)
}

/// Lets the sender speak for a namespace while this process leads there, and keeps that from changing hands until what was said
/// is noted.
#[must_use]
pub fn permit(gate: Gate) -> Permit {
    Box::new(move |key| {
        let Some(ObjectName { namespace, .. }) = object_name(key) else {
            return Permission::Denied;
        };
        match gate.tell(&namespace) {
            Some(telling) => Permission::Granted(Box::new(telling)),
            // Its renewal is late, or it is about to be given up.
            None if gate.has_term(&namespace) => Permission::Later,
            None => Permission::Denied,
        }
    })
}

/// Takes the sender's answers to reconcile, until the sender is gone.
pub async fn acknowledge(mut answers: UnboundedReceiver<Heard>, scopes: Arc<[Arc<Scope>]>) {
    while let Some(Heard { ack, mut hold }) = answers.recv().await {
        let Some(name) = object_name(&ack.key) else {
            continue;
        };
        for scope in scopes.iter().filter(|scope| covers(scope, &name)) {
            count(&scope.context.metrics, &ack);
            scope.context.deliver.note_refusal(&ack);
            scope.context.deliver.count_waiting();
            if let Some(entry) = scope.memory.get(&name) {
                entry.lock().hear(translated(&ack), hold.take());
                scope.wake(&name);
            }
        }
    }
}

fn covers(scope: &Scope, name: &ObjectName) -> bool {
    scope
        .namespace
        .as_ref()
        .is_none_or(|namespace| *namespace == name.namespace)
}

fn key(name: &ObjectName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

fn object_name(key: &str) -> Option<ObjectName> {
    let (namespace, name) = key.split_once('/')?;
    Some(ObjectName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Lost ones are counted with the status that gives them up.
fn count(metrics: &Metrics, ack: &Ack) {
    if let (Acked::Notice(_), Fate::Delivered { .. }) = (&ack.what, &ack.fate) {
        metrics.notices(NoticeResult::Delivered, 1);
    }
}

/// An answer as the core reads it.
fn translated(ack: &Ack) -> Vec<NoticeAck> {
    let parent = |parent: &Posted, opened_in: &Option<String>, text: &str| NoticeAck::Parent {
        rollout: ack.rollout.clone(),
        channel: parent.channel_id.clone(),
        opened_in: opened_in.clone(),
        ts: parent.ts.clone(),
        text: text.to_owned(),
    };
    let delivered = |id| NoticeAck::Delivered {
        rollout: ack.rollout.clone(),
        id,
    };
    match (&ack.what, &ack.fate) {
        (
            Acked::Notice(id),
            Fate::Delivered {
                parent: at,
                opened_in,
                ts,
            },
        ) if at.ts == *ts => {
            vec![parent(at, opened_in, ""), delivered(*id)]
        }
        (Acked::Notice(id), Fate::Delivered { .. }) => vec![delivered(*id)],
        (Acked::Notice(id), Fate::Refused { why, .. }) => {
            vec![NoticeAck::Refused {
                rollout: ack.rollout.clone(),
                id: *id,
                reason: why.clone(),
            }]
        }
        (
            Acked::Parent { text },
            Fate::Delivered {
                parent: at,
                opened_in,
                ..
            },
        ) => vec![parent(at, opened_in, text)],
        // Somebody deleted the parent, or it is too old to be edited: notices do not wait for it.
        (Acked::Parent { .. }, Fate::Refused { .. }) => vec![NoticeAck::ParentRefused {
            rollout: ack.rollout.clone(),
        }],
        (_, Fate::Retrying { why, .. }) => vec![NoticeAck::Failing {
            rollout: ack.rollout.clone(),
            reason: why.clone(),
        }],
    }
}
