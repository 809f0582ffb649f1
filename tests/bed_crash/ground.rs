//! What all runs stand on: etcd and an API server that knows the kinds of Istio and ours.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use birdwatch_bed::Infra;
use birdwatch_bed::audit::AuditLog;
use birdwatch_bed::operator::root;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    birdwatch::clients::http::install_crypto_provider();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
});
static GROUND: OnceCell<Ground> = OnceCell::const_new();

/// The control plane of this test binary.
pub(crate) struct Ground {
    infra: Infra,
    stages: AtomicUsize,
}

/// Runs a test on it.
pub(crate) fn on_ground<F: Future<Output = ()>>(test: impl FnOnce(&'static Ground) -> F) {
    RUNTIME.block_on(async { test(GROUND.get_or_init(Ground::lay).await).await });
}

impl Ground {
    async fn lay() -> Self {
        let infra = Infra::start_api(None)
            .await
            .unwrap_or_else(|error| panic!("the control plane did not start: {error}"));
        let crd = std::fs::read_to_string(root().join("crds/birdwatches.yaml")).unwrap();
        infra.apply(&crd).await.unwrap();
        let wait = [
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=30s",
        ];
        infra.kubectl(wait).await.unwrap();
        Self {
            infra,
            stages: AtomicUsize::new(1),
        }
    }

    /// A name that no other stage has.
    pub(crate) fn fresh_name(&self) -> String {
        format!("run-{}", self.stages.fetch_add(1, Ordering::Relaxed))
    }

    /// A client of its own connections that retries nothing by itself.
    pub(crate) async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.infra.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// What the API server was asked for.
    #[allow(dead_code, reason = "each test binary uses its own part of it")]
    pub(crate) fn audit(&self) -> AuditLog {
        self.infra.audit()
    }

    /// Where a file of that name may be written.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.infra.dir().join("logs").join(name)
    }
}
