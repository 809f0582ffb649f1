//! Probes: how a kubelet learns whether a container has started, lives and is ready.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{net::TcpStream, time::timeout};

use super::problem::Problem;

/// How often readiness is asked before it was ever there: a real kubelet would wait whole periods.
const EAGER: Duration = Duration::from_millis(200);

/// A probe with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    action: Action,
    delay: Duration,
    period: Duration,
    timeout: Duration,
    failures: u32,
    successes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Http {
        url: String,
        headers: Vec<(String, String)>,
    },
    Tcp {
        address: String,
    },
}

/// The three probes of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Probes {
    startup: Option<Check>,
    liveness: Option<Check>,
    readiness: Option<Check>,
}

/// What a container is told by its probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// The startup probe has passed; without one, at once.
    Started,
    /// The readiness probe changed its mind; without one, ready once started.
    Ready(bool),
}

impl Probes {
    /// Those of `container` at `ip`. `ready_path` is asked where the container has no readiness probe of its own.
    ///
    /// # Errors
    /// When a probe is of a kind that the toy kubelet cannot do, or names a port that is not there.
    pub(super) fn of(container: &Container, ip: &str, ready_path: Option<&str>) -> Result<Self, Problem> {
        let check = |probe: &Option<Probe>| {
            probe
                .as_ref()
                .map(|probe| Check::of(probe, container, ip))
                .transpose()
        };
        let mut probes = Self {
            startup: check(&container.startup_probe)?,
            liveness: check(&container.liveness_probe)?,
            readiness: check(&container.readiness_probe)?,
        };
        if let (None, Some(path), Some(port)) = (&probes.readiness, ready_path, first_port(container)) {
            probes.readiness = Some(Check::own(format!("http://{ip}:{port}{path}")));
        }
        Ok(probes)
    }

    /// Probes for as long as the container runs; ends, with the reason, when it must be killed.
    pub(super) async fn run(&self, http: &reqwest::Client, report: impl Fn(Health)) -> String {
        if let Some(startup) = &self.startup
            && let Err(error) = startup.passes_once(http).await
        {
            return format!("startup probe failed: {error}");
        }
        report(Health::Started);
        tokio::select! {
            never = watch_readiness(self.readiness.as_ref(), http, &report) => never,
            error = watch_liveness(self.liveness.as_ref(), http) => format!("liveness probe failed: {error}"),
        }
    }
}

/// The first containerPort.
pub(super) fn first_port(container: &Container) -> Option<i32> {
    container.ports.as_ref()?.first().map(|port| port.container_port)
}

async fn watch_readiness(check: Option<&Check>, http: &reqwest::Client, report: &impl Fn(Health)) -> String {
    let Some(check) = check else {
        report(Health::Ready(true));
        return std::future::pending().await;
    };
    tokio::time::sleep(check.delay).await;
    let (mut ready, mut was_ready, mut in_a_row) = (false, false, 0);
    loop {
        let passed = check.once(http).await.is_ok();
        in_a_row = if passed == ready { 0 } else { in_a_row + 1 };
        if in_a_row >= if passed { check.successes } else { check.failures } {
            (ready, in_a_row) = (passed, 0);
            was_ready |= ready;
            report(Health::Ready(ready));
        }
        tokio::time::sleep(if was_ready {
            check.period
        } else {
            check.period.min(EAGER)
        })
        .await;
    }
}

async fn watch_liveness(check: Option<&Check>, http: &reqwest::Client) -> String {
    let Some(check) = check else {
        return std::future::pending().await;
    };
    tokio::time::sleep(check.delay).await;
    let mut in_a_row = 0;
    loop {
        match check.once(http).await {
            Ok(()) => in_a_row = 0,
            Err(error) => {
                in_a_row += 1;
                if in_a_row >= check.failures {
                    return error;
                }
            }
        }
        tokio::time::sleep(check.period).await;
    }
}

impl Check {
    fn of(probe: &Probe, container: &Container, ip: &str) -> Result<Self, Problem> {
        let action = if let Some(get) = &probe.http_get {
            let headers = get
                .http_headers
                .iter()
                .flatten()
                .map(|h| (h.name.clone(), h.value.clone()));
            Action::Http {
                url: url(get, container, ip)?,
                headers: headers.collect(),
            }
        } else if let Some(tcp) = &probe.tcp_socket {
            let host = tcp.host.as_deref().unwrap_or(ip);
            Action::Tcp {
                address: format!("{host}:{}", port(&tcp.port, container)?),
            }
        } else {
            return Err(Problem::config(
                "the toy kubelet does httpGet and tcpSocket probes only",
            ));
        };
        let seconds = |given: Option<i32>, default: u32| {
            Duration::from_secs(given.and_then(|n| n.try_into().ok()).unwrap_or(default).into())
        };
        let count =
            |given: Option<i32>, default: u32| given.and_then(|n| n.try_into().ok()).unwrap_or(default);
        Ok(Self {
            action,
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: count(probe.failure_threshold, 3),
            successes: count(probe.success_threshold, 1),
        })
    }

    /// The readiness probe that an image brings along.
    fn own(url: String) -> Self {
        Self {
            action: Action::Http {
                url,
                headers: Vec::new(),
            },
            delay: Duration::ZERO,
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 1,
        }
    }

    /// Waits for the first success; fails after as many failures as the probe allows.
    async fn passes_once(&self, http: &reqwest::Client) -> Result<(), String> {
        tokio::time::sleep(self.delay).await;
        let mut failed = 0;
        loop {
            match self.once(http).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    failed += 1;
                    if failed >= self.failures {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(self.period).await;
        }
    }

    async fn once(&self, http: &reqwest::Client) -> Result<(), String> {
        match timeout(self.timeout, self.ask(http)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn ask(&self, http: &reqwest::Client) -> Result<(), String> {
        match &self.action {
            Action::Http { url, headers } => {
                let mut request = http.get(url);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let status = request.send().await.map_err(|error| error.to_string())?.status();
                let passed = status.is_success() || status.is_redirection();
                if passed {
                    Ok(())
                } else {
                    Err(format!("HTTP status {status}"))
                }
            }
            Action::Tcp { address } => TcpStream::connect(address)
                .await
                .map(drop)
                .map_err(|error| error.to_string()),
        }
    }
}

/// The URL of an httpGet at `ip`.
///
/// # Errors
/// When it is not plain HTTP or names a port that the container does not have.
pub(super) fn url(get: &HTTPGetAction, container: &Container, ip: &str) -> Result<String, Problem> {
    if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
        return Err(Problem::config(
            "the toy kubelet does httpGet over plain HTTP only",
        ));
    }
    let host = get.host.as_deref().unwrap_or(ip);
    let path = get.path.as_deref().unwrap_or_default().trim_start_matches('/');
    Ok(format!("http://{host}:{}/{path}", port(&get.port, container)?))
}

fn port(wanted: &IntOrString, container: &Container) -> Result<i32, Problem> {
    let name = match wanted {
        IntOrString::Int(number) => return Ok(*number),
        IntOrString::String(name) => name,
    };
    let named = container
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_ref() == Some(name));
    named
        .map(|port| port.container_port)
        .ok_or_else(|| Problem::config(format!("no port is called {name:?}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, http::StatusCode, routing::get};
    use serde_json::{Value, json};

    use super::*;

    fn container(extra: &Value) -> Container {
        let mut base = json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]});
        base.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        serde_json::from_value(base).unwrap()
    }

    #[test]
    fn a_probe_is_read_with_kubernetes_defaults_and_ports_by_name_or_number() {
        let get = |port: Value| json!({"livenessProbe": {"httpGet": {"path": "/healthz", "port": port}}});
        for port in [json!("web"), json!(8080)] {
            let probes = Probes::of(&container(&get(port)), "127.7.9.1", None).unwrap();
            let check = probes.liveness.unwrap();
            let url = "http://127.7.9.1:8080/healthz".to_owned();
            assert_eq!(
                check.action,
                Action::Http {
                    url,
                    headers: Vec::new()
                }
            );
            assert_eq!(
                (check.period, check.timeout),
                (Duration::from_secs(10), Duration::from_secs(1))
            );
            assert_eq!(
                (check.failures, check.successes, check.delay),
                (3, 1, Duration::ZERO)
            );
        }
        let missing = Probes::of(&container(&get(json!("nope"))), "127.7.9.1", None).unwrap_err();
        assert!(missing.message.contains("nope"));
        let exec = json!({"readinessProbe": {"exec": {"command": ["true"]}}});
        assert!(Probes::of(&container(&exec), "127.7.9.1", None).is_err());
    }

    #[test]
    fn an_images_own_readiness_probe_gives_way_to_the_containers() {
        let own = Probes::of(&container(&json!({})), "127.7.9.1", Some("/ready")).unwrap();
        assert!(
            matches!(own.readiness.unwrap().action, Action::Http { url, .. } if url.ends_with(":8080/ready"))
        );
        let tcp = json!({"readinessProbe": {"tcpSocket": {"port": "web"}}});
        let theirs = Probes::of(&container(&tcp), "127.7.9.1", Some("/ready")).unwrap();
        assert!(matches!(theirs.readiness.unwrap().action, Action::Tcp { .. }));
    }

    async fn server() -> (String, tokio::sync::watch::Sender<StatusCode>) {
        let (status, seen) = tokio::sync::watch::channel(StatusCode::SERVICE_UNAVAILABLE);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", get(async move || *seen.borrow()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, status)
    }

    fn quick(url: &str, failures: u32) -> Check {
        Check {
            period: Duration::from_millis(20),
            failures,
            ..Check::own(url.to_owned())
        }
    }

    #[tokio::test]
    async fn readiness_follows_the_server_up_and_down() {
        let (url, status) = server().await;
        let probes = Probes {
            readiness: Some(quick(&url, 2)),
            ..Probes::default()
        };
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let http = crate::parts::http::client(Duration::from_secs(5)).unwrap();
        let _probing = tokio::spawn(async move {
            probes
                .run(&http, |health| sender.send(health).unwrap_or_default())
                .await
        });
        assert_eq!(reports.recv().await, Some(Health::Started));
        status.send_replace(StatusCode::OK);
        assert_eq!(reports.recv().await, Some(Health::Ready(true)));
        status.send_replace(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(reports.recv().await, Some(Health::Ready(false)));
        status.send_replace(StatusCode::FOUND);
        assert_eq!(reports.recv().await, Some(Health::Ready(true)));
    }

    #[tokio::test]
    async fn a_container_that_fails_its_liveness_or_never_starts_must_be_killed() {
        let (url, _status) = server().await;
        let http = crate::parts::http::client(Duration::from_secs(5)).unwrap();
        let seen = Mutex::new(Vec::new());
        let liveness = Probes {
            liveness: Some(quick(&url, 3)),
            ..Probes::default()
        };
        let reason = liveness
            .run(&http, |health| seen.lock().unwrap().push(health))
            .await;
        assert!(
            reason.contains("liveness probe failed: HTTP status 503"),
            "{reason}"
        );
        assert_eq!(*seen.lock().unwrap(), [Health::Started, Health::Ready(true)]);
        let startup = Probes {
            startup: Some(quick(&url, 3)),
            ..Probes::default()
        };
        let reason = startup
            .run(&http, |health| panic!("{health:?} though it never started"))
            .await;
        assert!(reason.contains("startup probe failed"), "{reason}");
    }
}
