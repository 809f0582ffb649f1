//! What all cases stand on: etcd and an API server, one operator that watches it, a Slack and several Prometheuses.

use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use birdwatch_bed::operator::SLACK_TOKEN;
use birdwatch_bed::parts::prometheus::Prometheus;
use birdwatch_bed::parts::slack::Slack;
use birdwatch_bed::process::{Spec, log_tail};
use birdwatch_bed::{Infra, parts::apps};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::prometheus::{Manners, serve};
use crate::slack::{Refusals, stand_before};
use crate::support::bare::control_plane;
use crate::support::{RUNTIME, SOON, eventually, program};

static GROUND: OnceCell<Ground> = OnceCell::const_new();

/// Namespaces that the operator watches.
const NAMESPACES: usize = 100;
/// A large answer, which needs a place to be read.
const LARGE: usize = 3 << 19;

/// All of it.
pub(crate) struct Ground {
    pub(crate) infra: Infra,
    pub(crate) slack: Slack,
    pub(crate) manners: Manners,
    pub(crate) refusals: Refusals,
    /// How many cases go on at a time.
    pub(crate) places: Semaphore,
    stages: AtomicUsize,
    admin: u16,
    _prometheus: Prometheus,
    _slack_door: AbortOnDropHandle<()>,
    _operator: AbortOnDropHandle<()>,
}

/// Runs a test on it.
pub(crate) fn on_ground<F: Future<Output = ()>>(test: impl FnOnce(&'static Ground) -> F) {
    RUNTIME.block_on(async { test(GROUND.get_or_init(Ground::lay).await).await });
}

/// The namespace of a case.
fn namespace(number: usize) -> String {
    format!("symptom-{number}")
}

impl Ground {
    async fn lay() -> Self {
        let infra = control_plane().await;
        let manners = Manners::default();
        let slack = Slack::start(([127, 0, 0, 1], 0).into(), SLACK_TOKEN)
            .await
            .unwrap();
        let refusals = Refusals::default();
        let (slack_url, slack_door) = stand_before(&slack, &refusals).await;
        let prometheus = serve(manners.clone()).await;
        let admin = free_port();
        let ground = Self {
            _operator: operator(&infra, &prometheus.url(), &slack_url, admin).await,
            infra,
            slack,
            manners,
            refusals,
            places: Semaphore::new(24),
            stages: AtomicUsize::new(1),
            admin,
            _prometheus: prometheus,
            _slack_door: slack_door,
        };
        let leads = async || {
            ground
                .scraped()
                .await?
                .contains("birdwatch_leader 1")
                .then_some(())
        };
        eventually("the operator leads", SOON, leads).await;
        ground
    }

    /// A namespace that no other case has.
    pub(crate) fn fresh_namespace(&self) -> String {
        let number = self.stages.fetch_add(1, Ordering::Relaxed);
        assert!(number < NAMESPACES, "more cases than namespaces");
        namespace(number)
    }

    /// The same where no operator looks.
    pub(crate) fn fresh_unwatched(&self) -> String {
        format!("unwatched-{}", self.stages.fetch_add(1, Ordering::Relaxed))
    }

    /// What the operator's metrics say.
    pub(crate) async fn metrics(&self) -> String {
        eventually("metrics", SOON, async || self.scraped().await).await
    }

    /// The end of the operator's log.
    pub(crate) fn log(&self) -> String {
        log_tail(&self.infra.dir().join("logs/operator.log"), 40)
    }

    async fn scraped(&self) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        reqwest::get(url).await.ok()?.text().await.ok()
    }
}

async fn operator(infra: &Infra, prometheus: &str, slack: &str, admin: u16) -> AbortOnDropHandle<()> {
    let client = infra.client().unwrap();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "birdwatch", "namespace": "default"},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
    });
    apps::apply(&client, &[lease]).await.unwrap();
    let dead = format!("http://127.0.0.1:{}", free_port());
    let servers = json!([
        {"name": "default", "url": prometheus},
        {"name": "dead", "url": dead},
        {"name": "broken", "url": breaks_off(100, false).await},
        {"name": "stalls", "url": breaks_off(LARGE, true).await},
        {"name": "stalls-too", "url": breaks_off(LARGE, true).await},
        {"name": "stalls-as-well", "url": breaks_off(LARGE, true).await},
        {"name": "one", "url": prometheus, "maxInFlight": 1},
        {"name": "tenants", "url": prometheus, "enforcedLabel": "namespace"},
    ]);
    let file = infra.dir().join("servers.yaml");
    std::fs::write(&file, servers.to_string()).unwrap();
    let watched: Vec<String> = (1..NAMESPACES).map(namespace).collect();
    let operator = Spec::new("operator", program())
        .args(["run", "--admin-address=127.0.0.1", "--lease-namespace=default"])
        .args(["--scrape-interval=1s", "--propagation-delay=2s"])
        .args([
            format!("--admin-port={admin}"),
            format!("--namespaces={}", watched.join(",")),
            format!("--prometheus-servers-file={}", file.display()),
            format!("--slack-url={slack}"),
            format!("--slack-allowed-channels={}", watched.join(",")),
        ])
        .env("KUBECONFIG", infra.kubeconfig().to_string_lossy())
        .env("SLACK_API_TOKEN", SLACK_TOKEN)
        .env("RUST_LOG", "info,birdwatch=debug")
        .log(infra.dir().join("logs/operator.log"));
    // As a node does: one that could not renew its lease ends.
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            operator.spawn().unwrap().wait().await;
        }
    }))
}

/// A server that sends so much of a longer answer, and then hangs up, or says nothing more.
async fn breaks_off(after: usize, stalls: bool) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Who answers before he is asked is no server.
                let asked = connection.read(&mut [0; 4096]).await;
                if !asked.is_ok_and(|read| read > 0) {
                    return;
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 2 * after);
                connection.write_all(head.as_bytes()).await.ok();
                connection.write_all(&vec![b' '; after]).await.ok();
                while stalls && connection.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    format!("http://{address}")
}

fn free_port() -> u16 {
    let listener = StdListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
