//! The Kubernetes control plane: etcd, API server, controller manager. Says how each is started, and starts none.

use std::{fs, io, path::Path, time::Duration};

use crate::{
    certs::{self, Certs, Pair},
    part::{Part, Probe},
    process::Spec,
    tools::Tools,
};

/// Who asked for what, for every request; bodies are not kept.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
 "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// Why the control plane cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificates.
    #[error(transparent)]
    Certs(#[from] certs::Error),
    /// A file could not be written.
    #[error("cannot prepare the control plane: {0}")]
    Write(#[from] io::Error),
}

/// Where things of one bed are and how they are reached.
pub(crate) struct Ground<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) certs: &'a Certs,
    pub(crate) dir: &'a Path,
    pub(crate) admin: &'a Pair,
}

impl Ground<'_> {
    pub(crate) fn logs(&self) -> std::path::PathBuf {
        self.dir.join("logs")
    }

    /// A probe over TLS, asked as the administrator.
    fn https(&self, port: u16, path: &str) -> Probe {
        Probe {
            url: format!("https://127.0.0.1:{port}{path}"),
            tls: Some((self.certs.ca_pem().to_owned(), self.admin.pem())),
        }
    }
}

/// etcd, whose data does not survive a power cut and need not.
pub(crate) fn etcd(ground: &Ground, client: u16, peer: u16) -> Part {
    let data = ground.dir.join("etcd");
    let url = |port| format!("http://127.0.0.1:{port}");
    let spec = Spec::new("etcd", ground.tools.program("etcd"))
        .args([
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={}", url(client)),
            format!("--advertise-client-urls={}", url(client)),
            format!("--listen-peer-urls={}", url(peer)),
            format!("--initial-advertise-peer-urls={}", url(peer)),
            format!("--initial-cluster=default={}", url(peer)),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ])
        .cwd(ground.dir);
    Part::new(
        spec,
        &ground.logs(),
        Probe::http(format!("{}/health", url(client))),
    )
    .with_data(data)
}

/// The API server, with RBAC and an audit log at `audit`.
pub(crate) fn apiserver(ground: &Ground, port: u16, etcd: u16, audit: &Path) -> Result<Part, Error> {
    let policy = ground.dir.join("audit-policy.json");
    fs::write(&policy, AUDIT_POLICY)?;
    let pair = ground.certs.server("kube-apiserver")?;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let spec = Spec::new("kube-apiserver", ground.tools.program("kube-apiserver"))
        .args([
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            file("tls-cert-file", &pair.cert),
            file("tls-private-key-file", &pair.key),
            file("client-ca-file", &ground.certs.ca()),
            "--authorization-mode=RBAC".into(),
            "--allow-privileged=true".into(), // as clusters have it: what asks for it is refused by Pod Security, or not at all
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            file("service-account-key-file", &ground.certs.account_public_key()),
            file("service-account-signing-key-file", &ground.certs.account_key()),
            "--endpoint-reconciler-type=none".into(),
            file("audit-policy-file", &policy),
            file("audit-log-path", audit),
            "--audit-log-maxsize=100000".into(), // megabytes: a test that counts requests must see all of them
        ])
        .cwd(ground.dir);
    // It lingers for up to a minute where watches are open: end it hard after a few seconds.
    Ok(Part::new(spec, &ground.logs(), ground.https(port, "/readyz")).with_grace(Duration::from_secs(3)))
}

/// Which controllers run, and how much they may ask of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controllers {
    /// Those that make pods of Deployments, give namespaces their accounts, and clean up, with the limits that they
    /// have everywhere; none that wants nodes.
    Usual,
    /// Those that make pods of Deployments, and accounts, without a limit worth the name: where thousands of services are
    /// measured they must not be what is waited for.
    Unlimited,
}

impl Controllers {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Usual => &["--controllers=*,-nodelifecycle,-nodeipam,-ttl"],
            Self::Unlimited => &[
                "--controllers=deployment-controller,replicaset-controller,serviceaccount-controller",
                "--kube-api-qps=5000",
                "--kube-api-burst=5000",
                "--concurrent-deployment-syncs=20",
                "--concurrent-replicaset-syncs=20",
            ],
        }
    }
}

/// The controllers.
pub(crate) fn controller_manager(
    ground: &Ground,
    port: u16,
    kubeconfig: &Path,
    controllers: Controllers,
) -> Result<Part, Error> {
    let pair = ground.certs.server("kube-controller-manager-server")?;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let spec = Spec::new(
        "kube-controller-manager",
        ground.tools.program("kube-controller-manager"),
    )
    .args([
        file("kubeconfig", kubeconfig),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        file("tls-cert-file", &pair.cert),
        file("tls-private-key-file", &pair.key),
        file("service-account-private-key-file", &ground.certs.account_key()),
        file("root-ca-file", &ground.certs.ca()),
        "--use-service-account-credentials".into(),
        "--leader-elect=false".into(),
    ])
    .args(controllers.flags().iter().copied())
    .cwd(ground.dir);
    Ok(Part::new(spec, &ground.logs(), ground.https(port, "/healthz")))
}
