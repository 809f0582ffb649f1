//! Which `BirdWatch` an object concerns, and which objects stand together. Pure bookkeeping: the watches feed it,
//! and it asks nobody.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use serde_json::Value;

use crate::api::plan::Target;
use crate::core::observation::ObjectName;
use crate::istio::host::resolve;
use crate::istio::routes::Kind;
use crate::istio::{DestinationRule, VirtualService};

use super::conflict::Age;
use super::objects::Deployment;

/// A relation between two kinds of things, readable from both ends. Both are sorted lists: most have one entry, and there are
/// very many of them.
#[derive(Debug)]
struct Relation<A, B> {
    forth: HashMap<A, Vec<B>>,
    back: HashMap<B, Vec<A>>,
}

impl<A, B> Default for Relation<A, B> {
    fn default() -> Self {
        Self {
            forth: HashMap::new(),
            back: HashMap::new(),
        }
    }
}

impl<A: Clone + Ord + Hash, B: Clone + Ord + Hash> Relation<A, B> {
    /// Relates `a` to exactly `bs`; returns what it was related to before.
    fn set(&mut self, a: &A, bs: BTreeSet<B>) -> BTreeSet<B> {
        let before: BTreeSet<B> = self.forth.remove(a).into_iter().flatten().collect();
        for gone in before.difference(&bs) {
            let Some(others) = self.back.get_mut(gone) else {
                continue;
            };
            if let Ok(at) = others.binary_search(a) {
                others.remove(at);
            }
            if others.is_empty() {
                self.back.remove(gone);
            }
        }
        for new in bs.difference(&before) {
            // Room for one, and no more than there is need of.
            let others = self
                .back
                .entry(new.clone())
                .or_insert_with(|| Vec::with_capacity(1));
            if let Err(at) = others.binary_search(a) {
                others.insert(at, a.clone());
            }
        }
        if !bs.is_empty() {
            self.forth.insert(a.clone(), bs.into_iter().collect());
        }
        before
    }

    fn of(&self, a: &A) -> impl Iterator<Item = &B> {
        self.forth.get(a).into_iter().flatten()
    }

    fn having(&self, b: &B) -> impl Iterator<Item = &A> {
        self.back.get(b).into_iter().flatten()
    }
}

/// A label in a namespace: namespace, key and value.
type Label = (String, String, String);

/// Full name of a host, as rules and routes in a namespace name it.
type Host = ObjectName;

/// What others have to know of a `BirdWatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    age: Age,
    /// Of all it is about.
    fingerprint: u64,
}

/// The index of one scope. Names carry their namespace.
#[derive(Debug)]
pub struct Index {
    cluster_domain: String,
    /// Every `BirdWatch` that is there.
    known: HashMap<ObjectName, Known>,
    /// `BirdWatch` to the one label of its selector that is looked up.
    selectors: Relation<ObjectName, Label>,
    /// `BirdWatch` to `VirtualService`s.
    services: Relation<ObjectName, ObjectName>,
    /// `BirdWatch` to `DestinationRule`.
    rules: Relation<ObjectName, ObjectName>,
    /// Deployment to the labels of its pods.
    pods: Relation<ObjectName, Label>,
    /// `VirtualService` to the hosts it sends to.
    routes: Relation<ObjectName, Host>,
    /// `DestinationRule` to its host.
    hosts: Relation<ObjectName, Host>,
}

impl Index {
    /// An empty index; short hosts are resolved in `cluster_domain`.
    #[must_use]
    pub fn new(cluster_domain: &str) -> Self {
        Self {
            cluster_domain: cluster_domain.to_owned(),
            known: HashMap::new(),
            selectors: Relation::default(),
            services: Relation::default(),
            rules: Relation::default(),
            pods: Relation::default(),
            routes: Relation::default(),
            hosts: Relation::default(),
        }
    }

    /// Takes note of what a `BirdWatch` is about, its running rollout's target and its spec's, and of its age; none once it is
    /// gone. Returns, where any of that has changed, the younger ones that stand on the same rules or hosts, before or now: they
    /// give way to it.
    pub fn bird_watch(
        &mut self,
        name: &ObjectName,
        age: Option<Age>,
        targets: &[&Target],
    ) -> BTreeSet<ObjectName> {
        let at = |other: &str| ObjectName {
            namespace: name.namespace.clone(),
            name: other.to_owned(),
        };
        let first = |target: &&Target| {
            let (key, value) = target.selector.iter().next()?;
            Some((name.namespace.clone(), key.clone(), value.clone()))
        };
        self.selectors
            .set(name, targets.iter().filter_map(first).collect());
        let services = targets
            .iter()
            .flat_map(|target| &target.virtual_services)
            .map(|vs| at(vs));
        self.services.set(name, services.collect());
        let mut touched: BTreeSet<ObjectName> = targets
            .iter()
            .map(|target| at(&target.destination_rule))
            .collect();
        touched.extend(self.rules.set(name, touched.clone()));
        let mut peers: BTreeSet<ObjectName> = touched.iter().flat_map(|rule| self.sharing(rule)).collect();
        peers.remove(name);
        let mut fingerprint = DefaultHasher::new();
        targets.hash(&mut fingerprint);
        let now = age.map(|age| Known {
            age,
            fingerprint: fingerprint.finish(),
        });
        let before = match &now {
            Some(now) => self.known.insert(name.clone(), now.clone()),
            None => self.known.remove(name),
        };
        let ages = [&before, &now].into_iter().flatten().map(|known| &known.age);
        match ages.min() {
            Some(since) if before != now => {
                peers.retain(|peer| self.known.get(peer).is_some_and(|peer| peer.age > *since));
                peers
            }
            _ => BTreeSet::new(),
        }
    }

    /// Takes note of a Deployment, or that it is gone (`None`); returns the `BirdWatch`es it concerns or concerned.
    pub fn deployment(&mut self, name: &ObjectName, deployment: Option<&Deployment>) -> BTreeSet<ObjectName> {
        let label = |(key, value): (&String, &String)| (name.namespace.clone(), key.clone(), value.clone());
        let now: BTreeSet<Label> = deployment
            .map(|found| found.pod_labels().iter().map(label).collect())
            .unwrap_or_default();
        let before = self.pods.set(name, now.clone());
        before
            .union(&now)
            .flat_map(|label| self.selectors.having(label))
            .cloned()
            .collect()
    }

    /// Takes note of a `VirtualService`, or that it is gone; returns the `BirdWatch`es it concerns.
    pub fn virtual_service(
        &mut self,
        name: &ObjectName,
        found: Option<&VirtualService>,
    ) -> BTreeSet<ObjectName> {
        let hosts = found
            .map(|found| self.destinations(name, found))
            .unwrap_or_default();
        let before = self.routes.set(name, hosts.clone());
        let rules = before.union(&hosts).flat_map(|host| self.hosts.having(host));
        rules
            .flat_map(|rule| self.rules.having(rule))
            .chain(self.services.having(name))
            .cloned()
            .collect()
    }

    /// Takes note of a `DestinationRule`, or that it is gone; returns the `BirdWatch`es it concerns.
    pub fn destination_rule(
        &mut self,
        name: &ObjectName,
        found: Option<&DestinationRule>,
    ) -> BTreeSet<ObjectName> {
        let mut concerned = self.sharing(name);
        let host = found.and_then(|found| found.spec["host"].as_str());
        let host = host.map(|host| self.host(name, host));
        self.hosts.set(name, host.into_iter().collect());
        concerned.extend(self.sharing(name));
        concerned
    }

    /// Names of the Deployments, in the namespace of `bird_watch`, that may match `target`'s selector.
    #[must_use]
    pub fn deployments(&self, bird_watch: &ObjectName, target: &Target) -> Vec<ObjectName> {
        let Some((key, value)) = target.selector.iter().next() else {
            return Vec::new();
        };
        let label = (bird_watch.namespace.clone(), key.clone(), value.clone());
        self.pods.having(&label).cloned().collect()
    }

    /// The `BirdWatch`es whose rule is `rule`, or another one for the same host; nearly always one.
    #[must_use]
    pub fn sharing(&self, rule: &ObjectName) -> BTreeSet<ObjectName> {
        let same_host = self.hosts.of(rule).flat_map(|host| self.hosts.having(host));
        same_host
            .chain([rule])
            .flat_map(|rule| self.rules.having(rule))
            .cloned()
            .collect()
    }

    /// Those of them that are older, the oldest first.
    #[must_use]
    pub fn sharing_and_older(&self, rule: &ObjectName, than: &Age) -> Vec<ObjectName> {
        let aged = |name| Some((&self.known.get(&name)?.age, name));
        let mut older: Vec<_> = self.sharing(rule).into_iter().filter_map(aged).collect();
        older.retain(|(age, _)| *age < than);
        older.sort_unstable();
        older.into_iter().map(|(_, name)| name).collect()
    }

    /// The other rules in the namespace for the host of `rule`.
    #[must_use]
    pub fn rules_beside(&self, rule: &ObjectName) -> Vec<ObjectName> {
        let all = self.hosts.of(rule).flat_map(|host| self.hosts.having(host));
        all.filter(|other| *other != rule).cloned().collect()
    }

    /// The `VirtualService`s in the namespace that send to the host of `rule`.
    #[must_use]
    pub fn routing_to_host_of(&self, rule: &ObjectName) -> BTreeSet<ObjectName> {
        self.hosts
            .of(rule)
            .flat_map(|host| self.routes.having(host))
            .cloned()
            .collect()
    }

    /// All that send to something, whatever list of routes they stand in.
    fn destinations(&self, name: &ObjectName, found: &VirtualService) -> BTreeSet<Host> {
        let routes = Kind::ALL
            .iter()
            .filter_map(|kind| found.spec[kind.field()].as_array())
            .flatten();
        let entries = routes.filter_map(|route| route["route"].as_array()).flatten();
        entries
            .filter_map(|entry: &Value| entry["destination"]["host"].as_str())
            .map(|host| self.host(name, host))
            .collect()
    }

    fn host(&self, object: &ObjectName, host: &str) -> Host {
        ObjectName {
            namespace: object.namespace.clone(),
            name: resolve(host, &object.namespace, &self.cluster_domain),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn names<const N: usize>(all: [&str; N]) -> BTreeSet<ObjectName> {
        all.map(name).into()
    }

    fn target(service: &str) -> Target {
        Target {
            service: service.into(),
            selector: BTreeMap::from([("app".into(), service.into())]),
            version_label: "version".into(),
            production_subset: "production".into(),
            canary_subset: "canary".into(),
            virtual_services: vec![service.into()],
            destination_rule: service.into(),
        }
    }

    fn index() -> Index {
        Index::new("cluster.local")
    }

    fn deployment(app: &str) -> Deployment {
        serde_json::from_value(
            json!({"spec": {"template": {"metadata": {"labels": {"app": app, "version": "v1"}}}}}),
        )
        .unwrap()
    }

    fn rule(host: &str) -> DestinationRule {
        serde_json::from_value(json!({"spec": {"host": host}})).unwrap()
    }

    fn service(host: &str) -> VirtualService {
        serde_json::from_value(
            json!({"spec": {"tcp": [{"route": [{"destination": {"host": host}}]}], "http": "odd"}}),
        )
        .unwrap()
    }

    #[test]
    fn a_deployment_wakes_those_it_matches_and_those_it_matched() {
        let mut index = index();
        index.bird_watch(&name("aleph"), Some(age("aleph")), &[&target("aleph")]);
        index.bird_watch(&name("beth"), Some(age("beth")), &[&target("beth")]);
        assert_eq!(
            index.deployment(&name("one"), Some(&deployment("aleph"))),
            names(["aleph"])
        );
        assert_eq!(
            index.deployment(&name("one"), Some(&deployment("beth"))),
            names(["aleph", "beth"])
        );
        assert_eq!(index.deployments(&name("beth"), &target("beth")), [name("one")]);
        assert_eq!(index.deployment(&name("one"), None), names(["beth"]));
        assert!(index.deployments(&name("beth"), &target("beth")).is_empty());
    }

    #[test]
    fn objects_of_another_namespace_wake_nobody() {
        let mut index = index();
        index.bird_watch(&name("aleph"), Some(age("aleph")), &[&target("aleph")]);
        let elsewhere = ObjectName {
            namespace: "other".into(),
            name: "aleph".into(),
        };
        assert!(
            index
                .deployment(&elsewhere, Some(&deployment("aleph")))
                .is_empty()
        );
        assert!(
            index
                .virtual_service(&elsewhere, Some(&service("aleph")))
                .is_empty()
        );
        assert!(
            index
                .destination_rule(&elsewhere, Some(&rule("aleph")))
                .is_empty()
        );
    }

    #[test]
    fn a_rollout_under_way_keeps_its_objects_though_the_spec_names_others() {
        let mut index = index();
        index.bird_watch(
            &name("watch"),
            Some(age("watch")),
            &[&target("new"), &target("old")],
        );
        assert_eq!(index.virtual_service(&name("old"), None), names(["watch"]));
        assert_eq!(index.virtual_service(&name("new"), None), names(["watch"]));
        index.bird_watch(&name("watch"), Some(age("watch")), &[&target("new")]);
        assert!(index.virtual_service(&name("old"), None).is_empty());
    }

    /// The age of who has this name, which tells the order of the alphabet.
    fn age(of: &str) -> Age {
        let object = json!({"metadata": {"name": of, "uid": of}});
        Age::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn those_who_share_a_rule_or_a_host_hear_of_each_other() {
        let mut index = index();
        index.destination_rule(&name("aleph"), Some(&rule("aleph")));
        index.destination_rule(&name("other"), Some(&rule("aleph.shop.svc.cluster.local")));
        let mut other = target("aleph");
        other.destination_rule = "other".into();
        let heard = |index: &mut Index, of: &str, about: &Target| {
            index.bird_watch(&name(of), Some(age(of)), &[about])
        };
        assert!(heard(&mut index, "b", &target("aleph")).is_empty());
        assert_eq!(heard(&mut index, "a", &other), names(["b"]));
        assert!(heard(&mut index, "c", &other).is_empty(), "it gives way to them");
        assert!(heard(&mut index, "a", &other).is_empty(), "nothing has changed");
        assert_eq!(index.sharing(&name("aleph")), names(["a", "b", "c"]));
        let older = |index: &Index, than| index.sharing_and_older(&name("aleph"), &age(than));
        assert_eq!(older(&index, "c"), [name("a"), name("b")]);
        assert!(older(&index, "a").is_empty());
        let mut subsets = other.clone();
        subsets.canary_subset = "third".into();
        assert_eq!(heard(&mut index, "a", &subsets), names(["b", "c"]));
        assert_eq!(
            index.bird_watch(&name("b"), Some(age("d")), &[&target("aleph")]),
            names(["c"]),
            "made anew"
        );
        assert_eq!(index.bird_watch(&name("a"), None, &[]), names(["b", "c"]));
        assert_eq!(index.sharing(&name("aleph")), names(["b", "c"]));
    }

    #[test]
    fn a_rule_whose_host_changes_wakes_both_companies() {
        let mut index = index();
        index.destination_rule(&name("aleph"), Some(&rule("aleph")));
        index.destination_rule(&name("beth"), Some(&rule("beth")));
        index.bird_watch(&name("a"), Some(age("a")), &[&target("aleph")]);
        index.bird_watch(&name("b"), Some(age("b")), &[&target("beth")]);
        assert_eq!(
            index.destination_rule(&name("beth"), Some(&rule("aleph"))),
            names(["a", "b"])
        );
    }

    #[test]
    fn a_virtual_service_nobody_named_wakes_those_whose_host_it_sends_to() {
        let mut index = index();
        index.destination_rule(&name("aleph"), Some(&rule("aleph")));
        index.bird_watch(&name("a"), Some(age("a")), &[&target("aleph")]);
        assert_eq!(
            index.virtual_service(&name("gateway"), Some(&service("aleph"))),
            names(["a"])
        );
        assert_eq!(index.routing_to_host_of(&name("aleph")), names(["gateway"]));
        assert_eq!(
            index.virtual_service(&name("gateway"), Some(&service("beth"))),
            names(["a"])
        );
        assert!(index.routing_to_host_of(&name("aleph")).is_empty());
    }

    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        let mut index = index();
        index.bird_watch(&name("a"), Some(age("a")), &[&target("aleph")]);
        index.deployment(&name("d"), Some(&deployment("aleph")));
        index.virtual_service(&name("v"), Some(&service("aleph")));
        index.destination_rule(&name("r"), Some(&rule("aleph")));
        index.bird_watch(&name("a"), None, &[]);
        index.deployment(&name("d"), None);
        index.virtual_service(&name("v"), None);
        index.destination_rule(&name("r"), None);
        assert!(index.selectors.forth.is_empty() && index.selectors.back.is_empty());
        assert!(index.pods.forth.is_empty() && index.pods.back.is_empty());
        assert!(index.routes.forth.is_empty() && index.routes.back.is_empty());
        assert!(index.hosts.forth.is_empty() && index.hosts.back.is_empty());
        assert!(index.services.back.is_empty() && index.rules.back.is_empty());
        assert!(index.known.is_empty());
    }
}
