//! What is known of a pod's containers, shared between those who run them and the one who reports them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{probe::Health, problem::Problem};
use crate::process::{Process, Signal};

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) exit_code: i32,
    pub(super) message: String,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Ended(Ended),
}

/// One container as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) started: bool,
    pub(super) ready: bool,
    pub(super) restarts: i32,
    /// It has ended for good.
    pub(super) over: bool,
}

/// The containers of one pod, by their index.
#[derive(Debug)]
pub(super) struct Board {
    entries: Mutex<Vec<Entry>>,
    changed: Notify,
}

#[derive(Debug)]
struct Entry {
    container: Container,
    process: Option<Arc<Process>>,
}

impl Board {
    /// A board of containers (name and image) of which none has been started.
    pub(super) fn new<'a>(containers: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let entry = |(name, image): (&str, &str)| Entry {
            container: Container {
                name: name.to_owned(),
                image: image.to_owned(),
                state: State::Waiting {
                    reason: "ContainerCreating",
                    message: String::new(),
                },
                last: None,
                started: false,
                ready: false,
                restarts: 0,
                over: false,
            },
            process: None,
        };
        Self {
            entries: Mutex::new(containers.map(entry).collect()),
            changed: Notify::new(),
        }
    }

    /// All containers as they stand.
    pub(super) fn containers(&self) -> Vec<Container> {
        self.entries()
            .iter()
            .map(|entry| entry.container.clone())
            .collect()
    }

    /// Returns after a change that came since it last returned.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Sends a signal to every process there is; false when there is none.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let entries = self.entries();
        let running = entries.iter().filter_map(|entry| entry.process.as_ref());
        running.map(|process| process.signal(signal)).count() > 0
    }

    /// Process ids of the containers that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.entries()
            .iter()
            .filter_map(|entry| entry.process.as_ref())
            .map(|process| process.pid())
            .collect()
    }

    pub(super) fn waits(&self, index: usize, problem: Problem) {
        let Problem { reason, message } = problem;
        self.update(index, |entry| {
            entry.container.state = State::Waiting { reason, message }
        });
    }

    pub(super) fn runs(&self, index: usize, process: Arc<Process>, since: Timestamp) {
        self.update(index, |entry| {
            entry.process = Some(process);
            entry.container.restarts += i32::from(entry.container.last.is_some());
            entry.container.state = State::Running { since };
        });
    }

    pub(super) fn reports(&self, index: usize, health: Health) {
        self.update(index, |entry| match health {
            Health::Started => entry.container.started = true,
            Health::Ready(ready) => entry.container.ready = ready,
        });
    }

    /// The process has ended; `over` says that the container will not be started again.
    pub(super) fn ended(&self, index: usize, ended: Ended, over: bool) {
        self.update(index, |entry| {
            entry.process = None;
            let container = &mut entry.container;
            (container.started, container.ready, container.over) = (false, false, over);
            container.last = Some(ended.clone());
            container.state = State::Ended(ended);
        });
    }

    /// The container will not be started again, whatever it waits for.
    pub(super) fn gives_up(&self, index: usize) {
        self.update(index, |entry| {
            entry.container.over = true;
            if let Some(ended) = &entry.container.last {
                entry.container.state = State::Ended(ended.clone());
            }
        });
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(index) else {
            return;
        };
        let before = entry.container.clone();
        change(entry);
        if entry.container != before {
            self.changed.notify_one();
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
