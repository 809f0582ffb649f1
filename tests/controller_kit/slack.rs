//! A Slack that notes what it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch::clients::slack::{Posted, Slack, SlackError, sender};
use birdwatch::controller::channels::Channels;
use birdwatch::controller::deliver::{Deliver, permit};
use birdwatch::runtime::lease::Gate;
use birdwatch::runtime::metrics::Metrics;
use futures::future::BoxFuture;
use tokio::sync::mpsc::unbounded_channel;

use super::Telling;

/// A Slack that notes what it is told, and can be slow or fail.
#[derive(Clone, Default)]
pub(crate) struct FakeSlack(pub(crate) Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// Posts that were begun.
    pub(crate) begun: usize,
    pub(crate) posted: Vec<(Option<String>, String)>,
    pub(crate) updated: Vec<String>,
    pub(crate) delay: Duration,
    pub(crate) failures: usize,
    /// The code by which Slack refuses everything, until somebody mends it.
    pub(crate) denied: Option<&'static str>,
    /// The id of the channel in which messages stand, where it is not `C1`.
    pub(crate) channel_id: Option<&'static str>,
    /// A channel that is no more: nothing is posted or edited there.
    pub(crate) gone: Option<&'static str>,
    /// A message with this word is refused for good.
    pub(crate) refused: Option<&'static str>,
    /// No message is updated.
    pub(crate) updates_fail: bool,
    /// No message may be edited any more.
    pub(crate) updates_refused: bool,
    pub(crate) channels: Vec<String>,
}

impl State {
    /// Channel and text of the messages that are in no thread.
    pub(crate) fn parents(&self) -> Vec<(String, String)> {
        let all = self.channels.iter().zip(&self.posted);
        let parents = all.filter(|(_, (thread, _))| thread.is_none());
        parents
            .map(|(channel, (_, text))| (channel.clone(), text.clone()))
            .collect()
    }
}

impl Slack for FakeSlack {
    fn post<'a>(
        &'a self,
        channel: &'a str,
        text: &'a str,
        thread_ts: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Posted, SlackError>> {
        Box::pin(async move {
            let delay = {
                let mut state = self.0.lock().unwrap();
                state.begun += 1;
                state.delay
            };
            tokio::time::sleep(delay).await;
            let mut state = self.0.lock().unwrap();
            if state.failures > 0 {
                state.failures -= 1;
                return Err(SlackError::Transient("down".into()));
            }
            if let Some(code) = state.denied {
                return Err(SlackError::Denied { code: code.into() });
            }
            if state.gone == Some(channel) {
                return Err(SlackError::Denied {
                    code: "channel_not_found".into(),
                });
            }
            if state.refused.is_some_and(|word| text.contains(word)) {
                return Err(SlackError::Refused {
                    code: "msg_too_long".into(),
                });
            }
            state.channels.push(channel.to_owned());
            state.posted.push((thread_ts.map(str::to_owned), text.to_owned()));
            Ok(Posted {
                channel_id: state.channel_id.unwrap_or("C1").into(),
                ts: format!("{}.0", state.posted.len()),
            })
        })
    }

    fn update<'a>(&'a self, message: &'a Posted, text: &'a str) -> BoxFuture<'a, Result<(), SlackError>> {
        Box::pin(async move {
            let mut state = self.0.lock().unwrap();
            assert!(["C1", "C2"].contains(&message.channel_id.as_str()));
            if state.gone == Some(message.channel_id.as_str()) {
                return Err(SlackError::Denied {
                    code: "channel_not_found".into(),
                });
            }
            let is_it = |(n, (thread, _)): (usize, &(Option<String>, String))| {
                thread.is_none() && message.ts == format!("{}.0", n + 1)
            };
            assert!(
                state.posted.iter().enumerate().any(is_it),
                "{message:?} is no parent"
            );
            if state.updates_fail {
                return Err(SlackError::Transient("down".into()));
            }
            if state.updates_refused {
                return Err(SlackError::Refused {
                    code: "edit_window_closed".into(),
                });
            }
            state.updated.push(text.to_owned());
            Ok(())
        })
    }
}

/// How an operator tells that Slack.
pub(crate) fn through(slack: &FakeSlack, gate: &Gate, channels: Channels) -> Telling {
    let (heard, answers) = unbounded_channel();
    let (handle, sending) = sender(Arc::new(slack.clone()), permit(gate.clone()), heard);
    tokio::spawn(sending);
    (Deliver::through(handle, channels, Metrics::new()), answers)
}
