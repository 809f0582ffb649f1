//! `BirdWatch`: its chart, the binary of its image, its objects. Data only.

use birdwatch_bed::{operator, process::Spec, tools::Tools};
use serde_json::{Value, json};

use super::{Account, Change, Contender, Installation, Pace, Place, Service};
use crate::{
    manifests::{Kind, deployment, object, routes, subsets, weight_of},
    telemetry::Server,
};

/// `BirdWatch` as its chart and its image have it.
pub(crate) struct BirdWatch;

fn labels(service: &Service, version: &str) -> Value {
    json!({"app": service.name, "version": version})
}

fn of_version(service: &Service, version: &str) -> Value {
    deployment(
        &format!("{}-{version}", service.name),
        &labels(service, version),
        version,
    )
}

/// What the image sets in the environment, as the Dockerfile says.
fn of_the_image(dockerfile: &str) -> Vec<(&str, &str)> {
    let set = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    set.collect()
}

impl Contender for BirdWatch {
    fn name(&self) -> &'static str {
        "birdwatch"
    }

    fn settings(&self) -> &'static str {
        "its chart's defaults, the binary built as for its image; in each BirdWatch `settle: 0s`, because the readings of \
         this bench do not lag behind"
    }

    fn account(&self) -> Account {
        Account {
            namespace: operator::NAME,
            name: operator::NAME,
        }
    }

    fn installation(&self, _: &Tools) -> Installation {
        Installation {
            by_chart: true,
            ..Installation::default()
        }
    }

    fn process(&self, place: &Place) -> Spec {
        let dockerfile = std::fs::read_to_string(operator::root().join("Dockerfile")).unwrap_or_default();
        let mut spec = Spec::new(format!("birdwatch-{}", place.replica), &place.birdwatch).args(["run"]);
        for (name, value) in of_the_image(&dockerfile) {
            spec = spec.env(name, value);
        }
        for (name, value) in &place.env {
            spec = spec.env(name, value);
        }
        spec.env("KUBECONFIG", place.kubeconfig.to_string_lossy())
            .env("POD_NAME", format!("birdwatch-{}", place.replica))
            .env("POD_NAMESPACE", self.account().namespace)
            .env("ADMIN_ADDRESS", "127.0.0.1")
            .env("ADMIN_PORT", place.ports[0].to_string())
            .env("PROMETHEUS_URL", "")
            .env("PROMETHEUS_SERVERS_FILE", place.servers_file.to_string_lossy())
    }

    fn common(&self, _: &[(Server, String)], _: Pace) -> Vec<Value> {
        Vec::new()
    }

    fn workload(&self, service: &Service) -> Vec<Value> {
        vec![
            subsets(
                &service.name,
                &json!({"version": "v1"}),
                &json!({"version": "none"}),
            ),
            routes(&service.name),
            of_version(service, "v1"),
        ]
    }

    fn hand_over(&self, service: &Service, pace: Pace) -> Vec<Value> {
        let spec = json!({
            "service": service.name,
            "metric": "bench_errors{app=\"$(service)\",version=\"$(version)\"}",
            "deviation": 0.5,
            "increment": pace.increment,
            "interval": format!("{}s", pace.hold),
            "checkInterval": format!("{}s", pace.check),
            "settle": "0s",
            "prometheus": service.server.name(),
        });
        vec![object("otomato.link/v1alpha1", "BirdWatch", &service.name, &spec)]
    }

    fn new_version(&self, service: &Service) -> Change {
        Change::Create(of_version(service, "v2"))
    }

    fn kind(&self) -> Kind {
        Kind {
            group: "otomato.link",
            version: "v1alpha1",
            kind: "BirdWatch",
            plural: "birdwatches",
        }
    }

    fn is_at_rest(&self, object: &Value) -> bool {
        object["status"]["phase"] == "Idle" && object["status"]["known"].is_array()
    }

    fn canary_weight(&self, spec: &Value) -> Option<i64> {
        weight_of(spec, |to| to["subset"] == "canary")
    }
}

#[cfg(test)]
mod tests {
    use ::birdwatch::{api::BirdWatch as Resource, core::plan};

    use super::*;

    #[test]
    fn its_objects_resolve_to_the_plan_that_is_meant() {
        let service = Service {
            name: "one".into(),
            server: Server::Slow,
        };
        let pace = Pace {
            check: 1,
            hold: 10,
            increment: 2,
        };
        let manifest = BirdWatch.hand_over(&service, pace).pop().unwrap();
        let read: Resource = serde_json::from_value(manifest).unwrap();
        let plan = plan::resolve(&read.spec).unwrap();
        assert_eq!(plan.steps.len(), 50);
        assert_eq!(read.spec.prometheus.as_deref(), Some("slow"));
    }

    #[test]
    fn the_environment_of_the_image_is_read_from_the_dockerfile() {
        let text = "FROM scratch\nENV A=b=c\nUSER 1\n";
        assert_eq!(of_the_image(text), [("A", "b=c")]);
        let dockerfile = std::fs::read_to_string(operator::root().join("Dockerfile")).unwrap();
        assert!(
            of_the_image(&dockerfile)
                .iter()
                .any(|(name, _)| *name == "MALLOC_ARENA_MAX")
        );
    }
}
