//! How fast Slack may be spoken to. Pure: the time is passed in.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Between two messages in one channel: Slack's "about one a second", with room for jitter on the way.
pub const CHANNEL_INTERVAL: Duration = Duration::from_millis(1_100);

/// Between two updates, whatever their channels: Slack allows 50 a minute.
pub const UPDATE_INTERVAL: Duration = Duration::from_millis(1_250);

/// Channels remembered before those long silent are forgotten.
const MANY_CHANNELS: usize = 1_000;

/// The two methods that are called; each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `chat.postMessage`.
    Post,
    /// `chat.update`.
    Update,
}

/// Remembers when what may be sent next.
#[derive(Debug, Default)]
pub struct Pace {
    free_at: HashMap<String, Instant>,
    ids: HashMap<String, String>,
    updates_free_at: Option<Instant>,
    silent_until: Option<Instant>,
}

impl Pace {
    /// The first moment at which `channel` may be sent to; past or `now` means at once.
    #[must_use]
    pub fn ready_at(&self, channel: &str, method: Method, now: Instant) -> Instant {
        let updates = if method == Method::Update {
            self.updates_free_at
        } else {
            None
        };
        [
            self.free_at.get(self.known_as(channel)).copied(),
            updates,
            self.silent_until,
        ]
        .into_iter()
        .flatten()
        .fold(now, Instant::max)
    }

    /// Counts a call that ended `now`, answered well or not.
    pub fn sent(&mut self, channel: &str, method: Method, now: Instant) {
        if self.free_at.len() >= MANY_CHANNELS {
            self.free_at.retain(|_, free_at| *free_at > now);
        }
        self.free_at
            .insert(self.known_as(channel).to_owned(), now + CHANNEL_INTERVAL);
        if method == Method::Update {
            self.updates_free_at = Some(now + UPDATE_INTERVAL);
        }
    }

    /// Learns that a channel's name and its ID are one channel.
    pub fn learn(&mut self, name: &str, id: &str) {
        let name = plain(name);
        if name == id || self.ids.get(name).is_some_and(|known| known == id) {
            return;
        }
        if self.ids.len() >= MANY_CHANNELS {
            self.ids.clear();
        }
        if let Some(free_at) = self.free_at.remove(name) {
            self.free_at.insert(id.to_owned(), free_at);
        }
        self.ids.insert(name.to_owned(), id.to_owned());
    }

    /// Nothing at all before `until`: Slack's Retry-After counts for the whole token.
    pub fn silence(&mut self, until: Instant) {
        self.silent_until = self.silent_until.max(Some(until));
    }

    fn known_as<'a>(&'a self, channel: &'a str) -> &'a str {
        let name = plain(channel);
        self.ids.get(name).map_or(name, String::as_str)
    }
}

fn plain(channel: &str) -> &str {
    channel.trim_start_matches('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_waits_its_interval_and_another_does_not() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.ready_at("a", Method::Post, now), now);
        pace.sent("a", Method::Post, now);
        assert_eq!(pace.ready_at("a", Method::Post, now), now + CHANNEL_INTERVAL);
        assert_eq!(pace.ready_at("b", Method::Post, now), now);
        let later = now + CHANNEL_INTERVAL * 2;
        assert_eq!(pace.ready_at("a", Method::Post, later), later);
    }

    #[test]
    fn a_name_and_its_id_share_one_interval() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.sent("#deploy", Method::Post, now);
        pace.learn("#deploy", "C1");
        assert_eq!(pace.ready_at("C1", Method::Post, now), now + CHANNEL_INTERVAL);
        let later = now + Duration::from_secs(5);
        pace.sent("C1", Method::Post, later);
        assert_eq!(
            pace.ready_at("deploy", Method::Post, later),
            later + CHANNEL_INTERVAL
        );
    }

    #[test]
    fn updates_have_a_limit_across_channels_and_posts_do_not_wait_for_it() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.sent("a", Method::Update, now);
        assert_eq!(pace.ready_at("b", Method::Update, now), now + UPDATE_INTERVAL);
        assert_eq!(pace.ready_at("b", Method::Post, now), now);
    }

    #[test]
    fn a_wait_that_slack_asked_for_counts_everywhere_and_is_never_shortened() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.silence(now + Duration::from_secs(30));
        pace.silence(now + Duration::from_secs(10));
        assert_eq!(
            pace.ready_at("any", Method::Post, now),
            now + Duration::from_secs(30)
        );
    }

    #[test]
    fn memory_stays_bounded() {
        let now = Instant::now();
        let mut pace = Pace::default();
        for i in 0..5_000_u32 {
            let at = now + CHANNEL_INTERVAL * i;
            pace.sent(&format!("c{i}"), Method::Post, at);
            pace.learn(&format!("c{i}"), &format!("C{i}"));
        }
        assert!(pace.free_at.len() <= MANY_CHANNELS && pace.ids.len() <= MANY_CHANNELS);
    }
}
