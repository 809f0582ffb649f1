//! What one cell stands on, new for each: etcd, API server, controllers, telemetry, a node that only says ready; and how
//! a contender gets its place there.

use std::path::PathBuf;

use birdwatch_bed::{
    Infra,
    clock::Stopwatch,
    operator,
    process::{Process, Spec},
    tools::Tools,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use crate::{
    cluster,
    contender::{Contender, Place},
    error::Error,
    kubelet::Kubelet,
    limiter::Limiter,
    telemetry::{Server, Telemetry},
};

/// How long a contender's token is good: longer than any cell.
const A_DAY: i64 = 86_400;

/// The ground of a cell. All of it ends with it.
pub(crate) struct Ground {
    // Ends in this order.
    _kubelet: Kubelet,
    pub(crate) telemetry: Telemetry,
    /// As the administrator, for what the bench itself does and watches.
    pub(crate) client: Client,
    /// Begins with the ground; all times of a cell are measured by it.
    pub(crate) clock: Stopwatch,
    pub(crate) infra: Infra,
}

/// How a contender's processes reach what they need.
pub(crate) struct Access {
    kubeconfig: PathBuf,
    servers_file: PathBuf,
    env: Vec<(String, String)>,
    /// What stands between the contender and the API server, where it is to be limited.
    pub(crate) limiter: Option<Limiter>,
}

impl Ground {
    pub(crate) async fn lay(tools: &Tools) -> Result<Self, Error> {
        let infra = Infra::start_to_measure(tools.clone()).await?;
        let client = infra.client()?;
        let telemetry = Telemetry::start().await?;
        cluster::make_namespace(&client).await?;
        Ok(Self {
            _kubelet: Kubelet::start(client.clone()),
            telemetry,
            client,
            clock: Stopwatch::start(),
            infra,
        })
    }

    /// Puts a contender's kinds, account and rights there. `limited`: behind a limiter, which limits nothing yet.
    pub(crate) async fn install(&self, contender: &dyn Contender, limited: bool) -> Result<Access, Error> {
        let installation = contender.installation(self.infra.tools());
        if let Some(crds) = &installation.crds {
            self.infra
                .kubectl(["create", "--validate=false", "-f", &crds.to_string_lossy()])
                .await?;
        }
        if installation.by_chart {
            self.install_chart().await?;
        }
        cluster::create_all(&self.client, [installation.manifests]).await?;
        let served = [
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=60s",
        ];
        self.infra.kubectl(served).await?;
        let token = self.token(contender).await?;
        let mut url = self.infra.api_url();
        let kubeconfig = self.infra.dir().join("kube/contender");
        std::fs::write(&kubeconfig, self.kubeconfig(&url, Some(&token)))?;
        let mut before = None;
        if limited {
            let limiting = Limiter::start(client_of(&kubeconfig).await?).await?;
            url = limiting.url();
            std::fs::write(&kubeconfig, self.kubeconfig(&url, None))?;
            before = Some(limiting);
        }
        let servers_file = self.infra.dir().join("servers.yaml");
        let servers = self.servers();
        let list: Vec<_> = servers
            .iter()
            .map(|(server, url)| json!({"name": server.name(), "url": url}))
            .collect();
        std::fs::write(&servers_file, json!(list).to_string())?; // JSON is YAML too
        Ok(Access {
            kubeconfig,
            servers_file,
            env: if installation.by_chart {
                self.env_of_chart().await?
            } else {
                Vec::new()
            },
            limiter: before,
        })
    }

    /// Starts one of the contender's processes. `elects`: there is more than one of them.
    pub(crate) fn start(
        &mut self,
        contender: &dyn Contender,
        access: &Access,
        birdwatch: &std::path::Path,
        (replica, elects): (usize, bool),
    ) -> Result<(Process, PathBuf), Error> {
        let place = Place {
            tools: self.infra.tools().clone(),
            birdwatch: birdwatch.to_owned(),
            kubeconfig: access.kubeconfig.clone(),
            servers: self.servers(),
            servers_file: access.servers_file.clone(),
            ports: [self.infra.port()?, self.infra.port()?],
            replica,
            elects,
            env: access.env.clone(),
        };
        let spec: Spec = contender.process(&place);
        let log = self.infra.dir().join("logs").join(format!("{}.log", spec.name));
        Ok((spec.log(&log).spawn()?, log))
    }

    /// The telemetry servers, the default one first.
    pub(crate) fn servers(&self) -> Vec<(Server, String)> {
        Server::ALL
            .into_iter()
            .map(|server| (server, self.telemetry.url(server)))
            .collect()
    }

    /// As users do, but without pods: its process is started here, where it can be measured.
    async fn install_chart(&self) -> Result<(), Error> {
        let chart = operator::chart();
        let (chart, name) = (chart.to_string_lossy(), operator::NAME);
        let install = [
            "upgrade",
            "--install",
            name,
            &chart,
            "--namespace",
            name,
            "--create-namespace",
            "--set",
            "replicas=0",
        ];
        self.infra.helm(install).await?;
        Ok(())
    }

    /// What the chart's Deployment sets by value.
    async fn env_of_chart(&self) -> Result<Vec<(String, String)>, Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), operator::NAME);
        let deployment = api.get(operator::NAME).await?;
        let pod = deployment.spec.and_then(|spec| spec.template.spec);
        let containers = pod.map(|pod| pod.containers).unwrap_or_default();
        let variables = containers
            .into_iter()
            .flat_map(|container| container.env.unwrap_or_default());
        Ok(variables
            .filter_map(|variable| Some((variable.name, variable.value?)))
            .collect())
    }

    async fn token(&self, contender: &dyn Contender) -> Result<String, Error> {
        let account = contender.account();
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), account.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(A_DAY),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(account.name, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.map(|status| status.token).unwrap_or_default())
    }

    fn kubeconfig(&self, server: &str, token: Option<&str>) -> String {
        let mut cluster = json!({"server": server});
        let mut user = json!({});
        if let Some(token) = token {
            cluster["certificate-authority"] = json!(self.infra.ca());
            user["token"] = json!(token);
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "contender", "user": user}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "contender", "namespace": "default"}}],
            "current-context": "bench",
        });
        config.to_string()
    }
}

/// A client that asks as the holder of that kubeconfig.
async fn client_of(kubeconfig: &std::path::Path) -> Result<Client, Error> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
