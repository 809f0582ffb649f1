//! Host names as Istio reads them in `VirtualService` and `DestinationRule`.

use std::net::IpAddr;

/// The full name of `host` as written in an object of `namespace`.
///
/// As in Istio, a name without dots is short and belongs to the namespace of the object that says it, whichever
/// namespace the service is in; `*`, addresses and every name with a dot are full already. So `aleph.shop` is a
/// full name to Istio, and not the service `aleph` in `shop`.
#[must_use]
pub fn resolve(host: &str, namespace: &str, cluster_domain: &str) -> String {
    let full = host.is_empty() || host == "*" || host.contains('.') || host.parse::<IpAddr>().is_ok();
    let mut name = host.to_owned();
    if full {
        return name;
    }
    if !namespace.is_empty() {
        name.push('.');
        name.push_str(namespace);
    }
    if !cluster_domain.is_empty() {
        name.push_str(".svc.");
        name.push_str(cluster_domain);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_dots_are_short() {
        for (written, full) in [
            ("aleph", "aleph.shop.svc.cluster.local"),
            ("aleph.shop", "aleph.shop"),
            ("aleph.shop.svc", "aleph.shop.svc"),
            ("aleph.other.svc.cluster.local", "aleph.other.svc.cluster.local"),
            ("*", "*"),
            ("*.shop.svc.cluster.local", "*.shop.svc.cluster.local"),
            ("api.example.com", "api.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("", ""),
        ] {
            assert_eq!(resolve(written, "shop", "cluster.local"), full, "{written}");
        }
    }

    #[test]
    fn the_cluster_domain_is_the_clusters_own() {
        assert_eq!(
            resolve("aleph", "shop", "corp.example"),
            "aleph.shop.svc.corp.example"
        );
        assert_eq!(resolve("aleph", "shop", ""), "aleph.shop");
    }
}
