//! One thread: its parent, what waits in it, and what its last call taught. Pure: the time is passed in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use super::messages::{Acked, Fate, Item, Thread};
use super::pace::Method;
use super::{Posted, SlackError};

/// A parent's text that waited so long is no longer put behind notices.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shortest and longest wait, before jitter, after a failure that may pass by itself.
const TRANSIENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The same after one that somebody must mend: once mended, at most a minute passes.
const DENIED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// Shortest and longest wait after a post that may have been taken: each further try may repeat it.
const DOUBTFUL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// What waits in a thread whose `BirdWatch` is gone is given up when it fails so long afterwards.
const LAST_TRIES: Duration = Duration::from_mins(10);

/// Delivered notices remembered in each thread.
const REMEMBERED: usize = 64;

/// Codes by which Slack says that the parent message no longer exists.
const NO_PARENT: [&str; 3] = ["thread_not_found", NO_MESSAGE, "cannot_reply_to_message"];

/// The same, of what was to be edited.
const NO_MESSAGE: &str = "message_not_found";

/// Codes by which Slack says that the channel of a thread is no place for it any more.
const NO_CHANNEL: [&str; 3] = ["channel_not_found", "is_archived", "not_in_channel"];

type Backoff = <ExponentialBuilder as BackoffBuilder>::Backoff;

/// A call of Slack's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Post this text, in the thread of this message if given.
    Post {
        /// Name or ID.
        channel: String,
        /// The parent's timestamp.
        thread_ts: Option<String>,
        /// The text, not escaped.
        text: String,
    },
    /// Replace the text of this message.
    Update {
        /// The message.
        message: Posted,
        /// The text, not escaped.
        text: String,
    },
}

impl Call {
    /// The channel it goes to, and the method.
    pub(super) fn target(&self) -> (&str, Method) {
        match self {
            Self::Post { channel, .. } => (channel, Method::Post),
            Self::Update { message, .. } => (&message.channel_id, Method::Update),
        }
    }

    const fn is_post(&self) -> bool {
        matches!(self, Self::Post { .. })
    }

    fn is_reply(&self) -> bool {
        matches!(
            self,
            Self::Post {
                thread_ts: Some(_),
                ..
            }
        )
    }
}

/// What is known of one thread.
#[derive(Default)]
pub(super) struct ThreadState {
    channel: String,
    parent: Option<Posted>,
    /// The channel that the parent was sent to, as it was named then.
    opened_in: Option<String>,
    /// A parent that Slack no longer knows, so that nobody brings it back.
    gone: Option<Posted>,
    posts: VecDeque<Post>,
    /// The parent's text to show.
    show: Option<Show>,
    shown: Option<String>,
    delivered: BTreeMap<i64, String>,
    not_before: Option<Instant>,
    backoff: Option<Backoff>,
    /// Waits between tries of a post that may have been taken: other failures in between do not shorten them.
    doubt: Option<Backoff>,
    /// From when on a failure is the last.
    until: Option<Instant>,
    touched: u64,
}

struct Post {
    notice_id: i64,
    text: String,
    urgent: bool,
    turn: u64,
}

struct Show {
    text: String,
    urgent: bool,
    since: Instant,
    turn: u64,
}

/// What a thread would send next.
pub(super) struct Candidate {
    rank: Rank,
    turn: u64,
    pub(super) what: Acked,
    pub(super) call: Call,
}

impl Candidate {
    /// The lowest goes first.
    pub(super) fn order(&self) -> (Rank, u64) {
        (self.rank, self.turn)
    }
}

/// Lower goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Urgent,
    Notice,
    Update,
}

impl ThreadState {
    /// Items that wait.
    pub(super) fn waiting(&self) -> usize {
        self.posts.len() + usize::from(self.show.is_some())
    }

    /// The turn in which it was last written to, if nothing waits.
    pub(super) fn idle_since(&self) -> Option<u64> {
        (self.waiting() == 0).then_some(self.touched)
    }

    /// The next try after a failure.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Notices that are not among `items` are no longer to be said.
    pub(super) fn keep(&mut self, items: &[Item]) {
        let is_among = |id| {
            let is = |item: &Item| matches!(item, Item::Post { notice_id, .. } if *notice_id == id);
            items.iter().any(is)
        };
        let first = self.posts.front().map(|post| post.notice_id);
        self.posts.retain(|post| is_among(post.notice_id));
        if self.posts.front().map(|post| post.notice_id) != first {
            self.doubt = None;
        }
    }

    /// Nobody is left who could mend what keeps it waiting.
    pub(super) fn release(&mut self, now: Instant) {
        self.until = Some(now + LAST_TRIES);
    }

    /// Queues an item, or says what became of it already.
    pub(super) fn take(&mut self, item: Item, turn: u64, now: Instant) -> Option<(Acked, Fate)> {
        self.touched = turn;
        match item {
            Item::Post {
                notice_id,
                thread,
                text,
                urgent,
            } => {
                self.follow(thread);
                // Of a thread whose parent is gone, too: it is told.
                let parent = self.parent.as_ref().or(self.gone.as_ref());
                if let (Some(ts), Some(parent)) = (self.delivered.get(&notice_id), parent) {
                    let fate = Fate::Delivered {
                        parent: parent.clone(),
                        opened_in: self.opened_in.clone(),
                        ts: ts.clone(),
                    };
                    return Some((Acked::Notice(notice_id), fate));
                }
                match self.posts.iter_mut().find(|post| post.notice_id == notice_id) {
                    Some(post) => post.urgent |= urgent,
                    None => self.posts.push_back(Post {
                        notice_id,
                        text,
                        urgent,
                        turn,
                    }),
                }
                None
            }
            Item::UpdateParent { thread, text, urgent } => {
                self.follow(thread);
                if let (Some(shown), Some(parent)) = (&self.shown, &self.parent)
                    && *shown == text
                {
                    self.show = None;
                    let fate = Fate::Delivered {
                        parent: parent.clone(),
                        opened_in: self.opened_in.clone(),
                        ts: parent.ts.clone(),
                    };
                    return Some((Acked::Parent { text }, fate));
                }
                match &mut self.show {
                    Some(show) => {
                        show.text = text;
                        show.urgent |= urgent;
                    }
                    None => {
                        self.show = Some(Show {
                            text,
                            urgent,
                            since: now,
                            turn,
                        });
                    }
                }
                None
            }
        }
    }

    fn follow(&mut self, thread: Thread) {
        self.channel = thread.channel;
        if self.parent.is_none() && thread.parent != self.gone {
            (self.parent, self.opened_in) = (thread.parent, thread.opened_in);
        }
    }

    /// Whether people name another channel by now than the one in which the thread stands.
    fn is_moved(&self) -> bool {
        let opened_in = self.parent.as_ref().and(self.opened_in.as_deref());
        opened_in.is_some_and(|name| without_mark(name) != without_mark(&self.channel))
    }

    /// The next call: a parent before its replies, replies in their order, a parent's text last.
    pub(super) fn next(&self, now: Instant) -> Option<Candidate> {
        let hurries = self.parent.is_none() && self.show.as_ref().is_some_and(|show| show.urgent);
        let notice = if hurries || self.posts.iter().any(|post| post.urgent) {
            Rank::Urgent
        } else {
            Rank::Notice
        };
        let shows = |show: &Show| Acked::Parent {
            text: show.text.clone(),
        };
        let (rank, turn, what, call) = match (&self.parent, self.posts.front(), &self.show) {
            (None, _, Some(show)) => (notice, show.turn, shows(show), self.post(&show.text)),
            (_, Some(post), _) => (
                notice,
                post.turn,
                Acked::Notice(post.notice_id),
                self.post(&post.text),
            ),
            (Some(parent), None, Some(show)) => {
                let late = now.saturating_duration_since(show.since) >= PATIENCE;
                let rank = if late { Rank::Notice } else { Rank::Update };
                let call = Call::Update {
                    message: parent.clone(),
                    text: show.text.clone(),
                };
                (rank, show.turn, shows(show), call)
            }
            (_, None, None) => return None,
        };
        Some(Candidate {
            rank,
            turn,
            what,
            call,
        })
    }

    fn post(&self, text: &str) -> Call {
        let (channel, thread_ts) = match &self.parent {
            Some(parent) => (parent.channel_id.clone(), Some(parent.ts.clone())),
            None => (self.channel.clone(), None),
        };
        Call::Post {
            channel,
            thread_ts,
            text: text.to_owned(),
        }
    }

    /// Learns how a call ended. No fate: the item goes on in another way.
    pub(super) fn end(
        &mut self,
        what: &Acked,
        call: &Call,
        result: Result<Posted, SlackError>,
        now: Instant,
    ) -> Option<Fate> {
        match result {
            Ok(posted) => Some(self.delivered(what, call, posted)),
            // It is told all the same, by itself; what follows gets a new parent.
            Err(SlackError::Orphaned(posted)) => {
                let parent = self.parent.clone().unwrap_or_else(|| posted.clone());
                let fate = self.taken(what, posted, parent);
                self.lose_parent();
                Some(fate)
            }
            Err(SlackError::Refused { code }) if call.is_reply() && NO_PARENT.contains(&code.as_str()) => {
                // Somebody deleted the parent: the notice goes on as a new one.
                self.lose_parent();
                None
            }
            Err(SlackError::Refused { code }) => {
                if !call.is_post() && code == NO_MESSAGE {
                    self.lose_parent();
                }
                self.settle(what);
                let why = SlackError::Refused { code: code.clone() }.to_string();
                Some(Fate::Refused { code, why })
            }
            Err(error @ SlackError::RateLimited { after }) => {
                // The whole token is silent until then.
                Some(Fate::Retrying {
                    after,
                    why: error.to_string(),
                })
            }
            // Nobody will mend that place.
            Err(SlackError::Denied { code }) if NO_CHANNEL.contains(&code.as_str()) && self.is_moved() => {
                self.lose_parent();
                None
            }
            // A person needs a while to mend it: the first try after it is not soon.
            Err(error @ SlackError::Denied { .. }) => {
                Some(self.retry(backoff(DENIED), error.to_string(), now))
            }
            Err(error @ SlackError::Unanswered(_)) if call.is_post() => {
                let wait = self.doubt.get_or_insert_with(doubt).next();
                Some(self.retry_after(wait.unwrap_or(DOUBTFUL.1), error.to_string(), now))
            }
            Err(SlackError::Transient(why) | SlackError::Unanswered(why)) => {
                Some(self.retry(backoff(TRANSIENT), why, now))
            }
        }
    }

    /// Tries again later; `pace` is how much later, where no other failure came just before.
    fn retry(&mut self, pace: Backoff, why: String, now: Instant) -> Fate {
        let after = self.backoff.get_or_insert(pace).next();
        self.retry_after(after.unwrap_or(PATIENCE), why, now)
    }

    fn retry_after(&mut self, after: Duration, why: String, now: Instant) -> Fate {
        if self.until.is_some_and(|until| now >= until) {
            (self.posts, self.show) = (VecDeque::new(), None);
            let code = "given_up".to_owned();
            return Fate::Refused { code, why };
        }
        self.not_before = Some(now + after);
        Fate::Retrying { after, why }
    }

    /// The parent message no longer exists: the next message becomes one.
    fn lose_parent(&mut self) {
        (self.gone, self.shown) = (self.parent.take(), None);
    }

    fn delivered(&mut self, what: &Acked, call: &Call, posted: Posted) -> Fate {
        if self.parent.is_none() {
            self.opened_in = Some(call.target().0.to_owned());
        }
        let parent = self.parent.get_or_insert_with(|| posted.clone()).clone();
        self.taken(what, posted, parent)
    }

    fn taken(&mut self, what: &Acked, posted: Posted, parent: Posted) -> Fate {
        self.settle(what);
        (self.not_before, self.backoff) = (None, None);
        match what {
            Acked::Notice(id) => {
                self.delivered.insert(*id, posted.ts.clone());
                if self.delivered.len() > REMEMBERED {
                    self.delivered.pop_first();
                }
            }
            Acked::Parent { text } => self.shown = Some(text.clone()),
        }
        let ts = posted.ts;
        Fate::Delivered {
            parent,
            opened_in: self.opened_in.clone(),
            ts,
        }
    }

    /// Takes a finished item out of the queue. A parent's text that was replaced meanwhile stays.
    fn settle(&mut self, what: &Acked) {
        // What was doubtful of it says nothing of the next.
        self.doubt = None;
        match what {
            Acked::Notice(id) => self.posts.retain(|post| post.notice_id != *id),
            Acked::Parent { text } => self.show = self.show.take().filter(|show| show.text != *text),
        }
    }
}

/// A channel is the same with and without its mark.
fn without_mark(channel: &str) -> &str {
    channel.strip_prefix('#').unwrap_or(channel)
}

/// No more and no less than said: what is tried twice as soon is there twice as often.
fn doubt() -> Backoff {
    ExponentialBuilder::default()
        .with_min_delay(DOUBTFUL.0)
        .with_max_delay(DOUBTFUL.1)
        .with_factor(2.0)
        .without_max_times()
        .build()
}

/// The wait is at least what is asked for and at most twice as much.
fn backoff((shortest, longest): (Duration, Duration)) -> Backoff {
    ExponentialBuilder::default()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}
