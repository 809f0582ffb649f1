//! The operator's process, started again whenever it ends, as a node does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch_bed::clock;
use birdwatch_bed::operator::SLACK_TOKEN;
use birdwatch_bed::process::{Process, Signal, Spec, log_tail};
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::support::bare::write_kubeconfig;
use crate::support::program;

/// Between the end of a process and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the operator finds everybody.
pub(crate) struct Surroundings<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) api: &'a str,
    pub(crate) prometheus: &'a str,
    pub(crate) slack: &'a str,
    /// Files of this name are its own.
    pub(crate) file: PathBuf,
}

/// One operator through all its lives.
pub(crate) struct Operator {
    shared: Arc<Shared>,
    _restarting: AbortOnDropHandle<()>,
}

struct Shared {
    spec: Spec,
    log: PathBuf,
    stopping: AtomicBool,
    running: Mutex<Option<Arc<Process>>>,
    lives: Mutex<Vec<Life>>,
}

/// From start to end of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
}

impl Operator {
    /// Starts it: it watches one namespace, where its lease lies too, and keeps its identity over all its lives, as a
    /// container does that is started again in its pod.
    pub(crate) fn start(around: &Surroundings<'_>) -> Self {
        let shared = Arc::new(Shared {
            spec: spec(around),
            log: around.file.with_extension("log"),
            stopping: AtomicBool::new(false),
            running: Mutex::default(),
            lives: Mutex::default(),
        });
        let restarting = tokio::spawn(Arc::clone(&shared).live());
        Self {
            shared,
            _restarting: AbortOnDropHandle::new(restarting),
        }
    }

    /// SIGKILL to the present process.
    pub(crate) fn killer(&self) -> Killer {
        Killer(Arc::clone(&self.shared))
    }

    /// SIGTERM, and no further life. Returns when it has ended in order; one that is killed on the way is started again
    /// and told again.
    pub(crate) async fn stop(&self, still: impl Fn() -> bool) {
        loop {
            let Some(process) = self.shared.running() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            process.signal(Signal::TERM);
            if process.wait().await.success() {
                self.shared.stopping.store(true, Ordering::SeqCst);
                return;
            }
            // The next one has to come as far as this one.
            while !still() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// All its lives so far.
    pub(crate) fn lives(&self) -> Vec<Life> {
        self.shared.lives.lock().unwrap().clone()
    }

    /// The end of its log.
    pub(crate) fn log(&self, lines: usize) -> String {
        log_tail(&self.shared.log, lines)
    }
}

/// What kills an operator.
#[derive(Clone)]
pub(crate) struct Killer(Arc<Shared>);

impl Killer {
    /// SIGKILL; returns when the process is gone.
    pub(crate) async fn kill(self) {
        if let Some(process) = self.0.running() {
            process.signal(Signal::KILL);
            process.wait().await;
        }
    }
}

impl Shared {
    fn running(&self) -> Option<Arc<Process>> {
        self.running.lock().unwrap().clone()
    }

    async fn live(self: Arc<Self>) {
        while !self.stopping.load(Ordering::SeqCst) {
            let process = Arc::new(self.spec.spawn().unwrap());
            self.lives.lock().unwrap().push(Life {
                from: clock::now(),
                to: None,
            });
            *self.running.lock().unwrap() = Some(Arc::clone(&process));
            let status = process.wait().await;
            *self.running.lock().unwrap() = None;
            self.lives.lock().unwrap().last_mut().unwrap().to = Some(clock::now());
            if status.success() {
                return; // told to
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(process) = self.shared.running() {
            process.signal(Signal::KILL);
        }
    }
}

fn spec(around: &Surroundings<'_>) -> Spec {
    let kubeconfig = around.file.with_extension("kubeconfig");
    write_kubeconfig(&kubeconfig, around.api);
    let namespace = around.namespace;
    Spec::new(namespace, program())
        .args(["run", "--admin-address=127.0.0.1", "--admin-port=0"])
        .args(["--scrape-interval=100ms", "--propagation-delay=100ms"])
        .args(["--lease-duration=15s", "--identity=operator"])
        .args([
            format!("--namespaces={namespace}"),
            format!("--lease-namespace={namespace}"),
        ])
        .args([
            format!("--prometheus-url={}", around.prometheus),
            format!("--slack-url={}", around.slack),
        ])
        .env("KUBECONFIG", kubeconfig.to_string_lossy())
        .env("SLACK_API_TOKEN", SLACK_TOKEN)
        .env("RUST_LOG", "info,birdwatch=debug")
        .log(around.file.with_extension("log"))
}
