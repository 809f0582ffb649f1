//! One bed: all its parts, from the first certificate to the last process gone.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
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
use tokio::io::AsyncWriteExt;

use crate::{
    audit::AuditLog,
    certs::{self, Certs, Pair},
    clock::Stopwatch,
    cluster::{self, Ground},
    mesh::{self, RouteWeights},
    part::{self, Part},
    parts::slack::Slack,
    prometheus,
    run_dir::RunDir,
    slot::{NoSlot, Slot},
    stand_ins::{self, StandIns},
    tools::{self, Tools},
};

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";

/// Why there is no bed, or why it could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is missing and could not be built.
    #[error(transparent)]
    Tools(#[from] tools::Error),
    /// Too many beds.
    #[error(transparent)]
    Slot(#[from] NoSlot),
    /// A part did not come up.
    #[error(transparent)]
    Part(#[from] part::Error),
    /// Slack's stand-in or the node.
    #[error(transparent)]
    StandIns(#[from] stand_ins::Error),
    /// Certificates.
    #[error(transparent)]
    Certs(#[from] certs::Error),
    /// The control plane's files.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The API server refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The bed's own kubeconfig cannot be read.
    #[error("the bed's kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Envoy did not say what it does.
    #[error("Envoy's admin interface: {0}")]
    Envoy(#[from] reqwest::Error),
    /// Files of the bed.
    #[error("the bed's files: {0}")]
    Files(#[from] io::Error),
    /// kubectl or helm failed.
    #[error("{command} failed:\n{output}")]
    Command {
        /// What was run.
        command: String,
        /// What it wrote to standard error.
        output: String,
    },
    /// Something did not come about in time.
    #[error("not within {} s: {what}", limit.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
}

/// How a bed is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where its data, logs and configuration go; kept at the end, emptied at the start. `None`: a temporary
    /// directory, removed at the end.
    pub run_dir: Option<PathBuf>,
    /// Install the operator's chart and wait until it is available.
    pub operator: bool,
}

/// A running control plane, mesh and Prometheus. Dropped, all of it ends; killed with its process, too.
#[derive(Debug)]
pub struct Bed {
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
    stand_ins: StandIns,
    ports: Ports,
    config: Config,
    tools: Tools,
    slot: Slot,
    run_dir: RunDir,
}

#[derive(Debug)]
struct Ports {
    api: u16,
    gateway: u16,
    envoy_admin: u16,
    prometheus: u16,
}

impl Bed {
    /// Starts a bed; the first one on a machine builds its parts, and says so on standard error. Returns when every
    /// part is ready: after about 11 s on two cores, when all is built.
    pub async fn start(options: Options) -> Result<Self, Error> {
        // Err: the caller has installed one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let tools = Tools::ensure().await?;
        let operator = options.operator;
        let bed = Self::lay_out(options, tools).await?;
        bed.bring_up().await?;
        if operator {
            bed.install_operator(&[]).await?;
        }
        Ok(bed)
    }

    /// Makes all files and descriptions, and starts nothing.
    async fn lay_out(options: Options, tools: Tools) -> Result<Self, Error> {
        let run_dir = RunDir::create(options.run_dir)?;
        let dir = run_dir.path().to_owned();
        let mut slot = Slot::claim()?;
        let certs = Certs::new(&dir.join("certs"))?;
        let admin = certs.client("admin", MASTERS)?;
        let ground = Ground {
            tools: &tools,
            certs: &certs,
            dir: &dir,
            admin: &admin,
        };
        let (etcd, api, istiod_grpc) = (slot.port()?, slot.port()?, slot.port()?);
        let ports = Ports {
            api,
            gateway: slot.port()?,
            envoy_admin: slot.port()?,
            prometheus: slot.port()?,
        };
        let user = |name: &str, user: &str, group: &str| -> Result<PathBuf, Error> {
            let pair = certs.client(user, group)?;
            write_kubeconfig(&certs, &dir, name, api, &pair, user)
        };
        let admin_config = write_kubeconfig(&certs, &dir, "admin", api, &admin, "admin")?;
        let manager = user(
            "controller-manager",
            "system:kube-controller-manager",
            "system:authenticated",
        )?;
        let istiod_ports = mesh::Ports {
            http: slot.port()?,
            grpc: istiod_grpc,
            monitoring: slot.port()?,
            introspection: slot.port()?,
        };
        let kubeconfig = Kubeconfig::read_from(&admin_config)?;
        Ok(Self {
            etcd: cluster::etcd(&ground, etcd, slot.port()?),
            apiserver: cluster::apiserver(&ground, api, etcd, &audit_path(&dir))?,
            controller_manager: cluster::controller_manager(&ground, slot.port()?, &manager)?,
            istiod: mesh::istiod(&ground, istiod_ports, &user("istiod", "bed:istiod", MASTERS)?)?,
            gateway: mesh::envoy(&ground, istiod_grpc, ports.envoy_admin)?,
            prometheus: prometheus::prometheus(
                &ground,
                ports.prometheus,
                &user("prometheus", "bed:prometheus", MASTERS)?,
            )?,
            config: Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?,
            stand_ins: StandIns::start(slot.port()?).await?,
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
        let crds = self.tools.istio_crds();
        self.kubectl(["create", "--validate=false", "-f", &crds.to_string_lossy()])
            .await?;
        self.until("Istio's CRDs are established", async || {
            all_established(&client).await
        })
        .await?;
        self.apply(&mesh::gateway(self.ports.gateway).to_string()).await?;
        self.istiod.start().await?;
        self.gateway.start().await?;
        let port = self.ports.gateway;
        self.until("the gateway listens", async || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
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

    /// Ends everything in order; dropping the bed does the same, but blocks the thread for a few seconds.
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
        kubeconfig_path(self.dir(), "admin")
    }

    /// Where the API server answers.
    #[must_use]
    pub fn api_url(&self) -> String {
        api_url(self.ports.api)
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

    /// Envoy's admin interface.
    #[must_use]
    pub fn envoy_admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.envoy_admin)
    }

    /// The Slack stand-in, which takes [`SLACK_TOKEN`](crate::operator::SLACK_TOKEN).
    #[must_use]
    pub fn slack(&self) -> &Slack {
        &self.stand_ins.slack
    }

    /// The network (a /24 on loopback, its network address) whose addresses this bed's pods may take.
    #[must_use]
    pub fn pod_net(&self) -> Ipv4Addr {
        self.slot.pod_net()
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
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let url = format!(
            "{}/config_dump?resource=dynamic_route_configs",
            self.envoy_admin_url()
        );
        let dump: Value = client.get(url).send().await?.error_for_status()?.json().await?;
        Ok(mesh::routes_to(host, &dump))
    }

    /// Runs kubectl as the administrator and returns what it prints.
    pub async fn kubectl<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, Error> {
        self.run("kubectl", args, None).await
    }

    /// Applies manifests (YAML or JSON) as `kubectl apply -f -` does.
    pub async fn apply(&self, manifests: &str) -> Result<String, Error> {
        self.run("kubectl", ["apply", "-f", "-"], Some(manifests)).await
    }

    /// Runs helm as the administrator and returns what it prints.
    pub async fn helm<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, Error> {
        self.run("helm", args, None).await
    }

    /// What helm and kubectl need in their environment: the bed's cluster, and no settings of the user's.
    #[must_use]
    pub fn command_env(&self) -> Vec<(&'static str, OsString)> {
        let own = |name: &str| self.dir().join("home").join(name).into_os_string();
        vec![
            ("KUBECONFIG", self.kubeconfig().into_os_string()),
            ("KUBECACHEDIR", own("kube-cache")),
            ("HELM_CACHE_HOME", own("helm-cache")),
            ("HELM_CONFIG_HOME", own("helm-config")),
            ("HELM_DATA_HOME", own("helm-data")),
        ]
    }

    async fn run<A: AsRef<str>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
        input: Option<&str>,
    ) -> Result<String, Error> {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut child = tokio::process::Command::new(self.tools.program(program))
            .args(&args)
            .envs(self.command_env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that ends without reading says why on its standard error.
            drop(pipe.write_all(input.unwrap_or_default().as_bytes()).await);
        }
        let out = child.wait_with_output().await?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let output = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(Error::Command {
            command: format!("{program} {}", args.join(" ")),
            output,
        })
    }
}

impl Drop for Bed {
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

fn write_kubeconfig(
    certs: &Certs,
    dir: &Path,
    name: &str,
    api: u16,
    pair: &Pair,
    user: &str,
) -> Result<PathBuf, Error> {
    let path = kubeconfig_path(dir, name);
    certs.kubeconfig(&path, &api_url(api), user, pair)?;
    Ok(path)
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
