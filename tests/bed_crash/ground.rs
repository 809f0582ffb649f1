//! What all runs stand on: etcd and an API server that knows the kinds of Istio and ours.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use birdwatch_bed::Infra;
use birdwatch_bed::audit::AuditLog;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::OnceCell;

use crate::support::RUNTIME;
use crate::support::bare::control_plane;

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
        let infra = control_plane().await;
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
