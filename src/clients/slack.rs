//! Slack: messages posted and updated, within its rate, outside every reconcile. What is said is decided elsewhere.

mod messages;
mod pace;
mod queue;
mod sender;
mod text;
mod thread;

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::http::{self, CallError, HttpClient, Reply, tidy};

pub use messages::{Ack, Acked, Delivery, Fate, Heard, Hold, Item, Permission, Permit, Thread};
pub use pace::{CHANNEL_INTERVAL, Method, Pace, UPDATE_INTERVAL};
pub use queue::{Job, Next, Queue};
pub use sender::{SlackHandle, sender};
pub use text::{MAX_TEXT, prepare};
pub use thread::Call;

/// Slack's own API.
pub const DEFAULT_BASE_URL: &str = "https://slack.com/api/";

/// One update, connecting included.
const UPDATE_DEADLINE: Duration = Duration::from_secs(10);

/// One post: where it is given up, it may have been taken, and is posted again.
const POST_DEADLINE: Duration = Duration::from_secs(30);

/// Answers of Slack are small.
const MAX_ANSWER: usize = 1 << 20;

/// How long to wait where Slack says "too fast" without saying how long.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The longest wait that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Codes that say something of the moment, and pass by themselves.
const PASSING_CODES: [&str; 6] = [
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
    "temporarily_unavailable",
    "external_channel_migrating",
    "org_login_required",
];

/// Codes of which Slack says itself that some of it may have been done.
const DOUBTFUL_CODES: [&str; 2] = ["fatal_error", "internal_error"];

/// Codes that say something of this one message, which no other try changes. Any other code, one that is not known yet
/// included, is for somebody to mend (the token, the channel, the app's rights): the message waits for it.
const MESSAGE_CODES: [&str; 17] = [
    ANSWER_WITHOUT_TS,
    "cannot_reply_to_message",
    "cant_update_message",
    "edit_window_closed",
    "invalid_arguments",
    "invalid_array_arg",
    "invalid_blocks",
    "invalid_blocks_format",
    "is_inactive",
    "markdown_text_conflict",
    "message_not_found",
    "metadata_too_large",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "thread_not_found",
    "too_many_attachments",
];

/// Our own word: Slack took the message and did not say where it stands.
const ANSWER_WITHOUT_TS: &str = "answer_without_ts";

/// Where a message stands: what `chat.update` and replies need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The channel's ID (`C…`); `chat.update` takes no names.
    pub channel_id: String,
    /// The message's timestamp, which is its identity.
    pub ts: String,
}

/// Why a message was not taken. Never shows the token or the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlackError {
    /// Slack wants silence for a while, from the whole token.
    #[error("Slack asks to wait {}", http::human(*.after))]
    RateLimited {
        /// How long.
        after: Duration,
    },
    /// Slack will never take this one message, by its code (`msg_too_long`, `thread_not_found`, …).
    #[error("Slack refused: {code}")]
    Refused {
        /// Slack's code.
        code: String,
    },
    /// Slack takes no such message until somebody mends what its code names (`invalid_auth`, `channel_not_found`, …).
    #[error("Slack refused: {code}{}", hint(code))]
    Denied {
        /// Slack's code.
        code: String,
    },
    /// Slack took a reply, and it stands in the channel by itself: its parent is gone.
    #[error("Slack posted a reply outside of its thread")]
    Orphaned(Posted),
    /// It did not work this time: it never came to Slack, or Slack says that it does not take it now.
    #[error("Slack did not take it: {0}")]
    Transient(String),
    /// It was sent, and nobody says what became of it.
    #[error("{0} (Slack may have taken it all the same)")]
    Unanswered(String),
}

/// What to do about the codes that people meet.
fn hint(code: &str) -> &'static str {
    match code {
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            " (the token is not valid)"
        }
        "missing_scope" | "not_allowed_token_type" => " (the token needs the scope chat:write)",
        "channel_not_found" => " (no such channel, or a private one the app was not invited to)",
        "not_in_channel" => " (invite the app to the channel, or give it chat:write.public)",
        "is_archived" => " (the channel is archived)",
        _ => "",
    }
}

/// What the sender needs of Slack.
pub trait Slack: Send + Sync + 'static {
    /// Posts a message, into the thread of `thread_ts` if given. `channel` is a name or an ID.
    fn post<'a>(
        &'a self,
        channel: &'a str,
        text: &'a str,
        thread_ts: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Posted, SlackError>>;

    /// Replaces the text of a message.
    fn update<'a>(&'a self, message: &'a Posted, text: &'a str) -> BoxFuture<'a, Result<(), SlackError>>;
}

/// The real Slack, or a stand-in at another address.
#[derive(Clone)]
pub struct SlackClient {
    post_url: Url,
    update_url: Url,
    token: SecretString,
    http: HttpClient,
}

impl std::fmt::Debug for SlackClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlackClient")
            .field("post_url", &self.post_url.as_str())
            .finish_non_exhaustive()
    }
}

/// The base URL is no URL that API methods can be added to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Slack URL must be http://… or https://… with a host")]
pub struct BadBaseUrl;

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    ts: String,
    /// The message as it stands, where the answer shows it.
    #[serde(default)]
    message: Value,
}

impl Answer {
    /// Slack posts a reply to a message that was deleted as if it were none, and says `ok`.
    fn is_outside_of_threads(&self) -> bool {
        let message = self.message.as_object();
        message.is_some_and(|message| message.get("thread_ts").is_none_or(Value::is_null))
    }

    /// Where it stands. Where that is unknown, to post it again would post it for ever.
    fn posted(self) -> Result<Posted, SlackError> {
        if self.channel.is_empty() || self.ts.is_empty() {
            return Err(SlackError::Refused {
                code: ANSWER_WITHOUT_TS.to_owned(),
            });
        }
        Ok(Posted {
            channel_id: self.channel,
            ts: self.ts,
        })
    }
}

impl SlackClient {
    /// A client for the API below `base_url` (see [`DEFAULT_BASE_URL`]).
    ///
    /// # Errors
    /// A URL without a host, or not of http.
    pub fn new(base_url: &str, token: SecretString, http: HttpClient) -> Result<Self, BadBaseUrl> {
        let mut base = Url::parse(base_url.trim()).map_err(|_| BadBaseUrl)?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(BadBaseUrl);
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let method = |name| base.join(name).map_err(|_| BadBaseUrl);
        Ok(Self {
            post_url: method("chat.postMessage")?,
            update_url: method("chat.update")?,
            token,
            http,
        })
    }

    async fn call(&self, url: &Url, body: &Value, deadline: Duration) -> Result<Answer, SlackError> {
        let request = self
            .http
            .current()
            .post(url.clone())
            .bearer_auth(self.token.expose_secret())
            .json(body);
        let reply = http::call(request, deadline, MAX_ANSWER)
            .await
            .map_err(|error| match error {
                CallError::Refused(why) => SlackError::Transient(format!("no connection: {why}")),
                other => SlackError::Unanswered(other.to_string()),
            })?;
        read(&reply)
    }
}

impl Slack for SlackClient {
    fn post<'a>(
        &'a self,
        channel: &'a str,
        text: &'a str,
        thread_ts: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Posted, SlackError>> {
        Box::pin(async move {
            let mut body = json!({
                "channel": channel,
                "text": prepare(text),
                // No link is made of an address that somebody wrote into a label.
                "parse": "none",
                "unfurl_links": false,
                "unfurl_media": false,
            });
            if let Some(ts) = thread_ts {
                body["thread_ts"] = ts.into();
            }
            let answer = self.call(&self.post_url, &body, POST_DEADLINE).await?;
            let is_orphaned = thread_ts.is_some() && answer.is_outside_of_threads();
            let posted = answer.posted()?;
            if is_orphaned {
                return Err(SlackError::Orphaned(posted));
            }
            Ok(posted)
        })
    }

    fn update<'a>(&'a self, message: &'a Posted, text: &'a str) -> BoxFuture<'a, Result<(), SlackError>> {
        Box::pin(async move {
            let (channel, text) = (&message.channel_id, prepare(text));
            // Else an update is read as if a person had typed it.
            let body = json!({"channel": channel, "ts": message.ts, "text": text, "parse": "none"});
            let answer = self.call(&self.update_url, &body, UPDATE_DEADLINE).await?;
            answer.posted().map(|_| ())
        })
    }
}

/// Slack says no with status 200 and `ok: false`; other statuses are its machinery, or a proxy, speaking.
fn read(reply: &Reply) -> Result<Answer, SlackError> {
    if reply.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(SlackError::RateLimited {
            after: retry_after(&reply.headers),
        });
    }
    if reply.status.is_server_error() {
        // Of a proxy, too, which may have passed it on.
        return Err(SlackError::Unanswered(format!(
            "status {}",
            reply.status.as_u16()
        )));
    }
    if !reply.status.is_success() {
        return Err(SlackError::Transient(format!("status {}", reply.status.as_u16())));
    }
    let answer: Answer = serde_json::from_slice(&reply.body)
        .map_err(|_| SlackError::Transient("its answer is not that of Slack's API".to_owned()))?;
    match answer {
        answer @ Answer { ok: true, .. } => Ok(answer),
        Answer { error, .. } if matches!(error.as_str(), "ratelimited" | "rate_limited") => {
            Err(SlackError::RateLimited {
                after: retry_after(&reply.headers),
            })
        }
        Answer { error, .. } if DOUBTFUL_CODES.contains(&error.as_str()) => {
            Err(SlackError::Unanswered(error))
        }
        Answer { error, .. } if error.is_empty() || PASSING_CODES.contains(&error.as_str()) => {
            Err(SlackError::Transient(if error.is_empty() {
                "it does not say why".to_owned()
            } else {
                error
            }))
        }
        Answer { error, .. } if MESSAGE_CODES.contains(&error.as_str()) => {
            Err(SlackError::Refused { code: error })
        }
        Answer { error, .. } => Err(SlackError::Denied {
            code: tidy(&error, 80),
        }),
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds
        .map_or(DEFAULT_RETRY_AFTER, Duration::from_secs)
        .min(MAX_RETRY_AFTER)
}
