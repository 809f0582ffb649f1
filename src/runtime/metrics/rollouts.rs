//! What is exported of rollouts under way, and the count of decisions. These alone have labels that name users'
//! objects: their series are there only while a rollout is, on the replica that acts, and no more than a fixed number
//! of them.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The most series of rollouts under way, shared by namespaces. Rollouts that would need more are left out, and
/// counted.
pub const MOST_SERIES: usize = 20_000;

/// What is exported of one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutReadings {
    /// The version to be replaced.
    pub production: String,
    /// The version to be released.
    pub canary: String,
    /// The canary's confirmed weight in percent, 0 to 100.
    pub weight: u8,
    /// Each metric's readings.
    pub metrics: Vec<MetricReadings>,
}

/// What is exported of one metric. What is absent has no series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricReadings {
    /// The metric's name.
    pub name: String,
    /// The last reading, in the unit of the query; of counted requests the bad share, 0 to 1.
    pub value: Option<f64>,
    /// What it is compared with, production or the baseline, in the same unit.
    pub compared_with: Option<f64>,
    /// The highest value that is not bad, in the same unit.
    pub upper: Option<f64>,
    /// The lowest value that is not bad, in the same unit.
    pub lower: Option<f64>,
    /// Decimal logarithm of the evidence.
    pub evidence: Option<f64>,
    /// Decimal logarithm of the evidence at which this metric alone is enough.
    pub evidence_limit: Option<f64>,
}

impl RolloutReadings {
    /// How many series it makes at most.
    fn series(&self) -> usize {
        1 + 6 * self.metrics.len()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DecisionLabel {
    decision: &'static str,
}

/// Which rollout an increase was about: the exemplar.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RolloutLabel {
    rollout: String,
}

/// Labels of a series.
type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// The rollouts under way, by namespace and name, and what was decided. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Rollouts {
    under_way: UnderWay,
    decisions: Family<DecisionLabel, CounterWithExemplar<RolloutLabel>>,
}

impl Rollouts {
    /// None; they are shown while `leader` is not 0.
    pub(super) fn new(leader: Gauge) -> Self {
        Self {
            under_way: UnderWay {
                readings: Arc::default(),
                leader,
            },
            decisions: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.under_way.clone()));
        let help = "Decisions about rollouts; exemplars name the rollout";
        registry.register("decisions", help, self.decisions.clone());
    }

    pub(super) fn may_decide(&self, decision: &'static str) {
        drop(self.decisions.get_or_create(&DecisionLabel { decision }));
    }

    pub(super) fn decided(&self, decision: &'static str, rollout: &str, at: SystemTime) {
        let exemplar = RolloutLabel {
            rollout: rollout.to_owned(),
        };
        // The encoder panics at a time before 1970.
        let at = Some(at).filter(|at| *at >= SystemTime::UNIX_EPOCH);
        self.decisions
            .get_or_create(&DecisionLabel { decision })
            .inc_by(1, Some(exemplar), at);
    }

    pub(super) fn show(&self, namespace: &str, name: &str, readings: Option<RolloutReadings>) {
        let name = (namespace.to_owned(), name.to_owned());
        let mut all = self.under_way.lock();
        match readings {
            Some(readings) => drop(all.insert(name, readings)),
            None => drop(all.remove(&name)),
        }
    }

    pub(super) fn forget(&self, of: impl Fn(&str) -> bool) {
        self.under_way.lock().retain(|(namespace, _), _| !of(namespace));
    }
}

type Shown = BTreeMap<(String, String), RolloutReadings>;

/// Written anew at each scrape.
#[derive(Clone, Debug)]
struct UnderWay {
    readings: Arc<Mutex<Shown>>,
    leader: Gauge,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a family shows of a metric.
type Of = fn(&MetricReadings) -> Option<f64>;

/// Families with a value for each metric.
const FAMILIES: [(&str, &str, Of); 4] = [
    (
        "rollout_reading",
        "Last reading of the canary, in the unit of its query; of counted requests the bad share",
        |metric| metric.value,
    ),
    (
        "rollout_compared_with",
        "What the reading is compared with, production or the baseline, in the same unit",
        |metric| metric.compared_with,
    ),
    (
        "rollout_evidence_log10",
        "Decimal logarithm of the evidence that the canary is worse than tolerated",
        |metric| metric.evidence,
    ),
    (
        "rollout_evidence_limit_log10",
        "Decimal logarithm of the evidence that is enough to roll back",
        |metric| metric.evidence_limit,
    ),
];

impl Collector for UnderWay {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let readings = self.lock();
        let leads = self.leader.get() > 0;
        let shown = fitting(&readings, if leads { MOST_SERIES } else { 0 });
        let left_out = if leads { readings.len() - shown.len() } else { 0 };
        weights(&mut encoder, &shown)?;
        for (name, help, of) in FAMILIES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (named, metric) in shown.iter().flat_map(Named::metrics) {
                if let Some(value) = of(metric) {
                    family
                        .encode_family(&named.labels(metric))?
                        .encode_gauge(&value)?;
                }
            }
        }
        limits(&mut encoder, &shown)?;
        let help = "Rollouts under way that are left out, for there are too many";
        let mut family = encoder.encode_descriptor("rollouts_left_out", help, None, MetricType::Gauge)?;
        family.encode_gauge(&i64::try_from(left_out).unwrap_or(i64::MAX))
    }
}

/// Those that there is room for, in their order. Each namespace in turn shows one more, so that none takes the room of
/// all; who is too large for what is left leaves it to smaller ones.
fn fitting(readings: &Shown, mut room: usize) -> Vec<Named<'_>> {
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    let numbered = readings.iter().map(|((namespace, name), rollout)| {
        let turn = turns.entry(namespace.as_str()).or_default();
        *turn += 1;
        let named = Named {
            namespace,
            name,
            rollout,
        };
        (*turn, named)
    });
    let mut all: Vec<(usize, Named<'_>)> = numbered.collect();
    // A stable sort: in each turn by namespace.
    all.sort_by_key(|(turn, _)| *turn);
    all.retain(|(_, named)| {
        let needed = named.rollout.series();
        let fits = needed <= room;
        if fits {
            room -= needed;
        }
        fits
    });
    let mut shown: Vec<Named<'_>> = all.into_iter().map(|(_, named)| named).collect();
    shown.sort_by_key(|named| (named.namespace, named.name));
    shown
}

fn weights(encoder: &mut DescriptorEncoder, shown: &[Named]) -> Result<(), Error> {
    let help = "Confirmed weight of the canary in percent";
    let mut family = encoder.encode_descriptor("rollout_weight_percent", help, None, MetricType::Gauge)?;
    for Named {
        namespace,
        name,
        rollout,
    } in shown
    {
        let [namespace, name] = owner(namespace, name);
        let production = ("production", rollout.production.as_str());
        let labels: Labels<4> = [namespace, name, production, ("canary", &rollout.canary)];
        family
            .encode_family(&labels)?
            .encode_gauge(&i64::from(rollout.weight))?;
    }
    Ok(())
}

fn limits(encoder: &mut DescriptorEncoder, shown: &[Named]) -> Result<(), Error> {
    let help = "Highest (upper) or lowest (lower) reading that is not bad, in the unit of the query";
    let mut family = encoder.encode_descriptor("rollout_limit", help, None, MetricType::Gauge)?;
    for (named, metric) in shown.iter().flat_map(Named::metrics) {
        for (bound, value) in [("upper", metric.upper), ("lower", metric.lower)] {
            let Some(value) = value else { continue };
            let [namespace, name, metric] = named.labels(metric);
            let labels: Labels<4> = [namespace, name, metric, ("bound", bound)];
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

/// A rollout and whose it is.
struct Named<'a> {
    namespace: &'a str,
    name: &'a str,
    rollout: &'a RolloutReadings,
}

impl<'a> Named<'a> {
    fn metrics(&self) -> impl Iterator<Item = (&Self, &'a MetricReadings)> {
        self.rollout.metrics.iter().map(move |metric| (self, metric))
    }

    fn labels(&self, metric: &'a MetricReadings) -> Labels<'a, 3> {
        let [namespace, name] = owner(self.namespace, self.name);
        [namespace, name, ("metric", &metric.name)]
    }
}

/// Not `namespace`: most Prometheuses give that label to the operator's own namespace.
const fn owner<'a>(namespace: &'a str, name: &'a str) -> Labels<'a, 2> {
    [("watched_namespace", namespace), ("birdwatch", name)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;

    fn readings(metrics: usize) -> RolloutReadings {
        let metric = |i| MetricReadings {
            name: format!("m{i}"),
            value: Some(0.25),
            compared_with: Some(0.125),
            upper: Some(0.5),
            lower: None,
            evidence: Some(-1.5),
            evidence_limit: Some(2.0),
        };
        RolloutReadings {
            production: "v1".into(),
            canary: "v2".into(),
            weight: 25,
            metrics: (0..metrics).map(metric).collect(),
        }
    }

    fn leading() -> Metrics {
        let metrics = Metrics::new();
        metrics.leadership(true, "birdwatch", "me");
        metrics
    }

    /// The lines of rollouts under way.
    fn series(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().unwrap();
        let lines = text.lines().filter(|line| line.starts_with("birdwatch_rollout_"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_rollout_shows_its_weight_and_what_each_metric_has() {
        let metrics = leading();
        metrics.rollout("shop", "cart", Some(readings(1)));
        let of = |name: &str, more: &str, value: &str| {
            format!(
                "birdwatch_rollout_{name}{{watched_namespace=\"shop\",birdwatch=\"cart\",{more}}} {value}"
            )
        };
        assert_eq!(
            series(&metrics),
            [
                of("weight_percent", "production=\"v1\",canary=\"v2\"", "25"),
                of("reading", "metric=\"m0\"", "0.25"),
                of("compared_with", "metric=\"m0\"", "0.125"),
                of("evidence_log10", "metric=\"m0\"", "-1.5"),
                of("evidence_limit_log10", "metric=\"m0\"", "2.0"),
                of("limit", "metric=\"m0\",bound=\"upper\"", "0.5"),
            ]
        );
    }

    #[test]
    fn series_vanish_with_the_rollout_and_with_leadership() {
        let metrics = leading();
        for (namespace, name) in [("shop", "cart"), ("shop", "till")] {
            metrics.rollout(namespace, name, Some(readings(1)));
        }
        metrics.rollout("shop", "cart", None);
        assert!(series(&metrics).iter().all(|line| line.contains("till")));
        metrics.leadership(false, "birdwatch", "me");
        assert_eq!(series(&metrics), Vec::<String>::new());
        metrics.leadership(true, "birdwatch", "me");
        assert_eq!(series(&metrics).len(), 6, "the leader shows what it knows");
        metrics.forget_rollouts(|namespace| namespace == "bank");
        assert_eq!(series(&metrics).len(), 6, "those of another shard");
        metrics.forget_rollouts(|namespace| namespace == "shop");
        assert_eq!(series(&metrics), Vec::<String>::new());
    }

    #[test]
    fn there_are_never_more_series_than_the_most() {
        let metrics = leading();
        for i in 0..300 {
            metrics.rollout("shop", &format!("b{i:03}"), Some(readings(20)));
        }
        let shown = series(&metrics).len();
        let fit = MOST_SERIES / readings(20).series();
        assert_eq!(shown, fit * (1 + 5 * 20));
        assert!(shown <= MOST_SERIES);
        let left_out = format!("birdwatch_rollouts_left_out {}\n", 300 - fit);
        assert!(metrics.text().unwrap().contains(&left_out));
    }

    #[test]
    fn a_namespace_full_of_rollouts_leaves_room_to_others() {
        let metrics = leading();
        for i in 0..400 {
            metrics.rollout("a", &format!("b{i:03}"), Some(readings(20)));
        }
        metrics.rollout("z", "cart", Some(readings(20)));
        let shown = series(&metrics);
        let of_z = shown
            .iter()
            .filter(|line| line.contains("{watched_namespace=\"z\","));
        assert_eq!(of_z.count(), 1 + 5 * 20);
        let fit = MOST_SERIES / readings(20).series();
        assert_eq!(shown.len(), fit * (1 + 5 * 20));
        let weights = shown
            .iter()
            .filter(|line| line.starts_with("birdwatch_rollout_weight_percent"));
        assert!(weights.is_sorted(), "by namespace, then by name");
        assert_eq!(series(&metrics), shown, "the same ones each time");
        let left_out = format!("birdwatch_rollouts_left_out {}\n", 401 - fit);
        assert!(metrics.text().unwrap().contains(&left_out));
    }

    #[test]
    fn a_rollout_that_is_too_large_leaves_room_to_smaller_ones() {
        let metrics = leading();
        metrics.rollout("a", "cart", Some(readings(MOST_SERIES)));
        metrics.rollout("a", "till", Some(readings(1)));
        metrics.rollout("z", "cart", Some(readings(1)));
        let shown = series(&metrics);
        assert_eq!(shown.len(), 2 * 6);
        assert!(!shown.iter().any(|line| line.contains("\"a\",birdwatch=\"cart\"")));
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("birdwatch_rollouts_left_out 1\n")
        );
    }

    #[test]
    fn a_decision_is_counted_and_names_its_rollout() {
        let metrics = Metrics::new();
        metrics.may_decide("promoted");
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("birdwatch_decisions_total{decision=\"promoted\"} 0\n"),
            "it counts from 0"
        );
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_500);
        metrics.decided("promoted", "v2-abc", at);
        let line =
            "birdwatch_decisions_total{decision=\"promoted\"} 1 # {rollout=\"v2-abc\"} 1.0 1790000000.5\n";
        let text = metrics.text().unwrap();
        assert!(text.contains(line), "{text}");
        metrics.decided(
            "promoted",
            "v1-long-ago",
            SystemTime::UNIX_EPOCH - Duration::from_secs(1),
        );
        assert!(metrics.text().is_ok(), "a clock that is wrong breaks nothing");
    }
}
