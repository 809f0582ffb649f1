//! What the operator must be allowed in a namespace that it watches: as the chart grants it.

/// Verbs on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// API group.
    pub group: &'static str,
    /// Plural name, with a subresource after `/`.
    pub resource: &'static str,
    /// What must be allowed.
    pub verbs: &'static [&'static str],
}

const fn needed(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Needed {
    Needed {
        group,
        resource,
        verbs,
    }
}

/// All of it, in the order of the chart's rules.
pub const NEEDED: [Needed; 6] = [
    needed("otomato.link", "birdwatches", &["get", "list", "watch", "patch"]),
    needed("otomato.link", "birdwatches/status", &["update"]),
    needed("apps", "deployments", &["get", "list", "watch"]),
    needed(
        "networking.istio.io",
        "virtualservices",
        &["get", "list", "watch", "patch"],
    ),
    needed(
        "networking.istio.io",
        "destinationrules",
        &["get", "list", "watch", "patch"],
    ),
    needed("events.k8s.io", "events", &["create", "patch"]),
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn they_are_those_of_the_chart() {
        let chart = include_str!("../../../charts/birdwatch/templates/rbac/_release.tpl");
        let rules: Vec<_> = chart.lines().filter(|line| !line.starts_with("{{")).collect();
        let rules: Vec<Value> = serde_saphyr::from_str(&rules.join("\n")).unwrap();
        let texts = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().to_owned())
                .collect()
        };
        let mut granted = Vec::new();
        for rule in &rules {
            for resource in texts(&rule["resources"]) {
                granted.push((
                    texts(&rule["apiGroups"])[0].clone(),
                    resource,
                    texts(&rule["verbs"]),
                ));
            }
        }
        let listed = NEEDED.iter().map(|n| {
            let verbs: Vec<String> = n.verbs.iter().map(|verb| (*verb).to_owned()).collect();
            (n.group.to_owned(), n.resource.to_owned(), verbs)
        });
        assert_eq!(listed.collect::<Vec<_>>(), granted);
    }
}
