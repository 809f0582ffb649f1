//! What the Slack stand-in knows and decides: channels, messages, the rate, how to misbehave. No I/O, no clock.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

/// Calls of one kind that a channel takes at once; after them it takes one a second.
const BURST: u32 = 3;
/// What one call is worth in time.
const PACE: Duration = Duration::from_secs(1);
/// Longest text Slack takes, in characters.
const LONGEST_TEXT: usize = 40_000;
/// Most blocks Slack takes in one message.
const MOST_BLOCKS: usize = 50;

/// A message as it stands, with all it has been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Channel ID.
    pub channel: String,
    /// Name of the channel, without #; the ID when it was never named.
    pub channel_name: String,
    /// The message's own ts; with the channel it names the message.
    pub ts: String,
    /// The ts of the message it answers in a thread.
    pub thread_ts: Option<String>,
    /// Text as it is now.
    pub text: String,
    /// Blocks as they are now.
    pub blocks: Option<Value>,
    /// Text as first posted.
    pub posted_text: String,
    /// Every update, oldest first.
    pub updates: Vec<Update>,
    /// When it was posted.
    pub at: Timestamp,
    /// User-Agent of who posted it.
    pub posted_by: String,
}

/// One chat.update of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// When it came.
    pub at: Timestamp,
    /// The text it set.
    pub text: String,
    /// The blocks it set.
    pub blocks: Option<Value>,
}

/// One call of the API, whatever became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// When it came.
    pub at: Timestamp,
    /// The API's method, as in chat.postMessage.
    pub method: String,
    /// What was asked; null when it could not be read.
    pub body: Value,
    /// What came of it: ok, Slack's word for the error, or how the stand-in misbehaved.
    pub outcome: String,
}

/// How calls are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// As Slack does.
    #[default]
    #[serde(rename = "ok")]
    Ok,
    /// 429 with Retry-After, whatever the rate.
    #[serde(rename = "429")]
    TooMany,
    /// 500 with an empty body.
    #[serde(rename = "500")]
    Broken,
    /// 200 with `ok: false`.
    #[serde(rename = "not_ok")]
    NotOk,
    /// Nothing: the connection stays open without an answer.
    #[serde(rename = "silence")]
    Silence,
}

/// A way to misbehave, for a number of calls or until told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mode {
    /// How to answer.
    pub mode: Manner,
    /// Seconds of Retry-After in mode 429.
    #[serde(default = "one")]
    pub retry_after: u64,
    /// How many calls are answered so; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Slack's word for the error in mode `not_ok`.
    #[serde(default = "fatal_error")]
    pub error: String,
}

fn one() -> u64 {
    1
}

fn fatal_error() -> String {
    "fatal_error".to_owned()
}

impl Mode {
    /// This manner until told otherwise, with a Retry-After of 1 s and the error `fatal_error`.
    #[must_use]
    pub fn of(mode: Manner) -> Self {
        Self {
            mode,
            retry_after: one(),
            count: None,
            error: fatal_error(),
        }
    }

    /// The same for so many calls only.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self::of(Manner::Ok)
    }
}

/// What chat.postMessage and chat.update are given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Request {
    #[serde(default)]
    pub(super) channel: String,
    #[serde(default)]
    pub(super) ts: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) blocks: Option<Value>,
    #[serde(default)]
    pub(super) thread_ts: Option<String>,
}

/// Why a call got no for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `ok: false` with this word.
    No(String),
    /// 429; come back after so many seconds.
    Wait(u64),
}

fn no<T>(word: &str) -> Result<T, Refusal> {
    Err(Refusal::No(word.to_owned()))
}

/// Everything the stand-in remembers.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) messages: Vec<Message>,
    pub(super) calls: Vec<Call>,
    pub(super) mode: Mode,
    names: BTreeMap<String, String>,
    /// When a method may burst on a channel again.
    full_at: BTreeMap<(&'static str, String), Instant>,
    last_ts: i64,
}

impl Book {
    /// How this call is to be answered; counts it.
    pub(super) fn manner(&mut self) -> Mode {
        let mode = self.mode.clone();
        match &mut self.mode.count {
            Some(left) if *left <= 1 => self.mode = Mode::default(),
            Some(left) => *left -= 1,
            None => {}
        }
        mode
    }

    /// chat.postMessage
    pub(super) fn post(
        &mut self,
        request: Request,
        by: &str,
        at: Timestamp,
        instant: Instant,
    ) -> Result<Message, Refusal> {
        let (channel, channel_name) = self.channel(&request.channel)?;
        check(&request)?;
        if let Some(parent) = &request.thread_ts
            && !self
                .messages
                .iter()
                .any(|m| m.channel == channel && m.ts == *parent)
        {
            return no("thread_not_found");
        }
        self.take("chat.postMessage", &channel, instant)?;
        let message = Message {
            channel,
            channel_name,
            ts: self.next_ts(at),
            thread_ts: request.thread_ts,
            posted_text: request.text.clone(),
            text: request.text,
            blocks: request.blocks,
            updates: Vec::new(),
            at,
            posted_by: by.to_owned(),
        };
        self.messages.push(message.clone());
        Ok(message)
    }

    /// chat.update
    pub(super) fn update(
        &mut self,
        request: Request,
        at: Timestamp,
        instant: Instant,
    ) -> Result<Message, Refusal> {
        if !is_id(&request.channel) || !self.messages.iter().any(|m| m.channel == request.channel) {
            return no("channel_not_found");
        }
        check(&request)?;
        let Request {
            channel,
            ts,
            text,
            blocks,
            ..
        } = request;
        let Some(index) = self
            .messages
            .iter()
            .position(|m| m.channel == channel && m.ts == ts)
        else {
            return no("message_not_found");
        };
        self.take("chat.update", &channel, instant)?;
        let message = &mut self.messages[index];
        message.updates.push(Update {
            at,
            text: text.clone(),
            blocks: blocks.clone(),
        });
        message.text = text;
        message.blocks = blocks;
        Ok(message.clone())
    }

    /// ID and name of a channel given by either.
    fn channel(&mut self, given: &str) -> Result<(String, String), Refusal> {
        if is_id(given) {
            let name = self.names.get(given).cloned().unwrap_or_else(|| given.to_owned());
            return Ok((given.to_owned(), name));
        }
        let name = given.strip_prefix('#').unwrap_or(given);
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
            return no("channel_not_found");
        }
        let id = id_of(name);
        self.names.insert(id.clone(), name.to_owned());
        Ok((id, name.to_owned()))
    }

    /// Takes a call if the channel's rate allows it: a bucket of [`BURST`] that fills by one every [`PACE`], kept
    /// as the instant at which it would be full again.
    fn take(&mut self, method: &'static str, channel: &str, now: Instant) -> Result<(), Refusal> {
        let full_at = self.full_at.entry((method, channel.to_owned())).or_insert(now);
        let debt = full_at.saturating_duration_since(now);
        let wait = debt.saturating_sub(PACE * (BURST - 1));
        if !wait.is_zero() {
            return Err(Refusal::Wait(
                wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX),
            ));
        }
        *full_at = now + debt + PACE;
        Ok(())
    }

    /// Slack's ts: seconds and a counter, never the same twice.
    fn next_ts(&mut self, at: Timestamp) -> String {
        self.last_ts = at.as_microsecond().max(self.last_ts + 1);
        format!("{}.{:06}", self.last_ts / 1_000_000, self.last_ts % 1_000_000)
    }
}

fn check(request: &Request) -> Result<(), Refusal> {
    let blocks = match &request.blocks {
        None | Some(Value::Null) => 0,
        Some(Value::Array(blocks)) => blocks.len(),
        Some(_) => return no("invalid_blocks_format"),
    };
    if blocks > MOST_BLOCKS {
        return no("invalid_blocks");
    }
    if request.text.is_empty() && blocks == 0 {
        return no("no_text");
    }
    if request.text.chars().count() > LONGEST_TEXT {
        return no("msg_too_long");
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    text.len() >= 9
        && text.starts_with('C')
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// The ID of a channel of this name: always the same, different for different names (FNV-1a).
fn id_of(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let digit = |place: u32| {
        let digit = (hash / 36_u64.pow(place)) % 36;
        u32::try_from(digit)
            .ok()
            .and_then(|digit| char::from_digit(digit, 36))
            .unwrap_or('0')
    };
    let tail: String = (0..9).map(digit).collect();
    format!("C0{}", tail.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(channel: &str, text: &str) -> Request {
        Request {
            channel: channel.to_owned(),
            text: text.to_owned(),
            ..Request::default()
        }
    }

    fn post(book: &mut Book, request: Request, instant: Instant) -> Result<Message, Refusal> {
        book.post(request, "test", Timestamp::UNIX_EPOCH, instant)
    }

    fn refused(word: &str) -> Refusal {
        Refusal::No(word.to_owned())
    }

    #[test]
    fn a_channel_named_with_or_without_its_hash_has_one_stable_id() {
        let (mut book, now) = (Book::default(), Instant::now());
        let plain = post(&mut book, request("deployment", "a"), now).unwrap();
        let hash = post(&mut book, request("#deployment", "b"), now).unwrap();
        let by_id = post(&mut book, request(&plain.channel, "c"), now).unwrap();
        assert_eq!(plain.channel, hash.channel);
        assert_eq!(by_id.channel_name, "deployment");
        assert!(is_id(&plain.channel), "{}", plain.channel);
        assert_ne!(id_of("deployment"), id_of("deployments"));
        assert_eq!(
            post(&mut book, request("No such", "a"), now),
            Err(refused("channel_not_found"))
        );
    }

    #[test]
    fn every_ts_is_new_even_within_one_instant() {
        let (mut book, now) = (Book::default(), Instant::now());
        let first = post(&mut book, request("a", "1"), now).unwrap();
        let second = post(&mut book, request("a", "2"), now).unwrap();
        assert_ne!(first.ts, second.ts);
    }

    #[test]
    fn an_update_takes_ids_only_and_messages_that_exist_and_keeps_what_was() {
        let (mut book, now) = (Book::default(), Instant::now());
        let posted = post(&mut book, request("deployment", "one"), now).unwrap();
        let mut update = |channel: &str, ts: &str| {
            let request = Request {
                ts: ts.to_owned(),
                ..request(channel, "two")
            };
            book.update(request, Timestamp::UNIX_EPOCH, now)
        };
        assert_eq!(
            update("deployment", &posted.ts),
            Err(refused("channel_not_found"))
        );
        assert_eq!(
            update("C0NEVERSEEN", &posted.ts),
            Err(refused("channel_not_found"))
        );
        assert_eq!(
            update(&posted.channel, "1.000000"),
            Err(refused("message_not_found"))
        );
        let updated = update(&posted.channel, &posted.ts).unwrap();
        assert_eq!(
            (updated.text.as_str(), updated.posted_text.as_str()),
            ("two", "one")
        );
        assert_eq!(updated.updates.len(), 1);
    }

    #[test]
    fn a_reply_needs_its_parent() {
        let (mut book, now) = (Book::default(), Instant::now());
        let reply = |ts: &str| Request {
            thread_ts: Some(ts.to_owned()),
            ..request("a", "reply")
        };
        assert_eq!(
            post(&mut book, reply("1.000000"), now),
            Err(refused("thread_not_found"))
        );
        let parent = post(&mut book, request("a", "parent"), now).unwrap();
        assert_eq!(
            post(&mut book, reply(&parent.ts), now).unwrap().thread_ts,
            Some(parent.ts)
        );
    }

    #[test]
    fn a_channel_takes_a_small_burst_and_then_one_a_second_whatever_others_do() {
        let (mut book, now) = (Book::default(), Instant::now());
        for _ in 0..BURST {
            post(&mut book, request("a", "x"), now).unwrap();
        }
        assert_eq!(post(&mut book, request("a", "x"), now), Err(Refusal::Wait(1)));
        assert!(post(&mut book, request("b", "x"), now).is_ok());
        assert!(post(&mut book, request("a", "x"), now + PACE).is_ok());
        assert_eq!(
            post(&mut book, request("a", "x"), now + PACE),
            Err(Refusal::Wait(1))
        );
        assert_eq!(book.messages.len(), 5);
    }

    #[test]
    fn empty_and_overlong_messages_are_refused() {
        let (mut book, now) = (Book::default(), Instant::now());
        assert_eq!(post(&mut book, request("a", ""), now), Err(refused("no_text")));
        let long = "x".repeat(LONGEST_TEXT + 1);
        assert_eq!(
            post(&mut book, request("a", &long), now),
            Err(refused("msg_too_long"))
        );
        let blocks = |value| Request {
            blocks: Some(value),
            ..request("a", "")
        };
        assert_eq!(
            post(&mut book, blocks(Value::from("x")), now),
            Err(refused("invalid_blocks_format"))
        );
        assert_eq!(
            post(&mut book, blocks(Value::from(vec![1; 51])), now),
            Err(refused("invalid_blocks"))
        );
        assert!(post(&mut book, blocks(Value::from(vec![1; 50])), now).is_ok());
    }

    #[test]
    fn a_mode_with_a_count_ends_by_itself() {
        let mut book = Book {
            mode: Mode::of(Manner::Broken).times(2),
            ..Book::default()
        };
        let manners = [(); 3].map(|()| book.manner().mode);
        assert_eq!(manners, [Manner::Broken, Manner::Broken, Manner::Ok]);
    }
}
