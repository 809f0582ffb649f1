//! The operator's own metrics. Labels hold only values from short fixed lists or from the administrator's settings,
//! never names of users' objects, so that the number of series stays small however many `BirdWatch`es there are; but
//! for rollouts under way, see [`rollouts`].

pub mod rollouts;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::error::Elapsed;

use rollouts::{RolloutReadings, Rollouts};

/// What kind of object a write to the API server was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// The status of a `BirdWatch`.
    Status,
    /// The weights of a `VirtualService`.
    Weights,
    /// The version label of a subset.
    Label,
    /// The finalizer of a `BirdWatch`.
    Finalizer,
}

/// How a write to the API server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// It was done.
    Success,
    /// The object was not as expected (409): look again.
    Conflict,
    /// Any other error.
    Failure,
    /// No answer in time; it may have been done.
    Timeout,
}

impl WriteResult {
    /// Reads the answer to a write that was given a time limit.
    #[must_use]
    pub fn of<T>(answer: &Result<kube::Result<T>, Elapsed>) -> Self {
        match answer {
            Ok(Ok(_)) => Self::Success,
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Self::Conflict,
            Ok(Err(_)) => Self::Failure,
            Err(_) => Self::Timeout,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Conflict => "conflict",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
        }
    }
}

/// Which way a write moved the canary's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More traffic for the canary.
    Up,
    /// Less.
    Down,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeResult {
    /// The chat system took it.
    Delivered,
    /// Nobody is told of it any more: too many waited, or the chat system will never take it.
    Lost,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueryLabels {
    server: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WeightLabels {
    direction: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    result: &'static str,
}

/// The operator's metrics. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    reconciles: Family<ResultLabel, Counter>,
    reconcile_duration: Histogram,
    queries: Family<QueryLabels, Counter>,
    query_duration: Family<ServerLabel, Histogram>,
    prometheus_up_at_start: Family<ServerLabel, Gauge>,
    rollouts: Family<PhaseLabel, Gauge>,
    weight_writes: Family<WeightLabels, Counter>,
    api_writes: Family<WriteLabels, Counter>,
    notices: Family<ResultLabel, Counter>,
    notices_waiting: Gauge,
    leader: Gauge,
    shards: Gauge,
    under_way: Rollouts,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let leader = Gauge::default();
        let mut families = Families {
            registry: Registry::with_prefix("birdwatch"),
            reconciles: Family::default(),
            reconcile_duration: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            queries: Family::default(),
            query_duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.005, 2.0, 12))
            }),
            prometheus_up_at_start: Family::default(),
            rollouts: Family::default(),
            weight_writes: Family::default(),
            api_writes: Family::default(),
            notices: Family::default(),
            notices_waiting: Gauge::default(),
            under_way: Rollouts::new(leader.clone()),
            leader,
            shards: Gauge::default(),
        };
        families.register();
        // Those that alerts look at: a counter that begins with its first event shows no increase then.
        for result in ["ok", "refused"] {
            drop(families.reconciles.get_or_create(&ResultLabel { result }));
        }
        for result in ["delivered", "lost"] {
            drop(families.notices.get_or_create(&ResultLabel { result }));
        }
        Self(Arc::new(families))
    }

    /// The text that `/metrics` serves, as `OpenMetrics`.
    ///
    /// # Errors
    /// When the text cannot be written, which a bug in an encoder alone can cause.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// One reconcile ended. `result` is `ok` or the bounded category of an error.
    pub fn reconciled(&self, result: &'static str, took: Duration) {
        self.0.reconciles.get_or_create(&ResultLabel { result }).inc();
        self.0.reconcile_duration.observe(took.as_secs_f64());
    }

    /// One query of a Prometheus ended. `server` is the administrator's name for it, `outcome` the class.
    pub fn queried(&self, server: &str, outcome: &'static str, took: Duration) {
        let server = server.to_owned();
        self.0
            .query_duration
            .get_or_create(&ServerLabel {
                server: server.clone(),
            })
            .observe(took.as_secs_f64());
        self.0
            .queries
            .get_or_create(&QueryLabels { server, outcome })
            .inc();
    }

    /// Whether a Prometheus answered when the operator started; `problem` says what was wrong when not.
    pub fn prometheus_at_start(&self, server: &str, problem: Option<&str>) {
        let gauge = self.0.prometheus_up_at_start.get_or_create_owned(&ServerLabel {
            server: server.to_owned(),
        });
        gauge.set(i64::from(problem.is_none()));
        match problem {
            None => tracing::info!(server, "Prometheus answers"),
            Some(error) => {
                tracing::warn!(
                    server,
                    error,
                    "Prometheus does not answer; readings are unknown until it does"
                );
            }
        }
    }

    /// How many `BirdWatch`es are in each phase now. Phases not named count 0.
    pub fn rollouts(&self, by_phase: &[(&'static str, usize)]) {
        self.0.rollouts.clear();
        for &(phase, count) in by_phase {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.0.rollouts.get_or_create(&PhaseLabel { phase }).set(count);
        }
    }

    /// What a rollout under way shows, or that this `BirdWatch` has none. Exported while this replica leads.
    pub fn rollout(&self, namespace: &str, name: &str, readings: Option<RolloutReadings>) {
        self.0.under_way.show(namespace, name, readings);
    }

    /// No rollout of these namespaces is known of any more.
    pub fn forget_rollouts(&self, of: impl Fn(&str) -> bool) {
        self.0.under_way.forget(of);
    }

    /// Decisions of this kind are counted from 0 on, so that the first is an increase too.
    pub fn may_decide(&self, decision: &'static str) {
        self.0.under_way.may_decide(decision);
    }

    /// Something was decided of a rollout, whose id is told besides.
    pub fn decided(&self, decision: &'static str, rollout: &str, at: SystemTime) {
        self.0.under_way.decided(decision, rollout, at);
    }

    /// A write of weights was answered (or not). Counted among the writes to the API server as well.
    pub fn weights_written(&self, direction: Direction, result: WriteResult) {
        let direction = match direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        self.0
            .weight_writes
            .get_or_create(&WeightLabels {
                direction,
                result: result.label(),
            })
            .inc();
        self.written(WriteKind::Weights, result);
    }

    /// A write to the API server was answered (or not).
    pub fn written(&self, kind: WriteKind, result: WriteResult) {
        let kind = match kind {
            WriteKind::Status => "status",
            WriteKind::Weights => "weights",
            WriteKind::Label => "label",
            WriteKind::Finalizer => "finalizer",
        };
        self.0
            .api_writes
            .get_or_create(&WriteLabels {
                kind,
                result: result.label(),
            })
            .inc();
    }

    /// How many notices wait for delivery now.
    pub fn notices_waiting(&self, count: usize) {
        self.0
            .notices_waiting
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many notices no longer wait.
    pub fn notices(&self, result: NoticeResult, count: u64) {
        let result = match result {
            NoticeResult::Delivered => "delivered",
            NoticeResult::Lost => "lost",
        };
        self.0
            .notices
            .get_or_create(&ResultLabel { result })
            .inc_by(count);
    }

    /// How many shards there are.
    pub fn shards(&self, count: usize) {
        self.0.shards.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// This process, known as `identity`, began or ceased to lead a shard, which it did not, or did, before.
    pub fn leadership(&self, leading: bool, lease: &str, identity: &str) {
        if leading {
            self.0.leader.inc();
            tracing::info!(lease, identity, "leading: this replica acts");
        } else {
            self.0.leader.dec();
            tracing::info!(lease, identity, "no longer leading: this replica writes nothing");
        }
    }
}

impl Families {
    fn register(&mut self) {
        let Self {
            registry,
            reconciles,
            reconcile_duration,
            queries,
            query_duration,
            prometheus_up_at_start,
            rollouts,
            weight_writes,
            api_writes,
            notices,
            notices_waiting,
            leader,
            shards,
            under_way,
        } = self;
        registry.register("reconciles", "Reconciles by result", reconciles.clone());
        let help = "Time one reconcile took";
        registry.register_with_unit(
            "reconcile_duration",
            help,
            Unit::Seconds,
            reconcile_duration.clone(),
        );
        let help = "Queries of Prometheus by server and class of outcome";
        registry.register("queries", help, queries.clone());
        let help = "Time one query of Prometheus took";
        registry.register_with_unit("query_duration", help, Unit::Seconds, query_duration.clone());
        let help = "Whether a Prometheus answered when the operator started";
        registry.register("prometheus_up_at_start", help, prometheus_up_at_start.clone());
        registry.register("rollouts", "BirdWatches by phase", rollouts.clone());
        let help = "Writes of weights by direction and result";
        registry.register("weight_writes", help, weight_writes.clone());
        let help = "Writes to the API server by kind and result";
        registry.register("api_writes", help, api_writes.clone());
        registry.register(
            "notices",
            "Notices that no longer wait, by result",
            notices.clone(),
        );
        registry.register(
            "notices_waiting",
            "Notices waiting for delivery",
            notices_waiting.clone(),
        );
        let help = "Shards that this replica acts for; where there is one: whether it acts";
        registry.register("leader", help, leader.clone());
        registry.register(
            "shards",
            "How many shards namespaces are split into",
            shards.clone(),
        );
        under_way.register(registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the operator", version);
    }
}

#[cfg(test)]
mod tests;
