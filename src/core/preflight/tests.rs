//! Each finding fires on what is wrong, and stays silent on what is nearly so.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::inventory::*;
use super::*;
use crate::api::{BirdWatchSpec, Span};
use crate::core::observation::{Answer, DeploymentSeen, ObjectName, Outcome, Point, Side};
use crate::core::sequential::planner::Traffic;

type Change = fn(&mut Inventory);

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn spec(changes: &serde_json::Value) -> BirdWatchSpec {
    let mut spec = json!({
        "service": "shop", "canaryVersion": "v2",
        "steps": [{"weight": 10, "hold": "2m"}, {"weight": 50, "hold": "5m"}],
        "metrics": [{
            "name": "errors", "deviation": 0.05, "per": "request",
            "query": "sum(rate(errors_total{version=\"$(version)\"}[1m]))",
        }],
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn metric(changes: &serde_json::Value) -> BirdWatchSpec {
    let mut metric =
        json!({"name": "errors", "query": "max(share{version=\"$(version)\"})", "deviation": 0.05});
    for (field, value) in changes.as_object().unwrap() {
        metric[field] = value.clone();
    }
    spec(&json!({"metrics": [metric]}))
}

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn deployment(version: &str, replicas: i32) -> DeploymentFacts {
    DeploymentFacts {
        seen: DeploymentSeen {
            name: format!("shop-{version}"),
            version: Some(version.into()),
            revision: Some("1".into()),
            replicas,
            current: replicas,
            updated: replicas,
            available: replicas,
            ..DeploymentSeen::default()
        },
        has_status: true,
        images: vec![("shop".into(), format!("registry:5000/shop:{version}@sha256:00"))],
        pod_labels: labels(&[("app", "shop"), ("version", version)]),
        ..DeploymentFacts::default()
    }
}

fn pod(version: &str, has_proxy: bool) -> PodFacts {
    PodFacts {
        name: format!("shop-{version}-x"),
        version: Some(version.into()),
        has_proxy,
    }
}

fn answer(outcome: Outcome) -> Answer {
    Answer {
        metric: "errors".into(),
        side: Side::Production,
        outcome,
        traffic: Some(Ok(100.0)),
    }
}

fn points(values: &[f64]) -> Outcome {
    let point = |value: &f64| Point {
        labels: "{pod=\"x\"}".into(),
        value: *value,
    };
    Outcome::Series(values.iter().map(point).collect())
}

fn says(inventory: &mut Inventory, outcome: Outcome) {
    inventory.metrics.as_mut().unwrap()[0].answer = answer(outcome);
}

/// Readings of an hour that go round these.
fn hour(inventory: &mut Inventory, around: &[f64]) {
    inventory.metrics.as_mut().unwrap()[0].hour = Ok(around.iter().copied().cycle().take(60).collect());
}

fn service(inventory: &mut Inventory) -> &mut VirtualServiceFacts {
    &mut inventory.virtual_services.found[0]
}

fn rule(inventory: &mut Inventory) -> &mut RuleFacts {
    inventory.rule.as_mut().unwrap().as_mut().unwrap()
}

fn found(inventory: &mut Inventory) -> &mut ServiceFacts {
    inventory.service.as_mut().unwrap().as_mut().unwrap()
}

fn port(inventory: &mut Inventory) -> &mut Port {
    &mut found(inventory).ports[0]
}

fn other(name: &str) -> VirtualServiceFacts {
    VirtualServiceFacts {
        name: self::name(name),
        others: vec![OtherRoute {
            label: "http[0]".into(),
            holds: Holds::ProductionOnly,
        }],
        ..VirtualServiceFacts::default()
    }
}

fn peer(changes: &serde_json::Value) -> Peer {
    Peer {
        name: "other".into(),
        target: crate::core::plan::resolve(&spec(changes)).unwrap().target,
        host: Some("shop.shop.svc.cluster.local".into()),
        is_older: Some(true),
    }
}

fn whole<T>(found: Vec<T>) -> Listed<T> {
    Listed { found, whole: Ok(()) }
}

/// All was looked at, and nothing is wrong.
fn fine() -> Inventory {
    let route = RouteFacts {
        label: "http[main]".into(),
        is_http: true,
        canary: 0,
        total: 100,
        ..RouteFacts::default()
    };
    Inventory {
        virtual_services: whole(vec![VirtualServiceFacts {
            name: name("shop"),
            routes: vec![route],
            ..VirtualServiceFacts::default()
        }]),
        rule: Ok(Some(RuleFacts {
            host: Some("shop.shop.svc.cluster.local".into()),
            production: SubsetFacts::Version("v1".into()),
            canary: SubsetFacts::Version("v1".into()),
            ..RuleFacts::default()
        })),
        deployments: whole(vec![deployment("v1", 4), deployment("v2", 4)]),
        pods: whole(vec![pod("v1", true), pod("v2", true)]),
        service: Ok(Some(ServiceFacts {
            name: "shop".into(),
            labels: labels(&[]),
            ports: vec![Port {
                name: "http-web".into(),
                number: 80,
                ..Port::default()
            }],
            selector: labels(&[("app", "shop")]),
            is_headless: false,
        })),
        namespace_labels: Ok(labels(&[("istio-injection", "enabled")])),
        peers: whole(vec![peer(
            &json!({"service": "till", "subsets": {"canary": "next"}}),
        )]),
        rights: Ok(vec![right(true)]),
        metrics: Ok(vec![MetricFacts {
            answer: answer(points(&[1.0])),
            hour: Ok([0.010, 0.011, 0.012].iter().copied().cycle().take(60).collect()),
        }]),
        traffic: Ok(TrafficFacts {
            requests_per_second: 100.0,
            from_mesh: Ok(10.0),
        }),
        ..Inventory::new(name("shop"), Ok(spec(&json!({}))), "")
    }
}

fn right(allowed: bool) -> Right {
    Right {
        user: "system:serviceaccount:birdwatch:birdwatch".into(),
        verb: "patch".into(),
        resource: "virtualservices.networking.istio.io".into(),
        allowed,
    }
}

fn after(change: Change) -> Report {
    let mut inventory = fine();
    change(&mut inventory);
    report(&inventory)
}

use Severity::{Error, Hint, Warning};

/// What fires: the code, how grave it is, a part of what it is about, and what was done to a fine inventory.
const FIRE: &[(&str, Severity, &str, Change)] = &[
    (codes::SPEC_INVALID, Error, "BirdWatch shop", |i| {
        i.spec = Err("spec cannot be read: odd".into());
    }),
    (codes::SPEC_INVALID, Error, "spec.steps[0].weight", |i| {
        i.spec = Ok(spec(&json!({"steps": [{"weight": 101}]})));
    }),
    (codes::QUERY_SYNTAX, Error, "spec.metrics[0].query", |i| {
        i.spec = Ok(metric(&json!({"query": "sum(x"})));
    }),
    (codes::QUERY_SYNTAX, Error, "spec.metrics[0].query", |i| {
        i.spec = Ok(metric(&json!({"query": "x{v=\"$(vers)\"}"})));
    }),
    (codes::QUERY_GROWS, Warning, "metric errors", |i| {
        i.spec = Ok(metric(
            &json!({"query": "sum(rate(errors_total{version=\"$(version)\"}[1m]))"}),
        ));
    }),
    (codes::RANGE_TOO_LONG, Warning, "metric errors", |i| {
        i.spec = Ok(metric(
            &json!({"query": "max_over_time(share{version=\"$(version)\"}[10m])"}),
        ));
    }),
    (codes::RANGE_UNKNOWN, Warning, "metric errors", |i| {
        i.spec = Ok(metric(
            &json!({"query": "shop:errors:rate5m{version=\"$(version)\"}"}),
        ));
    }),
    (codes::WEIGHT_COARSE, Warning, "http[main]", |i| {
        i.virtual_services.found[0].routes[0].total = 5;
    }),
    (codes::RULES_SEVERAL, Warning, "DestinationRule shop", |i| {
        rule(i).beside = vec!["shop-old".into()];
    }),
    (codes::SUBSET_LABELS, Error, "subset production", |i| {
        i.deployments.found[1].seen.lacks.production = Some("track=stable".into());
    }),
    (codes::SUBSET_LABELS, Error, "subset canary", |i| {
        i.deployments.found[1].seen.lacks.canary = Some("track=canary".into());
    }),
    (codes::MIRROR, Warning, "http[1]", |i| {
        i.virtual_services.found[0].others.push(OtherRoute {
            label: "http[1]".into(),
            holds: Holds::CanaryMirror,
        });
    }),
    (codes::HEADLESS, Warning, "spec.clusterIP", |i| {
        found(i).is_headless = true;
    }),
    (codes::SELECTOR_LABELS, Error, "spec.selector", |i| {
        found(i).selector.insert("tier".into(), "front".into());
    }),
    (codes::SETTLE_TOO_SHORT, Warning, "metric errors", |i| {
        i.spec = Ok(spec(&json!({"settle": "10s"})));
    }),
    (codes::RULE_MISSING, Error, "DestinationRule shop", |i| {
        i.rule = Ok(None);
    }),
    (codes::RULE_INVALID, Error, "DestinationRule shop, spec", |i| {
        rule(i).problems = vec![problem(false)];
    }),
    (
        codes::SUBSET_MISSING,
        Error,
        "DestinationRule shop, spec.subsets",
        |i| rule(i).problems = vec![problem(true)],
    ),
    (codes::LABEL_MISSING, Error, "subset production", |i| {
        rule(i).production = SubsetFacts::Unlabelled;
    }),
    (codes::LABEL_MISSING, Hint, "subset canary", |i| {
        rule(i).canary = SubsetFacts::Unlabelled;
    }),
    (
        codes::LABEL_MISSING,
        Warning,
        "Deployment shop-v3, pod template",
        |i| {
            let mut unlabelled = deployment("v3", 1);
            unlabelled.seen.version = None;
            i.deployments.found.push(unlabelled);
        },
    ),
    (codes::SERVICE_MISSING, Error, "VirtualService shop", |i| {
        i.virtual_services.found.clear();
    }),
    (codes::ROUTE_MISSING, Error, "VirtualService shop", |i| {
        routeless(i, RouteProblemKind::NoRoute);
    }),
    (codes::ROUTE_ONE_SUBSET, Error, "VirtualService shop", |i| {
        routeless(i, RouteProblemKind::OneSubset);
    }),
    (codes::ROUTE_ONE_SUBSET, Hint, "http[0]", |i| {
        service(i).others = other("x").others;
    }),
    (codes::ROUTE_NO_SUBSET, Warning, "http[0]", |i| {
        service(i).others = vec![OtherRoute {
            label: "http[0]".into(),
            holds: Holds::NoSubset,
        }];
    }),
    (codes::ROUTE_INVALID, Error, "VirtualService shop", |i| {
        routeless(i, RouteProblemKind::Unusable);
    }),
    (
        codes::WEIGHT_NOT_ZERO,
        Error,
        "VirtualService shop, http[main]",
        |i| service(i).routes[0].canary = 5,
    ),
    (
        codes::WEIGHT_NOTHING,
        Warning,
        "VirtualService shop, http[main]",
        |i| service(i).routes[0].total = 0,
    ),
    (codes::SERVICES_SEVERAL, Warning, "VirtualService public", |i| {
        i.virtual_services.found.push(other("public"));
    }),
    (codes::GATEWAYS_WITHOUT_MESH, Warning, "spec.gateways", |i| {
        service(i).gateways = vec!["public".into()];
    }),
    (codes::GATEWAYS_WITHOUT_MESH, Hint, "spec.gateways", |i| {
        service(i).gateways = vec!["public".into()];
        i.traffic = Err("not asked".into());
    }),
    (codes::RETRIES, Warning, "http[main]", |i| {
        service(i).routes[0].retries = Some(retries(2, "connect-failure, 5xx"));
    }),
    (codes::RETRIES, Hint, "http[main]", |i| {
        service(i).routes[0].retries = Some(retries(2, ""));
    }),
    (codes::FAULT_INJECTION, Warning, "http[main]", |i| {
        service(i).routes[0].faults = vec!["abort".into()];
    }),
    (
        codes::DEPLOYMENT_MISSING,
        Error,
        "Deployments with app=shop",
        |i| i.deployments.found.clear(),
    ),
    (codes::DEPLOYMENT_MISSING, Hint, "spec.canaryVersion", |i| {
        i.deployments.found.truncate(1);
    }),
    (codes::PRODUCTION_MISSING, Error, "subset production", |i| {
        drop(i.deployments.found.remove(0));
    }),
    (codes::NOT_AVAILABLE, Error, "Deployment shop-v1", |i| {
        i.deployments.found[0].seen.available = 0;
    }),
    (codes::NOT_AVAILABLE, Warning, "Deployment shop-v1", |i| {
        i.deployments.found[0].seen.available = 3;
    }),
    (codes::NOT_AVAILABLE, Warning, "Deployment shop-v2", |i| {
        i.deployments.found[1].seen.available = 0;
    }),
    (
        codes::CANARY_TOO_SMALL,
        Warning,
        "Deployment shop-v2, spec.replicas",
        |i| i.deployments.found[1] = deployment("v2", 1),
    ),
    (codes::IMAGE_MUTABLE, Warning, "container shop", |i| {
        image(i, "shop:latest");
    }),
    (codes::IMAGE_MUTABLE, Warning, "container shop", |i| {
        image(i, "registry:5000/shop");
    }),
    (codes::IMAGE_MUTABLE, Hint, "Deployment shop-v2", |i| {
        image(i, "registry:5000/shop:2");
    }),
    (codes::NO_SIDECAR, Warning, "Deployment shop-v2", |i| {
        i.pods.found[1].has_proxy = false;
    }),
    (
        codes::NO_SIDECAR,
        Warning,
        "Deployment shop-v2, pod template",
        |i| {
            i.pods.found.pop();
            i.deployments.found[1]
                .pod_labels
                .insert("sidecar.istio.io/inject".into(), "false".into());
        },
    ),
    (
        codes::NO_SIDECAR,
        Warning,
        "Deployment shop-v1, pod template",
        |i| {
            drop(i.pods.found.remove(0));
            i.namespace_labels = Ok(labels(&[]));
        },
    ),
    (codes::HOST_WITHOUT_SERVICE, Error, "spec.host", |i| {
        i.service = Ok(None);
    }),
    (codes::NO_SIDECAR, Warning, "Deployment shop-v1", |i| {
        i.namespace_labels = Ok(labels(&[("istio.io/dataplane-mode", "ambient")]));
        i.pods = whole(vec![pod("v1", false)]);
        i.deployments.found.pop();
    }),
    (
        codes::NO_SIDECAR,
        Warning,
        "Deployment shop-v2, pod template",
        |i| {
            i.pods = whole(vec![pod("v1", true)]);
            i.deployments.found[1].host_network = true;
        },
    ),
    // Beside http it is mostly a port for metrics.
    (codes::PORT_PROTOCOL, Hint, "Service shop, port 9090", |i| {
        let ports = &mut i.service.as_mut().unwrap().as_mut().unwrap().ports;
        ports.push(Port {
            name: "metrics".into(),
            number: 9090,
            ..Port::default()
        });
    }),
    (codes::PORT_PROTOCOL, Warning, "Service shop, port 80", |i| {
        port(i).name = "web".into();
    }),
    (codes::PORT_PROTOCOL, Warning, "Service shop, port 80", |i| {
        port(i).name = String::new();
    }),
    (codes::PORT_PROTOCOL, Warning, "Service shop, port 80", |i| {
        port(i).app_protocol = Some("tcp".into());
    }),
    (
        codes::SELECTOR_VERSION,
        Error,
        "Service shop, spec.selector",
        |i| {
            i.service.as_mut().unwrap().as_mut().unwrap().selector = labels(&[("version", "v1")]);
        },
    ),
    (codes::SECOND_BIRDWATCH, Error, "BirdWatch other", |i| {
        i.peers.found = vec![peer(&json!({}))];
    }),
    (codes::SECOND_BIRDWATCH, Error, "BirdWatch other", |i| {
        i.peers.found = vec![Peer {
            is_older: None,
            ..peer(&json!({"destinationRule": "alike"}))
        }];
    }),
    (codes::SECOND_BIRDWATCH, Warning, "BirdWatch other", |i| {
        i.peers.found = vec![Peer {
            is_older: Some(false),
            ..peer(&json!({}))
        }];
    }),
    (codes::OTHER_OPERATOR, Error, "VirtualService shop", |i| {
        service(i).meta.managers = vec!["kubectl".into(), "flagger".into()];
    }),
    (codes::OTHER_OPERATOR, Error, "DestinationRule shop", |i| {
        rule(i).meta.annotations = labels(&[("argo-rollouts.argoproj.io/managed-by-rollouts", "shop")]);
    }),
    (codes::OTHER_OPERATOR, Error, "Deployment shop-v1", |i| {
        i.deployments.found[0].meta.owners = vec!["flagger.app/v1beta1 Canary \"shop\"".into()];
    }),
    (
        codes::RIGHT_MISSING,
        Error,
        "virtualservices.networking.istio.io",
        |i| i.rights = Ok(vec![right(true), right(false)]),
    ),
    (codes::QUERY_FAILED, Error, "metric errors", |i| {
        says(i, Outcome::Failed("Prometheus answered 400".into()));
    }),
    (codes::QUERY_UNKNOWN_NAME, Error, "metric errors", |i| {
        says(
            i,
            Outcome::Empty {
                unknown_names: Ok(vec!["erors_total".into()]),
            },
        );
    }),
    (codes::QUERY_EMPTY, Warning, "metric errors", |i| {
        says(
            i,
            Outcome::Empty {
                unknown_names: Err("down".into()),
            },
        );
    }),
    (codes::QUERY_EMPTY, Warning, "metric errors", |i| {
        says(i, points(&[1.0]));
        i.metrics.as_mut().unwrap()[0].answer.traffic = Some(Ok(0.0));
    }),
    (codes::QUERY_EMPTY, Hint, "metric errors", |i| {
        says(
            i,
            Outcome::Empty {
                unknown_names: Ok(vec![]),
            },
        );
        let answer = &mut i.metrics.as_mut().unwrap()[0].answer;
        (answer.side, answer.traffic) = (Side::Canary, Some(Ok(0.0)));
    }),
    (codes::QUERY_SEVERAL_SERIES, Warning, "metric errors", |i| {
        says(i, points(&[1.0, 2.0]));
    }),
    (codes::QUERY_NOT_A_NUMBER, Warning, "metric errors", |i| {
        says(i, points(&[f64::NAN]));
    }),
    (codes::LIMIT_BROKEN, Error, "metric errors", |i| {
        i.spec = Ok(metric(&json!({"max": 0.5})));
        says(i, points(&[0.6]));
    }),
    (codes::LIMIT_BROKEN, Error, "metric errors", |i| {
        i.spec = Ok(metric(&json!({"min": 0.5})));
        says(i, points(&[0.4]));
    }),
    (codes::LIMIT_BROKEN, Error, "metric errors", |i| {
        i.spec = Ok(metric(&json!({"deviation": null, "deviationPercent": 20})));
        says(i, points(&[0.0]));
    }),
    (codes::UNIT, Warning, "metric errors", |i| {
        i.spec = Ok(metric(&json!({"deviation": 5})));
    }),
    (codes::UNIT, Warning, "metric errors", |i| {
        i.spec = Ok(metric(&json!({"deviation": null, "max": 2})));
    }),
    (codes::UNIT, Hint, "metric errors", |i| {
        i.spec = Ok(metric(
            &json!({"deviation": 5, "query": "sum(rate(errors_total[1m]))"}),
        ));
    }),
    (codes::UNIT, Warning, "metric errors", |i| {
        hour(i, &[250.0, 260.0]);
    }),
    (codes::UNIT, Warning, "metric errors", |i| {
        i.spec = Ok(metric(&json!({"deviation": null, "max": 0.5})));
        hour(i, &[3.0, 4.0]);
    }),
    (codes::NOISE, Warning, "metric errors", |i| {
        hour(i, &[0.01, 0.05, 0.09]);
    }),
    // Rare jumps that a median does not see.
    (codes::NOISE, Warning, "metric errors", |i| {
        hour(i, &[0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.9]);
    }),
    (codes::TRAFFIC_NONE, Warning, "service shop", |i| {
        i.traffic.as_mut().unwrap().requests_per_second = 0.0;
    }),
    (codes::TRAFFIC_LITTLE, Warning, "service shop", |i| {
        i.traffic.as_mut().unwrap().requests_per_second = 0.1;
    }),
    (codes::OBJECT_INVALID, Error, "BirdWatch shop, kind", |i| {
        i.document = document(&json!({
            "apiVersion": "otomato.link/v1alpha1", "kind": "birdwatch", "metadata": {"name": "shop"},
        }));
    }),
    (
        codes::FIELD_UNKNOWN,
        Error,
        "BirdWatch shop, spec.maxWieght",
        |i| {
            i.document = document(&json!({
                "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch", "metadata": {"name": "shop"},
                "spec": {"maxWieght": 20},
            }));
        },
    ),
    (codes::BIRDWATCH_TWICE, Error, "BirdWatch shop", |i| {
        i.document = vec![twice("shop")];
    }),
    (codes::BOUND_NEXT, Hint, "metric latency", |i| {
        i.spec = Ok(spec(
            &json!({"metrics": [{"preset": "latency", "slowerThan": "400ms"}]}),
        ));
        i.counters = Ok(vec![CountersFacts {
            metric: "latency".to_owned(),
            counted: Ok(at(10.0)),
            bound: Some("500".to_owned()),
        }]);
    }),
    (codes::UNIT, Warning, "metric latency", |i| {
        i.spec = Ok(spec(
            &json!({"metrics": [{"preset": "latency", "slowerThan": 300}]}),
        ));
    }),
    (
        codes::HOST_OTHER,
        Warning,
        "DestinationRule shop, spec.host",
        |i| {
            i.spec = Ok(metric(&json!({"query": "max(share{service=\"$(service)\"})"})));
            i.rule.as_mut().unwrap().as_mut().unwrap().host = Some("web.shop.svc.cluster.local".to_owned());
        },
    ),
    (codes::COUNTERS_UNKNOWN, Warning, "metric error-rate", |i| {
        counted(i, Err("no series counts the requests of production".to_owned()));
    }),
    // Whether or not anybody asks production.
    (
        codes::COMPARES_NOTHING,
        Warning,
        "BirdWatch shop, spec.steps",
        |i| {
            i.spec = Ok(spec(
                &json!({"metrics": null, "steps": [{"weight": 100, "hold": "1m"}]}),
            ));
            i.counters = Err("no Prometheus".to_owned());
        },
    ),
    (
        codes::COMPARES_NOTHING,
        Warning,
        "BirdWatch shop, spec.increment",
        |i| {
            counted(i, Ok(at(100.0)));
            i.spec = Ok(spec(&json!({"metrics": null, "steps": null, "increment": 100})));
        },
    ),
    (codes::POWER_NONE, Warning, "metric error-rate", |i| {
        counted(i, Ok(at(0.01)));
    }),
    (codes::POWER_FAULT, Warning, "metric error-rate", |i| {
        counted(i, Ok(at(1.5)));
    }),
    (codes::POWER_FAULT, Warning, "metric error-rate", |i| {
        counted(
            i,
            Ok(CountedFacts {
                production_bad: 0.04,
                ..at(1000.0)
            }),
        );
    }),
    (codes::POWER, Hint, "metric error-rate", |i| {
        counted(i, Ok(at(100.0)));
    }),
];

/// What stays silent though it is near to what fires.
const SILENT: &[(&str, Change)] = &[
    ("nothing is wrong", |_| {}),
    ("the canary's weight in a rollout", |i| {
        i.under_way = true;
        service(i).routes[0].canary = 5;
    }),
    ("a query divided by all requests", |i| {
        let query = "sum(rate(e_total{v=\"$(version)\"}[1m])) / sum(rate(r_total{v=\"$(version)\"}[1m]))";
        i.spec = Ok(metric(&json!({"query": query})));
    }),
    ("a range of the hold", |i| {
        i.spec = Ok(metric(
            &json!({"query": "max_over_time(share{version=\"$(version)\"}[2m])"}),
        ));
    }),
    ("settle as long as the range", |i| {
        i.spec = Ok(spec(&json!({"settle": "60s"})));
    }),
    ("another VirtualService for another host", |i| {
        i.virtual_services.found.push(VirtualServiceFacts {
            others: vec![],
            ..other("till")
        });
    }),
    ("a gateway and the mesh", |i| {
        service(i).gateways = vec!["public".into(), "mesh".into()];
    }),
    ("a gateway for a service that nobody in the mesh calls", |i| {
        service(i).gateways = vec!["public".into()];
        i.traffic.as_mut().unwrap().from_mesh = Ok(0.0);
    }),
    ("retries that are turned off", |i| {
        service(i).routes[0].retries = Some(retries(0, "5xx"));
    }),
    ("a version label asked for that is production's", |i| {
        i.spec = Ok(spec(&json!({"canaryVersion": "v1"})));
    }),
    ("as many pods as the share takes", |i| {
        i.deployments.found[1] = deployment("v2", 2);
    }),
    ("a proxy in the template", |i| {
        i.pods.found.clear();
        i.namespace_labels = Ok(labels(&[]));
        i.deployments.found.iter_mut().for_each(|d| d.has_proxy = true);
    }),
    ("pods that ask for a proxy by themselves", |i| {
        i.pods.found.clear();
        i.namespace_labels = Ok(labels(&[]));
        for deployment in &mut i.deployments.found {
            deployment
                .pod_labels
                .insert("sidecar.istio.io/inject".into(), "true".into());
        }
    }),
    ("a mesh without sidecars", |i| {
        i.pods.found.iter_mut().for_each(|pod| pod.has_proxy = false);
        i.namespace_labels = Ok(labels(&[
            ("istio.io/dataplane-mode", "ambient"),
            ("istio.io/use-waypoint", "waypoint"),
        ]));
    }),
    ("a port by appProtocol", |i| {
        port(i).name = "web".into();
        port(i).app_protocol = Some("kubernetes.io/h2c".into());
    }),
    ("a tcp port beside an http port", |i| {
        let ports = &mut i.service.as_mut().unwrap().as_mut().unwrap().ports;
        ports.push(Port {
            name: "tcp-admin".into(),
            number: 9000,
            ..Port::default()
        });
        ports.push(Port {
            number: 53,
            is_udp: true,
            ..Port::default()
        });
        ports.push(Port {
            name: "grpc-web-x".into(),
            number: 81,
            ..Port::default()
        });
    }),
    ("ports where our routes are tcp", |i| {
        service(i).routes[0].is_http = false;
        port(i).name = "db".into();
    }),
    ("another subset of the same host", |i| {
        i.peers.found = vec![peer(
            &json!({"destinationRule": "alike", "subsets": {"canary": "next"}}),
        )];
    }),
    ("the same subsets of another host", |i| {
        i.peers.found = vec![Peer {
            host: None,
            ..peer(&json!({"destinationRule": "alike"}))
        }];
    }),
    ("Git and people as managers", |i| {
        service(i).meta.managers = vec!["argocd-controller".into(), "birdwatch".into()];
        service(i).meta.owners = vec!["argoproj.io/v1alpha1 Application \"shop\"".into()];
    }),
    ("an empty answer of a version with traffic", |i| {
        says(
            i,
            Outcome::Empty {
                unknown_names: Ok(vec![]),
            },
        );
    }),
    ("a canary below what it must reach with traffic", |i| {
        i.spec = Ok(metric(&json!({"min": 0.5})));
        says(i, points(&[0.4]));
        i.metrics.as_mut().unwrap()[0].answer.side = Side::Canary;
    }),
    ("a percentage of zero with a least difference", |i| {
        i.spec = Ok(metric(
            &json!({"deviation": null, "deviationPercent": 500, "minAbsolute": 1}),
        ));
        says(i, points(&[0.0]));
    }),
    ("counts, which are whole", |i| {
        i.spec = Ok(metric(&json!({"deviation": 5})));
        hour(i, &[0.0, 1.0, 0.0, 0.0]);
    }),
    ("milliseconds with a limit in milliseconds", |i| {
        i.spec = Ok(metric(&json!({"deviation": 50})));
        hour(i, &[250.0, 255.0]);
    }),
    ("falling readings of a metric that must not rise", |i| {
        hour(i, &[0.100, 0.101, 0.102, 0.101, 0.100, 0.101, 0.0]);
    }),
    ("noise that two bad checks of three forgive", |i| {
        i.spec = Ok(metric(&json!({"failures": {"count": 2, "of": 3}})));
        hour(i, &[0.100, 0.115, 0.130]);
    }),
    ("a step that gives enough", |i| {
        i.traffic.as_mut().unwrap().requests_per_second = 2.5;
    }),
];

const fn at(requests_per_second: f64) -> CountedFacts {
    CountedFacts {
        requests_per_second,
        production_bad: 0.001,
        dispersion: 1.0,
        confirmations: 0,
    }
}

/// The shortest manifest, whose production was counted.
fn counted(inventory: &mut Inventory, counted: Seen<CountedFacts>) {
    inventory.spec = Ok(spec(&json!({"metrics": null})));
    inventory.counters = Ok(vec![CountersFacts {
        metric: "error-rate".to_owned(),
        counted,
        bound: None,
    }]);
}

fn problem(of_subset: bool) -> RuleProblem {
    RuleProblem {
        of_subset,
        text: "DestinationRule \"shop\" has no …".into(),
    }
}

fn routeless(inventory: &mut Inventory, kind: RouteProblemKind) {
    let service = service(inventory);
    service.routes.clear();
    service.problems = vec![RouteProblem {
        kind,
        text: "VirtualService \"shop\" …".into(),
    }];
}

fn retries(attempts: i64, on: &str) -> Retries {
    Retries {
        attempts,
        on: on.into(),
    }
}

fn image(inventory: &mut Inventory, image: &str) {
    inventory.deployments.found[1].images[0].1 = image.into();
}

#[test]
fn each_finding_fires_on_what_is_wrong() {
    let mut wrong = Vec::new();
    for (i, (code, severity, object, change)) in FIRE.iter().enumerate() {
        let report = after(*change);
        let found: Vec<_> = report.findings.iter().filter(|f| f.code == *code).collect();
        let texts = found.iter().flat_map(|f| [&f.what, &f.why, &f.remedy]);
        let readable = texts
            .into_iter()
            .all(|text| text.len() > 3 && !text.contains("  "));
        let as_said = |f: &Finding| f.severity == *severity && f.object.contains(object);
        if found.len() != 1 || !readable || !as_said(found[0]) {
            wrong.push(format!("case {i}, {code}: {report:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_fires_somewhere_and_none_twice_in_the_list() {
    let fired: BTreeSet<_> = FIRE.iter().map(|(code, ..)| *code).collect();
    let all: BTreeSet<_> = codes::ALL.iter().map(|code| code.word).collect();
    assert_eq!(fired, all);
    assert_eq!(all.len(), codes::ALL.len());
}

#[test]
fn what_is_nearly_wrong_stays_silent() {
    let noisy = SILENT.iter().filter_map(|(what, change)| {
        let report = after(*change);
        let is_silent = report == Report::default() && !report.is_grave();
        (!is_silent).then(|| format!("{what}: {report:#?}"))
    });
    let noisy: Vec<_> = noisy.collect();
    assert!(noisy.is_empty(), "{}", noisy.join("\n"));
}

#[test]
fn what_was_not_looked_at_is_said_and_is_no_finding() {
    let inventory = Inventory::new(name("shop"), Ok(spec(&json!({}))), "not in the files");
    let report = report(&inventory);
    assert_eq!(report.findings, []);
    let whats: Vec<_> = report
        .not_looked_at
        .iter()
        .map(|unseen| unseen.what.as_str())
        .collect();
    let expected = [
        "DestinationRule shop",
        "VirtualService shop",
        "other VirtualServices for the host",
        "Deployments with app=shop",
        "the Service of the host",
        "other BirdWatches",
        "what the operator is allowed",
        "metric queries",
        "traffic",
    ];
    assert_eq!(whats, expected);
    assert!(
        report
            .not_looked_at
            .iter()
            .all(|unseen| unseen.why == "not in the files")
    );
}

#[test]
fn of_a_list_that_is_not_whole_nothing_is_missing() {
    let mut inventory = fine();
    inventory.deployments = Listed {
        found: vec![deployment("v9", 1)],
        whole: Err("not in the files".into()),
    };
    inventory.pods = Listed::unseen("not in the files");
    let report = report(&inventory);
    assert_eq!(report.findings, []);
    let whats: Vec<_> = report
        .not_looked_at
        .iter()
        .map(|unseen| unseen.what.as_str())
        .collect();
    assert_eq!(
        whats,
        [
            "the Deployment of production's version v1",
            "the Deployment of the canary's version v2"
        ]
    );
}

#[test]
fn the_gravest_come_first() {
    let report = after(|i| {
        image(i, "shop");
        i.rights = Ok(vec![right(false)]);
        service(i).routes[0].retries = Some(retries(1, ""));
    });
    let severities: Vec<_> = report.findings.iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Error, Warning, Hint]);
    assert_eq!(Severity::ALL.map(|severity| report.count(severity)), [1, 1, 1]);
    assert!(report.is_grave() && !after(|i| counted(i, Ok(at(100.0)))).is_grave());
}

#[test]
fn few_readings_say_nothing_of_noise() {
    let report = after(|i| i.metrics.as_mut().unwrap()[0].hour = Ok(vec![0.0, 1.0, f64::NAN]));
    assert_eq!(report.findings, []);
    assert_eq!(report.not_looked_at[0].why, "only 2 readings in the last hour");
}

#[test]
fn without_a_version_asked_for_the_youngest_beside_production_is_the_canary() {
    let mut inventory = fine();
    let plan = crate::core::plan::resolve(&spec(&json!({"canaryVersion": null}))).unwrap();
    inventory.deployments.found.push(deployment("v3", 1));
    for (i, deployment) in inventory.deployments.found.iter_mut().enumerate() {
        let second = i64::try_from(i).unwrap() * if i == 2 { -1 } else { 1 };
        deployment.seen.created = Some(jiff::Timestamp::from_second(second).unwrap());
    }
    assert_eq!(
        versions(&inventory, &plan),
        (Some("v1".into()), Some("v2".into()))
    );
    inventory.rule = Err("unseen".into());
    assert_eq!(versions(&inventory, &plan), (None, None));
}

#[test]
fn a_baselines_questions_are_those_of_a_rollout() {
    let plan = crate::core::plan::resolve(&spec(&json!({}))).unwrap();
    let settings = crate::core::observation::Settings {
        scrape_interval: Span::secs(15),
        propagation_delay: Span::ZERO,
        query_timeout: Span::ZERO,
        notify: None,
    };
    let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let request = check(&name("shop"), &plan, ("v1", "v2"), &settings, now);
    let asked = request.questions;
    assert_eq!((asked.len(), asked[0].side), (1, Side::Production));
    assert_eq!(request.samples, []);
    assert!(asked[0].query.contains("version=\"v1\""), "{asked:?}");
    let TrafficQueries { rate, from_mesh } = traffic_queries(&name("shop"), &plan, "v1");
    for query in [&rate, &from_mesh] {
        assert!(
            query.contains("destination_service_namespace=\"shop\""),
            "{query}"
        );
        crate::core::query::analyse(query).unwrap();
    }
    assert!(rate.contains("destination_version=\"v1\"") && !from_mesh.contains("destination_version"));
}

#[test]
fn the_traffic_of_another_version_label_is_counted_as_the_metric_says() {
    let spec = metric(&json!({"traffic": "sum(rate(hits_total{release=\"$(version)\"}[2m]))"}));
    let spec = BirdWatchSpec {
        workload: Some(crate::api::spec::Workload {
            selector: None,
            version_label: Some("release".into()),
        }),
        ..spec
    };
    let plan = crate::core::plan::resolve(&spec).unwrap();
    let asked = traffic_queries(&name("shop"), &plan, "v1");
    assert_eq!(asked.rate, "sum(rate(hits_total{release=\"v1\"}[2m]))");
}

/// A step of five seconds is kept a minute where Prometheus scrapes every 15 s, and a third of that is counted.
#[test]
fn power_and_few_requests_are_told_of_steps_as_they_are_kept() {
    let told = |scrape: u32| {
        let mut inventory = fine();
        counted(&mut inventory, Ok(at(100.0)));
        inventory.traffic.as_mut().unwrap().requests_per_second = 100.0;
        inventory.spec = Ok(spec(
            &json!({"metrics": null, "steps": [{"weight": 1, "hold": "5s"}]}),
        ));
        inventory.scrape_interval = Span::secs(scrape);
        let findings = findings(&inventory);
        let of = |code| findings.iter().find(|f| f.code == code).cloned();
        (of(codes::TRAFFIC_LITTLE), of(codes::POWER).unwrap())
    };
    let (little, power) = told(15);
    let little = little.unwrap();
    assert!(
        little
            .what
            .ends_with("(1 % for 5s, 20 s of which are counted) gives the canary about 20 requests"),
        "{little:?}"
    );
    assert_eq!(
        little.remedy,
        "Hold the first step 1m10s or longer, or begin with a higher weight."
    );
    // The step at 100 % is kept as long.
    assert!(power.what.ends_with(" bad is noticed within 2m"), "{power:?}");
    let (_, slower) = told(60);
    assert!(
        slower.what.ends_with(" bad is noticed within 6m30s"),
        "{slower:?}"
    );
}

#[test]
fn power_is_said_in_requests_and_shares_and_grows_with_the_hold() {
    let plan = crate::core::plan::resolve(&spec(&json!({"metrics": null}))).unwrap();
    let (_, test) = crate::core::sequential::policy::metrics(&plan).next().unwrap();
    let policy = crate::core::sequential::policy::of(&plan, test);
    assert_eq!((policy.steps.len(), policy.every.as_secs()), (3, 10));
    let traffic = |requests_per_second| Traffic {
        requests_per_second,
        production_bad: 0.001,
    };
    let finding = power::power(&policy, traffic(10.0), "errors", "service shop").unwrap();
    assert!(
        finding
            .what
            .starts_with("at 10 requests/s, 0.1 % of them bad in production, nothing below"),
        "{finding:?}"
    );
    assert!(finding.remedy.starts_with("It sees more with "), "{finding:?}");
    assert_eq!(power::power(&policy, traffic(f64::NAN), "errors", "x"), None);
    let blind = power::power(&policy, traffic(1e-6), "errors", "x").unwrap();
    assert_eq!((blind.code, blind.severity), (codes::POWER_NONE, Warning));
}

mod counters;

/// Requests that Istio does not count are no lack of traffic, whoever counts them.
#[test]
fn traffic_is_what_the_metrics_count() {
    let own = json!([{
        "name": "orders", "total": "orders_total{version=\"$(version)\"}", "bad": "bad_total{version=\"$(version)\"}",
    }]);
    let told = |metrics: &serde_json::Value, facts: Seen<CountedFacts>| {
        let mut inventory = fine();
        inventory.spec = Ok(spec(&json!({"metrics": metrics})));
        inventory.traffic.as_mut().unwrap().requests_per_second = 0.0;
        inventory.counters = Ok(vec![CountersFacts {
            metric: "orders".to_owned(),
            counted: facts,
            bound: None,
        }]);
        let found = findings(&inventory).into_iter();
        found
            .filter(|f| f.code == codes::TRAFFIC_NONE)
            .map(|f| f.remedy)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&own, Ok(at(10.0))), [""; 0]);
    assert_eq!(told(&own, Err("nothing".to_owned())), [""; 0]);
    let remedy = |metrics: &serde_json::Value| told(metrics, Err("nothing".to_owned())).join("");
    assert!(remedy(&json!([{"preset": "error-rate"}])).contains("with total and bad"));
    let query = json!([{"name": "q", "query": "max(share{version=\"$(version)\"})", "max": 1}]);
    assert!(remedy(&query).contains("a query in traffic"));
}

#[test]
fn the_bound_that_counts_is_named_and_one_that_is_too_long_too() {
    let told = |bound: Option<&str>, facts: Seen<CountedFacts>| {
        let mut inventory = fine();
        inventory.spec = Ok(spec(
            &json!({"metrics": [{"preset": "latency", "slowerThan": "400ms"}]}),
        ));
        inventory.counters = Ok(vec![CountersFacts {
            metric: "latency".to_owned(),
            counted: facts,
            bound: bound.map(str::to_owned),
        }]);
        findings(&inventory)
    };
    let of = |findings: Vec<Finding>, code| findings.into_iter().find(|f| f.code == code);
    let next = of(told(Some("500"), Ok(at(10.0))), codes::BOUND_NEXT).unwrap();
    assert!(
        next.what.contains("400 ms") && next.what.contains("500 ms"),
        "{next:?}"
    );
    assert_eq!(of(told(Some("400"), Ok(at(10.0))), codes::BOUND_NEXT), None);
    let none = Err("no bound of the histogram is 400 ms or more".to_owned());
    let unknown = of(told(None, none), codes::COUNTERS_UNKNOWN).unwrap();
    assert!(unknown.remedy.contains("shorter slowerThan"), "{unknown:?}");
}

#[test]
fn only_what_asks_for_the_service_minds_another_host() {
    let told = |host: &str, metrics: &serde_json::Value| {
        let mut inventory = fine();
        inventory.spec = Ok(spec(&json!({"metrics": metrics})));
        inventory.rule.as_mut().unwrap().as_mut().unwrap().host = Some(host.to_owned());
        findings(&inventory).iter().any(|f| f.code == codes::HOST_OTHER)
    };
    let preset = json!([{"preset": "error-rate"}]);
    assert!(told("web.shop.svc.cluster.local", &preset));
    assert!(told("shop.other.svc.cluster.local", &preset));
    assert!(told("api.example.com", &preset));
    assert!(!told("shop.shop.svc.cluster.local", &preset));
    let literal = json!([{"name": "q", "query": "max(share{service=\"web\"})", "max": 1}]);
    assert!(!told("web.shop.svc.cluster.local", &literal));
}

#[test]
fn where_nothing_sees_more_it_is_said_whether_that_is_enough() {
    let close = power::enough(0.016, 0.015);
    assert!(close.starts_with("Nothing: up to 1.5 % is tolerated"), "{close}");
    let far = power::enough(0.034, 0.015);
    assert!(
        far.starts_with("No change in reach") && far.contains("1.5 %"),
        "{far}"
    );
}
