//! From objects as JSON to the plain facts that a preflight judges. Total: any JSON gives facts.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::core::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::api::Span;
use crate::api::plan::{Plan, Target};
use crate::controller::conflict::Age;
use crate::controller::objects::{Deployment, RawBirdWatch};
use crate::core::observation::ObjectName;
use crate::core::plan as core_plan;
use crate::core::preflight::Inventory;
use crate::core::preflight::inventory::{
    DeploymentFacts, Listed, Peer, PodFacts, Port, RuleFacts, Seen, ServiceFacts, VirtualServiceFacts,
};
use crate::istio::destination_rule::{self, Besides};
use crate::istio::routes::Pair;
use crate::istio::{DestinationRule, VirtualService, host, preflight};

use super::objects::{Kind, Objects};
use super::settings::CheckSettings;

/// The name of Istio's proxy among a pod's containers.
const PROXY: &str = "istio-proxy";
/// The one that sets up its network.
const INIT: &str = "istio-init";

/// The plan of a `BirdWatch`, where its spec makes one.
pub(super) fn plan(object: &RawBirdWatch) -> Option<Plan> {
    core_plan::resolve(&object.read_spec().ok()?).ok()
}

/// All that the objects say of a `BirdWatch`. Rights and Prometheus are not asked here.
pub(super) fn inventory(object: &RawBirdWatch, objects: &Objects, settings: &CheckSettings) -> Inventory {
    let name = object.name();
    let mut inventory = Inventory::new(name.clone(), object.read_spec(), "the spec cannot be used");
    let span = |time: Duration| Span::millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    inventory.scrape_interval = span(settings.scrape_interval);
    inventory.propagation_delay = span(settings.propagation_delay);
    inventory.under_way = is_under_way(object);
    let Some(Plan { target, .. }) = plan(object) else {
        return inventory;
    };
    let around = Around {
        objects,
        namespace: &name.namespace,
        domain: &settings.domain,
    };
    inventory.rule = around.rule(&target);
    let known = inventory
        .rule
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .and_then(|rule| rule.host.clone());
    // Without a rule to say so it is the service of that name.
    let host = known.unwrap_or_else(|| host::resolve(&target.service, &name.namespace, &settings.domain));
    inventory.virtual_services = around.virtual_services(&target, &host);
    inventory.deployments = around.deployments(&target);
    inventory.pods = around.pods(&target);
    inventory.service = around.service(&host);
    inventory.namespace_labels = around.namespace_labels();
    inventory.peers = around.peers(object);
    inventory
}

fn is_under_way(object: &RawBirdWatch) -> bool {
    let status = object.read_status();
    status.is_ok_and(|status| status.rollout.is_some_and(|rollout| rollout.ended.is_none()))
}

/// The objects around a `BirdWatch`.
struct Around<'a> {
    objects: &'a Objects,
    namespace: &'a str,
    domain: &'a str,
}

impl Around<'_> {
    fn at(&self, name: &str) -> ObjectName {
        ObjectName {
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Objects of a kind in the namespace.
    fn of(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        let here = |object: &&Value| object["metadata"]["namespace"] == self.namespace;
        self.objects.of(kind).iter().filter(here)
    }

    fn listed<T>(&self, kind: Kind, found: impl Iterator<Item = T>) -> Listed<T> {
        Listed {
            found: found.collect(),
            whole: self.objects.whole(kind),
        }
    }

    fn rule(&self, target: &Target) -> Seen<Option<RuleFacts>> {
        let Some(found) = self
            .objects
            .named(Kind::DestinationRule, &self.at(&target.destination_rule))
        else {
            return self.objects.whole(Kind::DestinationRule).map(|()| None);
        };
        let rule = DestinationRule::deserialize(found).map_err(|error| error.to_string())?;
        let read = self.read(&rule, target);
        let mut facts = preflight::destination_rule(&rule, &read);
        facts.beside = self.beside(&rule, &read, target);
        Ok(Some(facts))
    }

    /// Names of other rules for the host that have one of our subsets.
    fn beside(&self, rule: &DestinationRule, read: &destination_rule::Rule, target: &Target) -> Vec<String> {
        let ours = [&target.production_subset, &target.canary_subset];
        let others = self
            .of(Kind::DestinationRule)
            .filter_map(|found| DestinationRule::deserialize(found).ok())
            .filter(|other| other.metadata.name != rule.metadata.name);
        let same = others.filter(|other| {
            let has = ours
                .into_iter()
                .any(|subset| destination_rule::has_subset(other, subset));
            has && read.host.is_some() && self.read(other, target).host == read.host
        });
        same.filter_map(|other| other.metadata.name).collect()
    }

    /// What our subsets ask of pods besides their version.
    fn besides(&self, target: &Target) -> Besides {
        let name = self.at(&target.destination_rule);
        let found = self.objects.named(Kind::DestinationRule, &name);
        let rule = found.and_then(|found| DestinationRule::deserialize(found).ok());
        rule.map(|rule| self.read(&rule, target).besides)
            .unwrap_or_default()
    }

    fn read(&self, rule: &DestinationRule, target: &Target) -> destination_rule::Rule {
        let Target {
            production_subset,
            canary_subset,
            version_label,
            ..
        } = target;
        destination_rule::read(rule, production_subset, canary_subset, version_label, self.domain)
    }

    fn virtual_services(&self, target: &Target, host: &str) -> Listed<VirtualServiceFacts> {
        let pair = Pair {
            host: host.to_owned(),
            production: target.production_subset.clone(),
            canary: target.canary_subset.clone(),
        };
        let all = self.objects.of(Kind::VirtualService).iter();
        let read = all.filter_map(|found| VirtualService::deserialize(found).ok());
        let facts = read.map(|object| preflight::virtual_service(&object, &pair, self.domain));
        let concerns = |facts: &VirtualServiceFacts| {
            let named =
                facts.name.namespace == self.namespace && target.virtual_services.contains(&facts.name.name);
            named || facts.sends()
        };
        self.listed(Kind::VirtualService, facts.filter(concerns))
    }

    fn deployments(&self, target: &Target) -> Listed<DeploymentFacts> {
        let besides = self.besides(target);
        let of = |object| {
            let mut facts = deployment(object, target);
            facts.seen.lacks = besides.lacked_by(&facts.pod_labels);
            facts
        };
        let found = self.of(Kind::Deployment).map(of);
        let matches = |facts: &DeploymentFacts| selects(&target.selector, &facts.pod_labels);
        self.listed(Kind::Deployment, found.filter(matches))
    }

    fn pods(&self, target: &Target) -> Listed<PodFacts> {
        let running = |pod: &&Value| matches!(pod["status"]["phase"].as_str(), None | Some("Running"));
        let found = self.of(Kind::Pod).filter(running).filter_map(|object| {
            let labels = texts(&object["metadata"]["labels"]);
            selects(&target.selector, &labels).then(|| PodFacts {
                name: text(&object["metadata"]["name"]),
                version: labels.get(&target.version_label).cloned(),
                has_proxy: has_proxy(&object["spec"]),
            })
        });
        self.listed(Kind::Pod, found)
    }

    fn service(&self, host: &str) -> Seen<Option<ServiceFacts>> {
        let ending = format!(".svc.{}", self.domain);
        let Some((name, namespace)) = host.strip_suffix(&ending).and_then(|short| short.split_once('.'))
        else {
            return Err(format!("{host} is no Service of the cluster"));
        };
        let name = ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match self.objects.named(Kind::Service, &name) {
            Some(found) => Ok(Some(service(found))),
            None if namespace != self.namespace => Err(format!("it is in namespace {namespace}")),
            None => self.objects.whole(Kind::Service).map(|()| None),
        }
    }

    fn namespace_labels(&self) -> Seen<BTreeMap<String, String>> {
        let named = |object: &&Value| object["metadata"]["name"] == self.namespace;
        if let Some(found) = self.objects.of(Kind::Namespace).iter().find(named) {
            return Ok(texts(&found["metadata"]["labels"]));
        }
        self.objects.whole(Kind::Namespace)?;
        Err(format!("there is no Namespace {}", self.namespace))
    }

    fn peers(&self, own: &RawBirdWatch) -> Listed<Peer> {
        let others = self
            .of(Kind::BirdWatch)
            .filter_map(|found| RawBirdWatch::deserialize(found).ok());
        let peers = others
            .filter(|other| other.name() != own.name())
            .filter_map(|other| {
                let target = plan(&other)?.target;
                let rule = self
                    .objects
                    .named(Kind::DestinationRule, &self.at(&target.destination_rule));
                let rule = rule.and_then(|found| DestinationRule::deserialize(found).ok());
                let ages = [own, &other].map(|one| one.metadata.creation_timestamp.is_some());
                Some(Peer {
                    name: other.name().name,
                    host: rule.and_then(|rule| self.read(&rule, &target).host),
                    is_older: (ages == [true, true]).then(|| Age::of(&other) < Age::of(own)),
                    target,
                })
            });
        self.listed(Kind::BirdWatch, peers)
    }
}

fn deployment(object: &Value, target: &Target) -> DeploymentFacts {
    let template = &object["spec"]["template"];
    let lists = ["containers", "initContainers"].map(|list| template["spec"][list].as_array());
    let containers = lists.into_iter().flatten().flatten();
    let read = Deployment::deserialize(object).unwrap_or_default();
    let metadata = ObjectMeta::deserialize(&object["metadata"]).unwrap_or_default();
    DeploymentFacts {
        seen: read.seen(&target.version_label),
        has_status: object["status"]["observedGeneration"].is_i64() || object["status"]["replicas"].is_i64(),
        images: containers
            .map(|container| (text(&container["name"]), text(&container["image"])))
            .filter(|(name, image)| name != PROXY && name != INIT && !image.is_empty())
            .collect(),
        has_proxy: has_proxy(&template["spec"]),
        host_network: template["spec"]["hostNetwork"] == true,
        pod_labels: texts(&template["metadata"]["labels"]),
        pod_annotations: texts(&template["metadata"]["annotations"]),
        meta: preflight::meta(&metadata, None),
    }
}

fn service(object: &Value) -> ServiceFacts {
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    ServiceFacts {
        name: text(&object["metadata"]["name"]),
        labels: texts(&object["metadata"]["labels"]),
        ports: ports
            .map(|port| Port {
                name: text(&port["name"]),
                number: port["port"].as_i64().unwrap_or(0),
                app_protocol: port["appProtocol"].as_str().map(str::to_owned),
                is_udp: port["protocol"] == "UDP",
            })
            .collect(),
        selector: texts(&object["spec"]["selector"]),
        is_headless: object["spec"]["clusterIP"] == "None",
    }
}

/// Whether a pod has the proxy, as a container or as a native sidecar.
fn has_proxy(spec: &Value) -> bool {
    let containers = ["containers", "initContainers"].map(|list| spec[list].as_array().into_iter().flatten());
    containers
        .into_iter()
        .flatten()
        .any(|container| container["name"] == PROXY)
}

fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
