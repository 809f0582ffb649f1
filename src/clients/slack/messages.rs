//! What is handed to the sender and what comes back. Data only.

use std::any::Any;
use std::time::Duration;

use super::Posted;

/// Messages of one rollout of one `BirdWatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The `BirdWatch`, as `namespace/name`.
    pub key: String,
    /// The rollout's id; with `key`, the identity of the thread.
    pub rollout: String,
    /// What to say, oldest first; notices of the thread that are not among it are no longer to be said.
    pub items: Vec<Item>,
}

/// Where to say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The channel for the first message, by name or ID.
    pub channel: String,
    /// The thread's parent, once status knows it. Until then the first message becomes the parent.
    pub parent: Option<Posted>,
    /// The channel that the parent was sent to, as it was named then, where status knows it.
    pub opened_in: Option<String>,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A notice: sent once however often it is submitted, in the order of its thread.
    Post {
        /// Unique within the rollout's thread.
        notice_id: i64,
        /// Where.
        thread: Thread,
        /// The text, not escaped.
        text: String,
        /// Ends and alarms: its thread goes before others.
        urgent: bool,
    },
    /// What the parent message should show now; replaces what was not yet sent. Where the thread has no parent
    /// yet, it becomes the parent.
    UpdateParent {
        /// Where.
        thread: Thread,
        /// The text, not escaped.
        text: String,
        /// An end or an alarm waits for it: where it becomes the parent, it goes before others.
        urgent: bool,
    },
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The `BirdWatch`, as submitted.
    pub key: String,
    /// The rollout, as submitted.
    pub rollout: String,
    /// Which item.
    pub what: Acked,
    /// What became of it.
    pub fate: Fate,
}

/// Kept from the beginning of a call until what became of it is noted, then dropped.
pub type Hold = Box<dyn Any + Send + Sync>;

/// Asked before each call, with the key of its `BirdWatch`.
pub type Permit = Box<dyn Fn(&str) -> Permission + Send>;

/// Whether a call is made.
pub enum Permission {
    /// It is.
    Granted(Hold),
    /// Not now; soon it is, or others make it.
    Later,
    /// Others make it.
    Denied,
}

/// What Slack answered.
#[derive(Debug)]
pub struct Heard {
    /// What became of an item.
    pub ack: Ack,
    /// To be dropped once that is noted.
    pub hold: Option<Hold>,
}

/// Which item an [`Ack`] speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acked {
    /// The notice of this id.
    Notice(i64),
    /// The parent's text.
    Parent {
        /// The text that was sent, not escaped.
        text: String,
    },
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stands in Slack.
    Delivered {
        /// The parent of its thread (itself, where it became the parent): what status keeps.
        parent: Posted,
        /// The channel that the parent was sent to, by the name that was given, where that is known.
        opened_in: Option<String>,
        /// Its own timestamp.
        ts: String,
    },
    /// Slack will never take this one message; it is no longer queued.
    Refused {
        /// Slack's code.
        code: String,
        /// The same for people, with what to do about it.
        why: String,
    },
    /// Still queued.
    Retrying {
        /// The next try is not before this time has passed.
        after: Duration,
        /// Why this one failed.
        why: String,
    },
}
