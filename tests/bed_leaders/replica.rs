//! One replica: the operator's process behind a proxy of its own, started again when it ends, as a node does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use birdwatch_bed::clock;
use birdwatch_bed::parts::proxy::{Call, Disturbance, Judge, Proxy};
use birdwatch_bed::process::{Process, Signal, Spec, log_tail};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::book::{Book, LEASE};
use crate::door::{Catch, Door};
use crate::ground::Ground;
use crate::shift::{Shift, library};
use crate::stage::{LONG, LOOK};
use crate::support::bare::write_kubeconfig;
use crate::support::program;

/// Between the end of a process and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// One of several.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) door: Arc<Door>,
    pub(crate) shift: Shift,
    proxy: Proxy,
    shared: Arc<Shared>,
    _living: AbortOnDropHandle<()>,
}

struct Shared {
    spec: Spec,
    running: Mutex<Option<Arc<Process>>>,
    /// Whether it is to be there.
    wanted: watch::Sender<bool>,
    ends: Mutex<Vec<Timestamp>>,
}

/// What a replica looks after.
#[derive(Clone, Copy)]
pub(crate) struct Ward<'a> {
    /// Namespace of its leases.
    pub(crate) home: &'a str,
    /// The namespaces that it watches, separated by commas.
    pub(crate) watched: &'a str,
    /// How many shards they are split into.
    pub(crate) shards: u16,
}

impl Replica {
    /// Starts it.
    pub(crate) async fn start(
        ground: &'static Ground,
        ward: Ward<'_>,
        name: &str,
        prometheus: &str,
        book: &Arc<Book>,
    ) -> Self {
        let Ward {
            home,
            watched,
            shards,
        } = ward;
        let file = ground.file(&format!("{home}-{name}"));
        let shift = Shift::new(file.with_extension("shift"));
        let door = Arc::new(Door::new(name, book));
        let judge: Arc<dyn Judge> = Arc::clone(&door) as _;
        let proxy = Proxy::start(ground.client().await, judge).await.unwrap();
        let kubeconfig = file.with_extension("kubeconfig");
        write_kubeconfig(&kubeconfig, &proxy.url());
        let preloaded = library(file.parent().unwrap()).await;
        let spec = Spec::new(format!("{name}-{home}"), program())
            .args(["run", "--admin-address=127.0.0.1", "--admin-port=0"])
            .args(["--scrape-interval=100ms", "--propagation-delay=100ms"])
            .args([
                format!("--lease-duration={}s", LEASE.as_secs()),
                format!("--identity={name}"),
                format!("--namespaces={watched}"),
                format!("--lease-namespace={home}"),
                format!("--shards={shards}"),
                format!("--prometheus-url={prometheus}"),
            ])
            .env("KUBECONFIG", kubeconfig.to_string_lossy())
            .env("RUST_LOG", "info,birdwatch=debug")
            .env("LD_PRELOAD", preloaded.to_string_lossy())
            .env("SHIFT_FILE", shift.file().to_string_lossy())
            .log(file.with_extension("log"));
        let shared = Arc::new(Shared {
            spec,
            running: Mutex::default(),
            wanted: watch::channel(true).0,
            ends: Mutex::default(),
        });
        let living = tokio::spawn(Arc::clone(&shared).live());
        Self {
            name: name.to_owned(),
            door,
            shift,
            proxy,
            shared,
            _living: AbortOnDropHandle::new(living),
        }
    }

    /// To its present process.
    pub(crate) fn signal(&self, signal: Signal) {
        self.shared.running().unwrap().signal(signal);
    }

    /// Ends it by a signal; it stays away until [`Replica::come_back`].
    pub(crate) async fn end(&self, signal: Signal) {
        self.shared.wanted.send_replace(false);
        if let Some(process) = self.shared.running() {
            process.signal(signal);
            process.wait().await;
        }
    }

    pub(crate) fn come_back(&self) {
        self.shared.wanted.send_replace(true);
    }

    /// Waits until its process has ended after that time.
    pub(crate) async fn ended_since(&self, since: Timestamp) -> Timestamp {
        let ended = || {
            let ends = self.shared.ends.lock().unwrap();
            ends.iter().copied().find(|end| *end >= since)
        };
        loop {
            if let Some(end) = ended() {
                return end;
            }
            let waited = clock::now().duration_since(since);
            let late = waited > SignedDuration::try_from(LONG).unwrap();
            assert!(!late, "{} does not end\n{}", self.name, self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether its process is there.
    pub(crate) fn runs(&self) -> bool {
        self.shared.running().is_some()
    }

    /// How many processes have ended so far.
    pub(crate) fn ends(&self) -> usize {
        self.shared.ends.lock().unwrap().len()
    }

    /// Keeps back the first call that this catches, and stops the process with it.
    pub(crate) fn catch(&self, catches: fn(&Call) -> bool) -> Catch {
        self.door.catch(self.shared.running().unwrap(), catches)
    }

    /// The API server is away for it, open watches included, or there again.
    pub(crate) fn cut_off(&self, away: bool) {
        self.door.shut(away);
        if away {
            self.proxy.disturb(Disturbance::Cut);
        }
    }

    /// Whether its present process has said that it leads.
    pub(crate) fn acts(&self) -> bool {
        let all = std::fs::read_to_string(self.shared.spec.log.as_ref().unwrap()).unwrap_or_default();
        let present = all.rsplit("cli::run: starting").next();
        present.is_some_and(|said| said.contains("leading: this replica acts"))
    }

    pub(crate) fn log(&self) -> String {
        log_tail(self.shared.spec.log.as_ref().unwrap(), 25)
    }
}

impl Shared {
    fn running(&self) -> Option<Arc<Process>> {
        self.running.lock().unwrap().clone()
    }

    async fn live(self: Arc<Self>) {
        let mut wanted = self.wanted.subscribe();
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            let process = Arc::new(self.spec.spawn().unwrap());
            *self.running.lock().unwrap() = Some(Arc::clone(&process));
            process.wait().await;
            *self.running.lock().unwrap() = None;
            self.ends.lock().unwrap().push(clock::now());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shared.wanted.send_replace(false);
        if let Some(process) = self.shared.running() {
            process.signal(Signal::KILL);
        }
    }
}
