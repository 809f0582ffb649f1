//! What a bed stands on: control plane, mesh and Prometheus, from the first certificate to the last process gone.

mod error;

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

pub use error::Error;

use crate::{
    audit::AuditLog,
    certs::Certs,
    clock::Stopwatch,
    cluster::{self, Controllers, Ground},
    mesh::{self, RouteWeights},
    part::Part,
    prometheus,
    run_dir::RunDir,
    slot::{NoSlot, Slot},
    tools::Tools,
};

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";

/// A running control plane, mesh and Prometheus. Dropped, all of it ends; killed with its process, too.
#[derive(Debug)]
pub struct Infra {
    /// The store of the API server.
    pub etcd: Part,
    /// The API server.
    pub apiserver: Part,
    /// The Deployment, `ReplicaSet`, Job, garbage and other controllers.
    pub controller_manager: Part,
    /// The mesh's control plane.
    pub istiod: Part,
    /// Envoy, as the mesh's gateway.
    pub gateway: Part,
    /// Prometheus; its data can be wiped.
    pub prometheus: Part,
    ports: Ports,
    config: Config,
    tools: Tools,
    slot: Slot,
    run_dir: RunDir,
}

/// Every port of a bed.
#[derive(Debug)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api: u16,
    controller_manager: u16,
    istiod: mesh::Ports,
    envoy_admin: u16,
    gateway: u16,
    gateway_tcp: u16,
    prometheus: u16,
    slack: u16,
}

impl Ports {
    fn of(slot: &mut Slot) -> Result<Self, NoSlot> {
        Ok(Self {
            etcd: slot.port()?,
            etcd_peer: slot.port()?,
            api: slot.port()?,
            controller_manager: slot.port()?,
            istiod: mesh::Ports {
                http: slot.port()?,
                grpc: slot.port()?,
                monitoring: slot.port()?,
                introspection: slot.port()?,
            },
            envoy_admin: slot.port()?,
            gateway: slot.port()?,
            gateway_tcp: slot.port()?,
            prometheus: slot.port()?,
            slack: slot.port()?,
        })
    }
}

impl Infra {
    /// Starts all of it; the first time on a machine its programs are built, which is told on standard error. Returns
    /// when every part is ready: after about 10 s on two cores, when all is built.
    ///
    /// Data, logs and configuration go to `run_dir`, which is emptied at the start and kept at the end, or, without
    /// one, to a temporary directory that is removed at the end.
    pub async fn start(run_dir: Option<PathBuf>) -> Result<Self, Error> {
        let infra = Self::laid_out(run_dir, Tools::ensure().await?, Controllers::Usual).await?;
        infra.bring_up().await?;
        Ok(infra)
    }

    /// Starts etcd and the API server alone, with Istio's kinds: for those who need no pods and no traffic. The other
    /// parts can be started later.
    pub async fn start_api(run_dir: Option<PathBuf>) -> Result<Self, Error> {
        let infra = Self::laid_out(run_dir, Tools::ensure().await?, Controllers::Usual).await?;
        infra.etcd.start().await?;
        infra.apiserver.start().await?;
        infra.serve_istio_kinds(&infra.client()?).await?;
        Ok(infra)
    }

    /// What operators are measured on: the same with the controllers that make pods of Deployments, which here have no
    /// limit of their own. `tools` may have the rivals besides.
    pub async fn start_to_measure(tools: Tools) -> Result<Self, Error> {
        let infra = Self::laid_out(None, tools, Controllers::Unlimited).await?;
        infra.etcd.start().await?;
        infra.apiserver.start().await?;
        infra.serve_istio_kinds(&infra.client()?).await?;
        infra.controller_manager.start().await?;
        Ok(infra)
    }

    /// Makes all files and descriptions, and starts nothing.
    async fn laid_out(
        run_dir: Option<PathBuf>,
        tools: Tools,
        controllers: Controllers,
    ) -> Result<Self, Error> {
        // Err: the caller has installed one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let run_dir = RunDir::create(run_dir)?;
        let dir = run_dir.path().to_owned();
        let mut slot = Slot::claim()?;
        let ports = Ports::of(&mut slot)?;
        let certs = Certs::new(&dir.join("certs"))?;
        let admin = certs.client("admin", MASTERS)?;
        let api_url = api_url(ports.api);
        let ground = Ground {
            tools: &tools,
            certs: &certs,
            dir: &dir,
            admin: &admin,
        };
        // A user for each part, so that the audit log tells them apart.
        let user = |name: &str, user: &str, group: &str| -> Result<PathBuf, Error> {
            let path = kubeconfig_path(&dir, name);
            certs.kubeconfig(&path, &api_url, user, &certs.client(user, group)?)?;
            Ok(path)
        };
        let manager = user(
            "controller-manager",
            "system:kube-controller-manager",
            "system:authenticated",
        )?;
        let istiod = user("istiod", "bed:istiod", MASTERS)?;
        let prometheus = user("prometheus", "bed:prometheus", MASTERS)?;
        user("kubelet", "bed:kubelet", MASTERS)?;
        let kubeconfig = kubeconfig_path(&dir, "admin");
        certs.kubeconfig(&kubeconfig, &api_url, "admin", &admin)?;
        let kubeconfig = Kubeconfig::read_from(&kubeconfig)?;
        Ok(Self {
            etcd: cluster::etcd(&ground, ports.etcd, ports.etcd_peer),
            apiserver: cluster::apiserver(&ground, ports.api, ports.etcd, &audit_path(&dir))?,
            controller_manager: cluster::controller_manager(
                &ground,
                ports.controller_manager,
                &manager,
                controllers,
            )?,
            istiod: mesh::istiod(&ground, ports.istiod, &istiod)?,
            gateway: mesh::envoy(&ground, ports.istiod.grpc, ports.envoy_admin)?,
            prometheus: prometheus::prometheus(&ground, ports.prometheus, &prometheus)?,
            config: Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?,
            ports,
            tools,
            slot,
            run_dir,
        })
    }

    async fn bring_up(&self) -> Result<(), Error> {
        self.etcd.start().await?;
        self.apiserver.start().await?;
        tokio::try_join!(
            async { Ok(self.controller_manager.start().await?) },
            async { Ok(self.prometheus.start().await?) },
            self.bring_up_mesh(),
        )?;
        Ok(())
    }

    async fn bring_up_mesh(&self) -> Result<(), Error> {
        let client = self.client()?;
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(mesh::NAMESPACE.into());
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        self.serve_istio_kinds(&client).await?;
        let gateway = mesh::gateway(self.ports.gateway, self.ports.gateway_tcp);
        self.apply(&gateway.to_string()).await?;
        self.istiod.start().await?;
        self.gateway.start().await?;
        let port = self.ports.gateway;
        self.until("the gateway listens", async || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
        .await
    }

    async fn serve_istio_kinds(&self, client: &Client) -> Result<(), Error> {
        let crds = self.tools.istio_crds();
        self.kubectl(["create", "--validate=false", "-f", &crds.to_string_lossy()])
            .await?;
        self.until("Istio's CRDs are established", async || {
            all_established(client).await
        })
        .await
    }

    /// Waits until `holds`, asking every 50 ms for up to half a minute.
    async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_secs(30);
        let waiting = Stopwatch::start();
        while !holds().await? {
            if waiting.elapsed() > LIMIT {
                return Err(Error::Late {
                    what: what.into(),
                    limit: LIMIT,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tracing::info!("{what} ({:.1} s)", waiting.elapsed().as_secs_f32());
        Ok(())
    }

    /// All parts, in the order in which they are started.
    #[must_use]
    pub fn parts(&self) -> [&Part; 6] {
        let Self {
            etcd,
            apiserver,
            controller_manager,
            istiod,
            gateway,
            prometheus,
            ..
        } = self;
        [etcd, apiserver, controller_manager, prometheus, istiod, gateway]
    }

    /// Ends everything in order; dropping it does the same, but blocks the thread for a few seconds.
    pub async fn stop(self) {
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }

    /// A client that may do everything. It belongs to the async runtime it is made on: make one in each test.
    pub fn client(&self) -> Result<Client, Error> {
        Ok(Client::try_from(self.config.clone())?)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// The kubeconfig of one of the bed's own users.
    pub(crate) fn kubeconfig_of(&self, name: &str) -> PathBuf {
        kubeconfig_path(self.dir(), name)
    }

    pub(crate) fn slack_port(&self) -> u16 {
        self.ports.slack
    }

    /// Where the API server answers.
    #[must_use]
    pub fn api_url(&self) -> String {
        api_url(self.ports.api)
    }

    /// Where the API server's store answers: gRPC, and the same as JSON below `/v3`.
    #[must_use]
    pub fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd)
    }

    /// The certificate of the CA that signed the API server's.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir().join("certs/ca.crt")
    }

    /// Where Prometheus answers.
    #[must_use]
    pub fn prometheus_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.prometheus)
    }

    /// Where the mesh is entered; a `VirtualService` is reached by its host in the `Host` header.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.gateway)
    }

    /// The gateway's port for plain TCP. It leads wherever a `tcp` route says that matches it, and is closed before.
    #[must_use]
    pub fn gateway_tcp_port(&self) -> u16 {
        self.ports.gateway_tcp
    }

    /// Envoy's admin interface.
    #[must_use]
    pub fn envoy_admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.envoy_admin)
    }

    /// The network (a /24 on loopback, its network address) whose addresses this bed's pods may take.
    #[must_use]
    pub fn pod_net(&self) -> Ipv4Addr {
        self.slot.pod_net()
    }

    /// A port of this bed that nothing of it uses.
    ///
    /// # Errors
    /// When all of them are given away.
    pub fn port(&mut self) -> Result<u16, Error> {
        Ok(self.slot.port()?)
    }

    /// Data, logs and configuration.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.run_dir.path()
    }

    /// The API server's audit log.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(audit_path(self.dir()))
    }

    /// The programs of the bed.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// What Envoy really does with requests for the service `host`, a FQDN such as
    /// `aleph.default.svc.cluster.local`: one entry for each of its routes that leads there.
    pub async fn envoy_weights(&self, host: &str) -> Result<Vec<RouteWeights>, Error> {
        Ok(mesh::routes_to(host, &self.envoy_dump().await?))
    }

    /// All routes as Envoy has them, for [`mesh::routes_to`].
    pub async fn envoy_dump(&self) -> Result<Value, Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let url = format!(
            "{}/config_dump?resource=dynamic_route_configs",
            self.envoy_admin_url()
        );
        Ok(client.get(url).send().await?.error_for_status()?.json().await?)
    }
}

impl Drop for Infra {
    fn drop(&mut self) {
        let clients = [
            &self.gateway,
            &self.prometheus,
            &self.istiod,
            &self.controller_manager,
        ];
        clients.into_iter().for_each(Part::ask_to_end);
        clients.into_iter().for_each(Part::stop_blocking);
        // The API server before its store: without it, it lingers for a minute.
        self.apiserver.stop_blocking();
        self.etcd.stop_blocking();
    }
}

async fn all_established(client: &Client) -> Result<bool, Error> {
    let crds = Api::<CustomResourceDefinition>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let established = |crd: &CustomResourceDefinition| {
        let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|c| c.type_ == "Established" && c.status == "True")
    };
    Ok(crds.items.iter().all(established))
}

fn api_url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn kubeconfig_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("kube").join(name)
}

fn audit_path(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}
