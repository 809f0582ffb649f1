//! Who is measured: how each is installed and started, and what its objects look like. Data only: nothing here speaks to
//! a server or starts a process, so that what differs between contenders is all in one place.

mod argo;
mod birdwatch;
mod flagger;

use std::path::PathBuf;

use birdwatch_bed::{process::Spec, tools::Tools};
use serde_json::{Value, json};

use self::{argo::Argo, birdwatch::BirdWatch, flagger::Flagger};
use crate::{manifests::Kind, telemetry::Server};

/// Every one of them, by name, in the order in which reports show them.
pub(crate) const NAMES: [&str; 5] = ["birdwatch", "flagger", "flagger-best", "argo", "argo-best"];

/// A service that is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Who is asked about it.
    pub(crate) server: Server,
}

/// How a rollout goes, the same for all as far as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Seconds between two checks.
    pub(crate) check: u32,
    /// Seconds at each weight.
    pub(crate) hold: u32,
    /// Percent added by each step.
    pub(crate) increment: u32,
}

impl Pace {
    /// All weights below 100.
    pub(crate) fn weights(self) -> impl Iterator<Item = u32> {
        let increment = self.increment.clamp(1, 99);
        (1..100)
            .step_by(usize::try_from(increment).unwrap_or(1))
            .map(move |at| at + increment - 1)
            .filter(|weight| *weight < 100)
    }
}

/// A Kubernetes account that a contender runs as, by which the audit log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
}

impl Account {
    /// The user of its requests.
    pub(crate) fn user(self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// The account itself, with all rights: what a rival may do is not what is measured.
    fn with_all_rights(self) -> Vec<Value> {
        let Self { namespace, name } = self;
        vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            }),
        ]
    }
}

/// What has to be in the cluster before a contender's process starts.
#[derive(Debug, Default)]
pub(crate) struct Installation {
    /// A file with the kinds it serves.
    pub(crate) crds: Option<PathBuf>,
    pub(crate) manifests: Vec<Value>,
    /// It comes as `BirdWatch`'s chart, whose Deployment says how its process is started.
    pub(crate) by_chart: bool,
}

/// Where a process finds everything.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) tools: Tools,
    /// `BirdWatch`'s program.
    pub(crate) birdwatch: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// The telemetry servers, the default one first.
    pub(crate) servers: Vec<(Server, String)>,
    /// A file that lists them, as `BirdWatch` reads it.
    pub(crate) servers_file: PathBuf,
    /// Two ports of its own.
    pub(crate) ports: [u16; 2],
    /// From 1; several of them elect a leader.
    pub(crate) replica: usize,
    /// Whether there is more than one.
    pub(crate) elects: bool,
    /// What the chart's Deployment sets; empty without a chart.
    pub(crate) env: Vec<(String, String)>,
}

impl Place {
    /// Where the server answers that is asked by default.
    fn default_server(&self) -> &str {
        self.servers.first().map_or("", |(_, url)| url)
    }
}

/// How a new version is let out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// By a new object.
    Create(Value),
    /// By a merge patch.
    Patch { kind: Kind, name: String, patch: Value },
}

/// One who is measured.
pub(crate) trait Contender: Send + Sync {
    /// As results and the command line name it.
    fn name(&self) -> &'static str;

    /// Its flags and fields, as far as they are not its own defaults, for the report.
    fn settings(&self) -> &'static str;

    fn account(&self) -> Account;

    /// The shortest time between two checks, in seconds.
    fn shortest_check(&self) -> u32 {
        1
    }

    fn installation(&self, tools: &Tools) -> Installation;

    /// Its process, without a log.
    fn process(&self, place: &Place) -> Spec;

    /// What its objects of all services have in common.
    fn common(&self, servers: &[(Server, String)], pace: Pace) -> Vec<Value>;

    /// What is there of a service before it is put into the contender's hands.
    fn workload(&self, service: &Service) -> Vec<Value>;

    /// What puts it there. The last is of [`Contender::kind`] and has the service's name.
    fn hand_over(&self, service: &Service, pace: Pace) -> Vec<Value>;

    /// How its next version is let out.
    fn new_version(&self, service: &Service) -> Change;

    /// The kind of its own objects.
    fn kind(&self) -> Kind;

    /// Whether one of them is known to it and at rest.
    fn is_at_rest(&self, object: &Value) -> bool;

    /// The canary's weight in a `VirtualService`'s spec; None where it has no such destination.
    fn canary_weight(&self, spec: &Value) -> Option<i64>;
}

/// The one of that name.
pub(crate) fn by_name(name: &str) -> Option<Box<dyn Contender>> {
    Some(match name {
        "birdwatch" => Box::new(BirdWatch),
        "flagger" => Box::new(Flagger { is_best: false }),
        "flagger-best" => Box::new(Flagger { is_best: true }),
        "argo" => Box::new(Argo { is_best: false }),
        "argo-best" => Box::new(Argo { is_best: true }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        check: 10,
        hold: 10,
        increment: 2,
    };

    #[test]
    fn weights_rise_by_the_increment_and_stay_below_100() {
        let weights: Vec<u32> = PACE.weights().collect();
        assert_eq!(
            (weights[0], weights[1], *weights.last().unwrap(), weights.len()),
            (2, 4, 98, 49)
        );
        let ten = Pace {
            increment: 10,
            ..PACE
        };
        assert_eq!(
            ten.weights().collect::<Vec<_>>(),
            [10, 20, 30, 40, 50, 60, 70, 80, 90]
        );
    }

    #[test]
    fn every_contender_is_found_by_its_name_and_hands_over_an_object_of_its_kind() {
        let service = Service {
            name: "one".into(),
            server: Server::Slow,
        };
        for name in NAMES {
            let contender = by_name(name).unwrap();
            assert_eq!(contender.name(), name);
            let object = contender.hand_over(&service, PACE).pop().unwrap();
            assert_eq!(object["kind"], contender.kind().kind, "{name}");
            assert_eq!(object["metadata"]["name"], "one", "{name}");
            assert!(!contender.is_at_rest(&object), "{name}: nobody has seen it yet");
        }
        assert!(by_name("other").is_none());
    }
}
