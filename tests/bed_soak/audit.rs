//! What the operator wrote, by the API server's audit log, and what of it is none of its business.

use birdwatch_bed::audit::Entry;
use birdwatch_bed::{Bed, operator};

use crate::ledger::Ledger;
use crate::release::NAMESPACE;

/// Reads the log of the whole bed, which is never cut.
pub(crate) fn read(bed: &Bed, ledger: &Ledger, services: &[String]) {
    let entries = bed.audit().entries().expect("the audit log can be read");
    let user = format!("system:serviceaccount:{0}:{0}", operator::NAME);
    let asked: Vec<_> = entries
        .iter()
        .filter(|entry| entry.user == user && is_write(entry))
        .collect();
    // What it may not do and what is refused to it counts as well.
    let trespasses = asked.iter().filter(|entry| !is_ours(entry, services));
    let told = trespasses.map(|entry| {
        let Entry {
            time,
            verb,
            uri,
            code,
            ..
        } = entry;
        format!("{time} the operator did {verb} {uri}: {code}")
    });
    let written = asked.iter().filter(|entry| (200..300).contains(&entry.code));
    ledger.wrote(written.count(), told.collect());
}

fn is_write(entry: &Entry) -> bool {
    let reads = ["get", "list", "watch"].contains(&entry.verb.as_str());
    !reads && entry.stage == "ResponseComplete"
}

/// Finalizer and status of these services' `BirdWatches`, weights and labels of their objects, Events beside them, and the
/// lease.
fn is_ours(entry: &Entry, services: &[String]) -> bool {
    let Entry {
        verb,
        group,
        resource,
        subresource,
        namespace,
        name,
        ..
    } = entry;
    let of_service = namespace == NAMESPACE && services.contains(name);
    let what = format!("{verb} {resource}.{group}/{subresource}");
    match what.as_str() {
        "patch birdwatches.otomato.link/" | "update birdwatches.otomato.link/status" => of_service,
        "patch virtualservices.networking.istio.io/" | "patch destinationrules.networking.istio.io/" => {
            of_service
        }
        "create events.events.k8s.io/" | "patch events.events.k8s.io/" => namespace == NAMESPACE,
        "update leases.coordination.k8s.io/" => namespace == operator::NAME && name == operator::NAME,
        // One that is refused before it is read has no name.
        "create leases.coordination.k8s.io/" => {
            namespace == operator::NAME && (name.is_empty() || name == operator::NAME)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// Whether one may `verb` a path as `group/resource/subresource namespace/name`.
    fn may(verb: &str, what: &str, of: &str) -> bool {
        let mut what = what.split('/').map(str::to_owned);
        let mut part = || what.next().unwrap_or_default();
        let (group, resource, subresource) = (part(), part(), part());
        let (namespace, name) = of.split_once('/').unwrap();
        let entry = Entry {
            time: Timestamp::UNIX_EPOCH,
            stage: "ResponseComplete".into(),
            user: String::new(),
            verb: verb.into(),
            group,
            resource,
            subresource,
            namespace: namespace.into(),
            name: name.into(),
            uri: String::new(),
            code: 200,
            user_agent: String::new(),
        };
        assert!(is_write(&entry));
        is_ours(&entry, &["shop-0".to_owned(), "shop-1".to_owned()])
    }

    #[test]
    fn what_the_operator_is_there_for_is_ours() {
        for (verb, what, of) in [
            ("patch", "otomato.link/birdwatches", "soak/shop-0"),
            ("update", "otomato.link/birdwatches/status", "soak/shop-1"),
            ("patch", "networking.istio.io/virtualservices", "soak/shop-0"),
            ("patch", "networking.istio.io/destinationrules", "soak/shop-1"),
            ("create", "events.k8s.io/events", "soak/shop-0.1"),
            ("patch", "events.k8s.io/events", "soak/shop-0.1"),
            ("create", "coordination.k8s.io/leases", "birdwatch/birdwatch"),
            ("create", "coordination.k8s.io/leases", "birdwatch/"),
            ("update", "coordination.k8s.io/leases", "birdwatch/birdwatch"),
        ] {
            assert!(may(verb, what, of), "{verb} {what} {of}");
        }
    }

    #[test]
    fn everything_else_is_a_trespass() {
        for (verb, what, of) in [
            // Another verb, another part of the object.
            ("update", "otomato.link/birdwatches", "soak/shop-0"),
            ("create", "otomato.link/birdwatches", "soak/shop-0"),
            ("delete", "otomato.link/birdwatches", "soak/shop-0"),
            ("patch", "otomato.link/birdwatches/status", "soak/shop-0"),
            ("update", "networking.istio.io/virtualservices", "soak/shop-0"),
            ("delete", "networking.istio.io/destinationrules", "soak/shop-0"),
            (
                "patch",
                "networking.istio.io/virtualservices/status",
                "soak/shop-0",
            ),
            ("delete", "coordination.k8s.io/leases", "birdwatch/birdwatch"),
            // Another object, another namespace.
            ("patch", "otomato.link/birdwatches", "soak/other"),
            ("update", "otomato.link/birdwatches/status", "other/shop-0"),
            ("patch", "networking.istio.io/virtualservices", "soak/other"),
            ("patch", "networking.istio.io/virtualservices", "other/shop-0"),
            ("patch", "networking.istio.io/destinationrules", "other/shop-0"),
            ("create", "events.k8s.io/events", "default/shop-0.1"),
            ("update", "coordination.k8s.io/leases", "birdwatch/other"),
            ("create", "coordination.k8s.io/leases", "birdwatch/other"),
            ("update", "coordination.k8s.io/leases", "soak/birdwatch"),
            // Another kind.
            ("patch", "networking.istio.io/gateways", "soak/shop-0"),
            ("patch", "other.io/virtualservices", "soak/shop-0"),
            ("create", "/events", "soak/shop-0.1"),
            ("patch", "apps/deployments", "soak/shop-0"),
            ("delete", "/pods", "soak/shop-0"),
        ] {
            assert!(!may(verb, what, of), "{verb} {what} {of}");
        }
    }
}
