//! Stands in the proxy of one replica: enters every call in the book, keeps one back, or lets nothing through.

use std::sync::{Arc, Mutex};

use birdwatch_bed::parts::proxy::{Call, Fate, Judge};
use birdwatch_bed::process::{Process, Signal};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::book::{Book, Sent};

/// The way of one replica to the API server.
pub(crate) struct Door {
    replica: String,
    book: Arc<Book>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shut: bool,
    trap: Option<Trap>,
}

/// What keeps a call back and stops its sender.
struct Trap {
    catches: fn(&Call) -> bool,
    sender: Arc<Process>,
    caught: oneshot::Sender<()>,
    free: oneshot::Receiver<()>,
}

/// A call that will be kept back.
pub(crate) struct Catch {
    caught: oneshot::Receiver<()>,
    free: oneshot::Sender<()>,
}

impl Catch {
    /// Waits until it is, and its sender stands still.
    pub(crate) async fn caught(&mut self) {
        (&mut self.caught).await.unwrap();
    }

    /// Lets it go on to the server.
    pub(crate) fn free(self) {
        self.free.send(()).unwrap();
    }
}

impl Door {
    pub(crate) fn new(replica: &str, book: &Arc<Book>) -> Self {
        Self {
            replica: replica.to_owned(),
            book: Arc::clone(book),
            state: Mutex::default(),
        }
    }

    /// The API server is away for this replica from now on, or there again.
    pub(crate) fn shut(&self, shut: bool) {
        self.state.lock().unwrap().shut = shut;
    }

    /// Stops the process with the first call that this catches, and keeps the call back.
    pub(crate) fn catch(&self, sender: Arc<Process>, catches: fn(&Call) -> bool) -> Catch {
        let ((caught, was_caught), (free, is_free)) = (oneshot::channel(), oneshot::channel());
        self.state.lock().unwrap().trap = Some(Trap {
            catches,
            sender,
            caught,
            free: is_free,
        });
        Catch {
            caught: was_caught,
            free,
        }
    }

    fn trap_for(&self, call: &Call) -> Option<Trap> {
        let trap = &mut self.state.lock().unwrap().trap;
        trap.take_if(|trap| (trap.catches)(call))
    }
}

impl Judge for Door {
    fn judge<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Fate> {
        let trap = self.trap_for(call);
        async move {
            let held = trap.is_some();
            if let Some(trap) = trap {
                trap.sender.signal(Signal::STOP);
                // Where the test is over already, nobody listens.
                let _ = trap.caught.send(());
                let _ = trap.free.await;
            }
            // What is on its way and kept back is not sent again.
            self.book.enter(Sent::now(&self.replica, call, held));
            if self.state.lock().unwrap().shut && !held {
                Fate::Cut
            } else {
                Fate::Forward
            }
        }
        .boxed()
    }
}
