//! What a look gathers of a `BirdWatch`'s objects, from stores alone. It judges nothing.

use std::sync::Arc;

use crate::api::plan::Target;
use crate::core::observation::{DeploymentSeen, ObjectName, RouteSeen, RuleSeen};
use crate::istio::destination_rule::{self, Besides, SubsetLabel};
use crate::istio::routes::{self, Holds, Kind, OtherRoute, Pair};
use crate::istio::{DestinationRule, VirtualService, host};

use super::look::{Objects, Service, Sight};
use super::route_key;

/// What is seen of our objects.
pub(super) struct World {
    pub(super) deployments: Vec<DeploymentSeen>,
    pub(super) rule: Result<RuleSeen, String>,
    pub(super) production_despite: Option<String>,
    pub(super) routes: Vec<RouteSeen>,
    pub(super) route_problems: Vec<String>,
    pub(super) absent: Vec<String>,
    pub(super) other_routes: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) rule_outdone: Option<String>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            deployments: Vec::new(),
            rule: Err("the spec names no objects".to_owned()),
            production_despite: None,
            routes: Vec::new(),
            route_problems: Vec::new(),
            absent: Vec::new(),
            other_routes: Vec::new(),
            warnings: Vec::new(),
            rule_outdone: None,
        }
    }
}

impl World {
    /// `kept`: the host by which a rollout found its routes, as it was written; while it runs they are found by no other.
    pub(super) fn gather(
        &mut self,
        sight: &impl Sight,
        name: &ObjectName,
        target: Target,
        kept: Option<&str>,
    ) -> Objects {
        let at = |other: &str| ObjectName {
            namespace: name.namespace.clone(),
            name: other.to_owned(),
        };
        let rule_name = at(&target.destination_rule);
        let rule = sight.destination_rule(&rule_name);
        let full = |host: &str| host::resolve(host, &name.namespace, sight.cluster_domain());
        let (host, besides) = self.rule(sight, &rule_name, rule.as_deref(), &target);
        self.deployments = deployments(sight, name, &target, &besides);
        let kept = kept.map(full);
        if let (Some(kept), Some(host)) = (&kept, &host)
            && kept != host
        {
            self.production_despite = None;
            self.rule = Err(format!(
                "host of DestinationRule {} is {host} now, and was {kept} when this rollout began: set it back",
                target.destination_rule
            ));
        }
        let pair = Pair {
            // Without a rule to say so it is the service of that name: lowering goes on.
            host: kept.or(host).unwrap_or_else(|| full(&target.service)),
            production: target.production_subset.clone(),
            canary: target.canary_subset.clone(),
        };
        let mut services = Vec::new();
        for service in &target.virtual_services {
            if let Some(object) = sight.virtual_service(&at(service)) {
                services.push(self.service(sight, object, &pair));
            } else {
                self.route_problems.push(missing("VirtualService", &at(service)));
                self.absent.push(service.clone());
            }
        }
        self.bypasses(sight, &rule_name, &target, &pair);
        Objects {
            target: Some(target),
            pair: Some(pair),
            services,
            rule,
        }
    }

    /// Reads the rule; returns its host, and what its subsets ask for besides the version.
    fn rule(
        &mut self,
        sight: &impl Sight,
        name: &ObjectName,
        rule: Option<&DestinationRule>,
        target: &Target,
    ) -> (Option<String>, Besides) {
        let Some(rule) = rule else {
            self.rule = Err(missing("DestinationRule", name));
            return (None, Besides::default());
        };
        let Target {
            production_subset,
            canary_subset,
            version_label,
            ..
        } = target;
        let domain = sight.cluster_domain();
        let read = destination_rule::read(rule, production_subset, canary_subset, version_label, domain);
        let missing = |label: &SubsetLabel| *label == SubsetLabel::Missing;
        let usable = read.host.is_some() && !missing(&read.production) && !missing(&read.canary);
        let version = |label: &SubsetLabel| label.version().map(str::to_owned);
        self.production_despite = version(&read.production).filter(|_| !usable && read.host.is_some());
        self.rule = if usable {
            Ok(RuleSeen {
                production: version(&read.production),
                canary: version(&read.canary),
                host: read.written_host.clone(),
            })
        } else {
            Err(joined(&read.problems))
        };
        self.rule_outdone = outdone(sight, name, rule, target);
        (read.host, read.besides)
    }

    fn service(&mut self, sight: &impl Sight, object: Arc<VirtualService>, pair: &Pair) -> Service {
        let found = routes::find(&object, pair, sight.cluster_domain());
        for (route, key) in found.ours.iter().zip(route_key::keys(&found.ours)) {
            if route.kind != Kind::Http {
                self.warnings.push(format!(
                    "{key}: connections that are open when the weights change stay with their version until they close"
                ));
            }
            self.routes.push(RouteSeen {
                key,
                production: route.production.weight,
                canary: route.canary.weight,
                total: route.total,
            });
        }
        self.route_problems
            .extend(found.problems.iter().map(ToString::to_string));
        for other in &found.others {
            let text = other_route(other, pair);
            match other.holds {
                Holds::NoSubset => self.warnings.push(text),
                Holds::ProductionOnly | Holds::CanaryOnly | Holds::CanaryMirror => {
                    self.other_routes.push(text);
                }
            }
        }
        Service {
            object,
            routes: found.ours,
        }
    }

    /// Other `VirtualService`s that send to our host.
    fn bypasses(&mut self, sight: &impl Sight, rule: &ObjectName, target: &Target, pair: &Pair) {
        let others = sight.index().routing_to_host_of(rule);
        for other in others
            .iter()
            .filter(|other| !target.virtual_services.contains(&other.name))
        {
            self.warnings.push(format!(
                "VirtualService \"{}\" sends to {} too and does not move: name it in spec.virtualServices",
                other.name, pair.host
            ));
        }
    }
}

/// An older rule for the same host that has one of our subsets too: of subsets with one name Istio takes the oldest rule's, whatever
/// we write into ours.
fn outdone(sight: &impl Sight, name: &ObjectName, rule: &DestinationRule, target: &Target) -> Option<String> {
    let others = sight.index().rules_beside(name);
    let age = |rule: &DestinationRule| {
        let created = rule.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, rule.metadata.name.clone())
    };
    let ours = [&target.production_subset, &target.canary_subset];
    others.iter().find_map(|other| {
        let found = sight.destination_rule(other).filter(|other| age(other) < age(rule))?;
        let subset = ours.into_iter().find(|subset| destination_rule::has_subset(&found, subset))?;
        Some(format!(
            "DestinationRule {} is older, for the same host, and has subset {subset} too: Istio takes that one; remove it there, or \
             name that rule in spec.destinationRule",
            other.name
        ))
    })
}

fn deployments(
    sight: &impl Sight,
    name: &ObjectName,
    target: &Target,
    besides: &Besides,
) -> Vec<DeploymentSeen> {
    let names = sight.index().deployments(name, target);
    let found = names.iter().filter_map(|name| sight.deployment(name));
    let matching = found.filter(|deployment| {
        target
            .selector
            .iter()
            .all(|(key, value)| deployment.pod_labels().get(key) == Some(value))
    });
    let mut seen: Vec<_> = matching
        .map(|deployment| DeploymentSeen {
            lacks: besides.lacked_by(deployment.pod_labels()),
            ..deployment.seen(&target.version_label)
        })
        .collect();
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    seen
}

fn missing(kind: &str, name: &ObjectName) -> String {
    format!(
        "there is no {kind} \"{}\" in namespace {}",
        name.name, name.namespace
    )
}

fn joined(problems: &[impl ToString]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn other_route(route: &OtherRoute, pair: &Pair) -> String {
    let place = format!(
        "VirtualService \"{}\": route {}",
        route.virtual_service,
        route.label()
    );
    match route.holds {
        Holds::ProductionOnly => format!("{place} has only subset {}", pair.production),
        Holds::CanaryOnly => format!("{place} has only subset {}", pair.canary),
        Holds::CanaryMirror => format!(
            "{place} copies requests to subset {}, whatever its weight",
            pair.canary
        ),
        Holds::NoSubset => format!(
            "{place} sends to {} without a subset, to pods of every version",
            pair.host
        ),
    }
}
