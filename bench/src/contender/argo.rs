//! Argo Rollouts: its flags, its objects. Data only.

use birdwatch_bed::{process::Spec, tools::Tools};
use serde_json::{Value, json};

use super::{Account, Change, Contender, Installation, Pace, Place, Service};
use crate::{
    manifests::{Kind, containers, object, pod, routes, subsets, weight_of},
    telemetry::Server,
};

/// Argo Rollouts, as it comes or with its limits raised.
pub(crate) struct Argo {
    pub(crate) is_best: bool,
}

/// Threads and limits of requests far above what this bench makes it need.
const BEST: [&str; 4] = [
    "--qps=2000",
    "--burst=4000",
    "--rollout-threads=64",
    "--analysis-threads=256",
];

const KIND: Kind = Kind {
    group: "argoproj.io",
    version: "v1alpha1",
    kind: "Rollout",
    plural: "rollouts",
};

impl Contender for Argo {
    fn name(&self) -> &'static str {
        if self.is_best { "argo-best" } else { "argo" }
    }

    fn settings(&self) -> &'static str {
        if self.is_best {
            "`--qps=2000 --burst=4000 --rollout-threads=64 --analysis-threads=256`; a background analysis that fails with \
             its first bad reading"
        } else {
            "its own defaults; a background analysis that fails with its first bad reading"
        }
    }

    fn account(&self) -> Account {
        Account {
            namespace: "argo-rollouts",
            name: "argo-rollouts",
        }
    }

    fn installation(&self, tools: &Tools) -> Installation {
        Installation {
            crds: tools.crds("rollouts-controller"),
            manifests: self.account().with_all_rights(),
            by_chart: false,
        }
    }

    fn process(&self, place: &Place) -> Spec {
        let program = place.tools.program("rollouts-controller");
        let spec = Spec::new(format!("argo-{}", place.replica), program).args([
            format!("--kubeconfig={}", place.kubeconfig.display()),
            format!("--namespace={}", self.account().namespace),
            format!("--metricsPort={}", place.ports[0]),
            format!("--healthzPort={}", place.ports[1]),
            format!("--leader-elect={}", place.elects),
        ]);
        if self.is_best { spec.args(BEST) } else { spec }
    }

    /// A template for each server.
    fn common(&self, servers: &[(Server, String)], pace: Pace) -> Vec<Value> {
        let template = |(server, url): &(Server, String)| {
            let metric = json!({
                "name": "errors",
                "interval": format!("{}s", pace.check),
                "successCondition": "result[0] < 0.5",
                "provider": {"prometheus": {"address": url, "query": "bench_errors{app=\"{{args.app}}\"}"}},
            });
            let spec = json!({"args": [{"name": "app"}], "metrics": [metric]});
            object(
                "argoproj.io/v1alpha1",
                "AnalysisTemplate",
                &template_of(*server),
                &spec,
            )
        };
        servers.iter().map(template).collect()
    }

    /// Its own object is the workload; what there is before leads traffic there.
    fn workload(&self, service: &Service) -> Vec<Value> {
        let labels = json!({"app": service.name});
        vec![subsets(&service.name, &labels, &labels), routes(&service.name)]
    }

    fn hand_over(&self, service: &Service, pace: Pace) -> Vec<Value> {
        let labels = json!({"app": service.name});
        let hold = json!({"pause": {"duration": format!("{}s", pace.hold)}});
        let steps: Vec<Value> = pace
            .weights()
            .flat_map(|weight| [json!({"setWeight": weight}), hold.clone()])
            .collect();
        let canary = json!({
            "trafficRouting": {"istio": {
                "virtualService": {"name": service.name, "routes": ["primary"]},
                "destinationRule": {
                    "name": service.name, "canarySubsetName": "canary", "stableSubsetName": "production",
                },
            }},
            "analysis": {
                "templates": [{"templateName": template_of(service.server)}],
                "args": [{"name": "app", "value": service.name}],
            },
            "steps": steps,
        });
        let spec = json!({
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": pod(&labels, "v1"),
            "strategy": {"canary": canary},
        });
        vec![object("argoproj.io/v1alpha1", "Rollout", &service.name, &spec)]
    }

    fn new_version(&self, service: &Service) -> Change {
        Change::Patch {
            kind: KIND,
            name: service.name.clone(),
            patch: json!({"spec": {"template": {"spec": {"containers": containers("v2")}}}}),
        }
    }

    fn kind(&self) -> Kind {
        KIND
    }

    fn is_at_rest(&self, object: &Value) -> bool {
        object["status"]["phase"] == "Healthy"
    }

    fn canary_weight(&self, spec: &Value) -> Option<i64> {
        weight_of(spec, |to| to["subset"] == "canary")
    }
}

fn template_of(server: Server) -> String {
    format!("errors-{}", server.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_each_weight_as_long_as_the_others() {
        let service = Service {
            name: "one".into(),
            server: Server::Fine,
        };
        let pace = Pace {
            check: 1,
            hold: 10,
            increment: 50,
        };
        let rollout = Argo { is_best: false }.hand_over(&service, pace).pop().unwrap();
        let steps = &rollout["spec"]["strategy"]["canary"]["steps"];
        assert_eq!(*steps, json!([{"setWeight": 50}, {"pause": {"duration": "10s"}}]));
    }
}
