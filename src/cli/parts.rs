//! The parts that `run` and `drain` are put together from, made of the settings. It starts what works in the
//! background and decides nothing.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use secrecy::SecretString;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::task::AbortOnDropHandle;

use crate::api::Span;
use crate::clients::api_server;
use crate::clients::http::{HttpClient, TlsFiles};
use crate::clients::prometheus::{OutcomeClass, QueryObserver, ServerConfig, Servers};
use crate::clients::slack::{Heard, SlackClient, sender};
use crate::controller::Context;
use crate::controller::census::Census;
use crate::controller::channels::Channels;
use crate::controller::deliver::{self, Deliver};
use crate::controller::events::Events;
use crate::core::observation;
use crate::runtime::clock::Clock;
use crate::runtime::lease::{Electors, Gate, Seats};
use crate::runtime::metrics::Metrics;
use crate::runtime::telemetry;

use super::CommandError;
use super::settings::{PrometheusSource, Settings, SlackSettings};

/// The longest a call of the API server may take.
const CALL_DEADLINE: Duration = Duration::from_secs(4);

/// Where a pod has what the API server knows it by.
const CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How long Prometheus may take to answer at start.
const PROMETHEUS_AT_START: Duration = Duration::from_secs(5);

/// Everything that both commands need, not yet running.
pub(super) struct Parts {
    /// What reconciles share.
    pub(super) context: Context,
    /// Decide where this process acts.
    pub(super) electors: Electors,
    /// Tell where it does.
    pub(super) seats: Seats,
    /// The administrator's Prometheus servers.
    pub(super) servers: Servers,
    /// What Slack answers.
    pub(super) answers: UnboundedReceiver<Heard>,
    /// Work in the background; it ends with these.
    pub(super) background: Vec<Background>,
}

/// Work beside every reconcile, which ends when nobody can hand it anything any more.
pub(super) struct Background {
    name: &'static str,
    task: AbortOnDropHandle<()>,
}

impl Background {
    /// Starts it.
    pub(super) fn start(name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        Self { name, task }
    }

    /// Waits for its end, which may be a panic; returns its name.
    pub(super) async fn ended(&mut self) -> &'static str {
        // What a panic said is in the log already.
        let _ = (&mut self.task).await;
        self.name
    }
}

impl Parts {
    /// Makes them. Nothing is asked of anybody yet.
    pub(super) async fn new(
        settings: &Settings,
        clock: &Clock,
        metrics: &Metrics,
        draining: bool,
    ) -> Result<Self, CommandError> {
        let client = api_server::connect(Config::infer().await?)?;
        let (electors, seats) = Electors::new(&client, &settings.lease, clock, metrics);
        let observer: Arc<dyn QueryObserver> = Arc::new(Observer(metrics.clone()));
        let configs = servers(settings)?;
        log_panics(settings, &configs);
        let servers = Servers::new(configs, &observer)?;
        let (events, publishing) = Events::new(client.clone(), settings.lease.identity.clone());
        let mut background = vec![Background::start("the publisher of Events", publishing)];
        let gate = Gate::new(seats.clone(), clock.clone());
        let (deliver, answers, sending) = telling(settings, &gate, metrics)?;
        background.extend(sending);
        let context = Context {
            client,
            clock: clock.clone(),
            gate,
            settings: core_settings(settings),
            call_deadline: CALL_DEADLINE.min(settings.lease.timing.duration() / 3),
            cluster_domain: settings.cluster.domain.clone(),
            draining,
            metrics: metrics.clone(),
            prometheus: Arc::new(servers.clone()),
            deliver,
            events,
            census: Census::new(metrics.clone()),
        };
        Ok(Self {
            context,
            electors,
            seats,
            servers,
            answers,
            background,
        })
    }
}

/// Sets up logs for the process, none of which will show a secret.
pub(super) fn set_up_logs(settings: &Settings) -> Result<(), CommandError> {
    let filter = std::env::var("RUST_LOG").ok();
    telemetry::init(settings.process.log_format, filter.as_deref())?;
    log_panics(settings, &[]);
    Ok(())
}

/// From now on a panic shows nothing of what lets us in anywhere: not of Slack, of these servers, or of the API server.
fn log_panics(settings: &Settings, servers: &[ServerConfig]) {
    let own: Vec<SecretString> = settings.slack.token.iter().cloned().collect();
    let servers = servers.to_vec();
    telemetry::log_panics(move || {
        let of_servers = servers.iter().flat_map(ServerConfig::secrets);
        let of_cluster = fs::read_to_string(CLUSTER_TOKEN).ok();
        let of_cluster = of_cluster.map(|token| SecretString::from(token.trim().to_owned()));
        own.iter().cloned().chain(of_servers).chain(of_cluster).collect()
    });
}

/// Says in log and metrics whether each Prometheus answers.
pub(super) async fn look_at_prometheus(servers: Servers, metrics: Metrics) {
    for server in servers.iter() {
        let problem = server
            .ready(PROMETHEUS_AT_START)
            .await
            .err()
            .map(|failure| failure.to_string());
        metrics.prometheus_at_start(server.name(), problem.as_deref());
    }
}

struct Observer(Metrics);

impl QueryObserver for Observer {
    fn on_query(&self, server: &str, class: OutcomeClass, took: Duration) {
        self.0.queried(server, class.as_str(), took);
    }
}

fn servers(settings: &Settings) -> Result<Vec<ServerConfig>, CommandError> {
    let mut servers = match &settings.prometheus.source {
        PrometheusSource::Url(url) => vec![ServerConfig::from_url(url.as_str())?],
        PrometheusSource::ServersFile(file) => {
            let text = fs::read_to_string(file).map_err(|source| CommandError::File {
                file: file.display().to_string(),
                source,
            })?;
            ServerConfig::list(&text)?
        }
    };
    for server in &mut servers {
        server.common_ca_file.clone_from(&settings.cluster.ca_file);
    }
    Ok(servers)
}

type Telling = (Deliver, UnboundedReceiver<Heard>, Option<Background>);

fn telling(settings: &Settings, gate: &Gate, metrics: &Metrics) -> Result<Telling, CommandError> {
    let SlackSettings {
        token,
        channel,
        allowed_channels,
        url,
        level: _,
    } = &settings.slack;
    let (heard, answers) = unbounded_channel();
    let Some(token) = token else {
        return Ok((Deliver::nobody(metrics.clone()), answers, None));
    };
    let tls = TlsFiles {
        ca_files: settings.cluster.ca_file.iter().cloned().collect(),
        ..TlsFiles::default()
    };
    let slack = SlackClient::new(url.as_str(), token.clone(), HttpClient::new(tls)?)?;
    let (handle, sending) = sender(Arc::new(slack), deliver::permit(gate.clone()), heard);
    let deliver = Deliver::through(handle, Channels::new(channel, allowed_channels), metrics.clone());
    Ok((
        deliver,
        answers,
        Some(Background::start("the sender to Slack", sending)),
    ))
}

fn core_settings(settings: &Settings) -> observation::Settings {
    let span = |duration: Duration| Span::millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    observation::Settings {
        scrape_interval: span(settings.cluster.scrape_interval),
        propagation_delay: span(settings.cluster.propagation_delay),
        query_timeout: span(settings.prometheus.query_timeout),
        notify: settings.slack.token.as_ref().map(|_| settings.slack.level),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::settings::Surroundings;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_ca_of_every_connection_is_trusted_beside_that_of_a_server() {
        let file = std::env::temp_dir().join(format!("birdwatch-servers-{}.yaml", std::process::id()));
        let list = "- {name: a, url: 'https://a', caFile: /own.pem}\n- {name: b, url: 'https://b'}\n";
        fs::write(&file, list).unwrap();
        let from = format!("--prometheus-servers-file={}", file.display());
        let parsed = Cli::parse_from(["birdwatch", "run", "--ca-file=/every.pem", &from]);
        let Command::Run(args) = parsed.command else {
            panic!("{from} is no run")
        };
        let settings = Settings::new(args, Surroundings::default()).unwrap();
        let trusted = servers(&settings)
            .unwrap()
            .iter()
            .map(|s| s.tls().ca_files)
            .collect::<Vec<_>>();
        fs::remove_file(file).unwrap();
        assert_eq!(
            trusted[0],
            ["/own.pem", "/every.pem"].map(std::path::PathBuf::from)
        );
        assert_eq!(trusted[1], ["/every.pem"].map(std::path::PathBuf::from));
    }

    #[test]
    fn a_panic_shows_nothing_that_lets_us_in_anywhere() {
        let folder = std::env::temp_dir().join(format!("birdwatch-panics-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let in_file = |name: &str, text: &str| {
            let file = folder.join(name);
            fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let token = in_file("token", "canary-bearer\n");
        let (password, key) = (
            in_file("password", "canary-password\n"),
            in_file(
                "key.pem",
                "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5LWtleQ\n-----END PRIVATE KEY-----\n",
            ),
        );
        let list = format!(
            "- {{name: a, url: 'https://a/?key=canary%20in%20address', bearerTokenFile: '{token}', headers: {{X: \
             canary-header}}, clientKeyFile: '{key}'}}\n\
             - {{name: b, url: 'https://b', basicAuth: {{username: ops, passwordFile: '{password}'}}}}\n\
             - {{name: c, url: 'https://me:canary-in-url@c'}}\n"
        );
        let from = format!("--prometheus-servers-file={}", in_file("servers.yaml", &list));
        let parsed = Cli::parse_from(["birdwatch", "run", &from]);
        let Command::Run(args) = parsed.command else {
            panic!("{from} is no run")
        };
        let mut settings = Settings::new(args, Surroundings::default()).unwrap();
        settings.slack.token = Some("xoxb-canary".into());
        // Of user and password `printf ops:canary-password | base64`, and the same of the other.
        let all = [
            "xoxb-canary",
            "canary-bearer",
            "canary-header",
            "canary%20in%20address",
            "canary in address",
            "canary-password",
            "b3BzOmNhbmFyeS1wYXNzd29yZA==",
            "canary-in-url",
            "bWU6Y2FuYXJ5LWluLXVybA==",
            "Y2FuYXJ5LWtleQ",
            "rotated",
        ];
        let said = crate::runtime::telemetry::tests::logged_of_panics(
            || {
                log_panics(&settings, &servers(&settings).unwrap());
                fs::write(&token, "rotated").unwrap();
            },
            &[&|| panic!("it had {}", all[0]), &|| {
                panic!("it had {}", all[2..].join(" and "))
            }],
        );
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(said.lines().count(), 2, "{said}");
        for secret in all {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
        assert!(said.contains("it had *** and ***"), "{said}");
    }
}
