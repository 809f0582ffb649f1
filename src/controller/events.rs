//! Kubernetes Events on a `BirdWatch`: handed over at once and published beside every reconcile. An Event that cannot
//! be published is logged and lost; status and notices do not depend on it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use crate::core::decision::Event;

use super::context::MANAGER;
use super::objects::RawBirdWatch;

/// Events that may wait.
const MOST: usize = 1000;

/// How long one may take to publish.
const DEADLINE: Duration = Duration::from_secs(5);

/// What Kubernetes takes of a note, in bytes.
const LONGEST_NOTE: usize = 1024;

type Waiting = (KubeEvent, ObjectReference);

/// Where Events are handed in.
#[derive(Clone, Debug)]
pub struct Events(Sender<Waiting>);

impl Events {
    /// The handle, and the task to spawn; it ends when every handle is dropped and what waited is published.
    pub fn new(client: Client, instance: String) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, waiting) = channel(MOST);
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance),
        };
        (Self(sender), run(Recorder::new(client, reporter), waiting))
    }

    /// Hands Events over; never waits.
    pub fn publish(&self, object: &RawBirdWatch, events: Vec<Event>) {
        for event in events {
            tracing::info!(reason = event.reason, action = event.action, "{}", event.note);
            if self
                .0
                .try_send((kube_event(event), object.object_ref(&())))
                .is_err()
            {
                tracing::warn!("an Event is lost: too many wait to be published");
            }
        }
    }
}

fn kube_event(event: Event) -> KubeEvent {
    let Event {
        warning,
        reason,
        action,
        note,
    } = event;
    KubeEvent {
        type_: if warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(cut(note)),
        action,
        secondary: None,
    }
}

/// At most what Kubernetes takes, between characters.
fn cut(mut note: String) -> String {
    if note.len() > LONGEST_NOTE {
        note.truncate(note.floor_char_boundary(LONGEST_NOTE - '…'.len_utf8()));
        note.push('…');
    }
    note
}

async fn run(recorder: Recorder, mut waiting: Receiver<Waiting>) {
    while let Some((event, object)) = waiting.recv().await {
        match timeout(DEADLINE, recorder.publish(&event, &object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason = event.reason, "an Event was not published"),
            Err(_) => tracing::warn!(reason = event.reason, "an Event was not published in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters_to_what_kubernetes_takes() {
        let note = cut("é".repeat(2000));
        assert!(note.len() <= LONGEST_NOTE && note.len() > LONGEST_NOTE - 4);
        assert!(note.ends_with('…'));
        assert_eq!(cut("short".into()), "short");
    }
}
