//! Flagger: its flags, its objects. It makes the routes itself. Data only.

use birdwatch_bed::{process::Spec, tools::Tools};
use serde_json::{Value, json};

use super::{Account, Change, Contender, Installation, Pace, Place, Service};
use crate::{
    manifests::{DEPLOYMENT, Kind, containers, deployment, object, weight_of},
    telemetry::Server,
};

/// Flagger, as it comes or as its documentation has it for many canaries.
pub(crate) struct Flagger {
    pub(crate) is_best: bool,
}

/// Threads and limits of requests far above what this bench makes it need; it looks for new canaries every second.
const BEST: [&str; 4] = [
    "-threadiness=64",
    "-kubeconfig-qps=2000",
    "-kubeconfig-burst=4000",
    "-control-loop-interval=1s",
];

impl Contender for Flagger {
    fn name(&self) -> &'static str {
        if self.is_best { "flagger-best" } else { "flagger" }
    }

    fn settings(&self) -> &'static str {
        if self.is_best {
            "`-threadiness=64 -kubeconfig-qps=2000 -kubeconfig-burst=4000 -control-loop-interval=1s`; each Canary with its \
             shortest interval, 10 s, and `threshold: 1`"
        } else {
            "its own defaults; each Canary with its shortest interval, 10 s, and `threshold: 1`"
        }
    }

    fn account(&self) -> Account {
        Account {
            namespace: "flagger-system",
            name: "flagger",
        }
    }

    /// An interval below that is taken for it.
    fn shortest_check(&self) -> u32 {
        10
    }

    fn installation(&self, tools: &Tools) -> Installation {
        Installation {
            crds: tools.crds("flagger"),
            manifests: self.account().with_all_rights(),
            by_chart: false,
        }
    }

    fn process(&self, place: &Place) -> Spec {
        let namespace = self.account().namespace;
        let mut spec = Spec::new(
            format!("flagger-{}", place.replica),
            place.tools.program("flagger"),
        )
        .args([
            format!("-kubeconfig={}", place.kubeconfig.display()),
            format!("-metrics-server={}", place.default_server()),
            format!("-port={}", place.ports[0]),
        ])
        // What its chart sets.
        .args(["-mesh-provider=istio", "-log-level=info"])
        .env("POD_NAMESPACE", namespace);
        if place.elects {
            spec = spec.args([
                "-enable-leader-election=true".to_owned(),
                format!("-leader-election-namespace={namespace}"),
            ]);
        }
        if self.is_best { spec.args(BEST) } else { spec }
    }

    /// A template for each server.
    fn common(&self, servers: &[(Server, String)], _: Pace) -> Vec<Value> {
        let template = |(server, url): &(Server, String)| {
            let spec = json!({
                "provider": {"type": "prometheus", "address": url},
                "query": "bench_errors{app=\"{{ target }}\"}",
            });
            object(
                "flagger.app/v1beta1",
                "MetricTemplate",
                &template_of(*server),
                &spec,
            )
        };
        servers.iter().map(template).collect()
    }

    fn workload(&self, service: &Service) -> Vec<Value> {
        vec![deployment(&service.name, &json!({"app": service.name}), "v1")]
    }

    fn hand_over(&self, service: &Service, pace: Pace) -> Vec<Value> {
        let interval = format!("{}s", pace.check.max(self.shortest_check()));
        let spec = json!({
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name},
            "service": {"port": 80, "targetPort": 8080},
            "analysis": {
                "interval": interval,
                "threshold": 1,
                "maxWeight": 100,
                "stepWeight": pace.increment,
                "metrics": [{
                    "name": "errors",
                    "interval": interval,
                    "templateRef": {"name": template_of(service.server)},
                    "thresholdRange": {"max": 0.5},
                }],
            },
        });
        vec![object("flagger.app/v1beta1", "Canary", &service.name, &spec)]
    }

    fn new_version(&self, service: &Service) -> Change {
        Change::Patch {
            kind: DEPLOYMENT,
            name: service.name.clone(),
            patch: json!({"spec": {"template": {"spec": {"containers": containers("v2")}}}}),
        }
    }

    fn kind(&self) -> Kind {
        Kind {
            group: "flagger.app",
            version: "v1beta1",
            kind: "Canary",
            plural: "canaries",
        }
    }

    fn is_at_rest(&self, object: &Value) -> bool {
        object["status"]["phase"] == "Initialized"
    }

    fn canary_weight(&self, spec: &Value) -> Option<i64> {
        weight_of(spec, |to| {
            to["host"].as_str().is_some_and(|host| host.ends_with("-canary"))
        })
    }
}

fn template_of(server: Server) -> String {
    format!("errors-{}", server.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_canary_is_the_destination_that_it_names_so() {
        let to = |host: &str, weight: u32| json!({"destination": {"host": host}, "weight": weight});
        let spec = json!({"http": [{"route": [to("one-primary", 88), to("one-canary", 12)]}]});
        let flagger = Flagger { is_best: false };
        assert_eq!(flagger.canary_weight(&spec), Some(12));
    }
}
