//! What a request to the API server is, in the server's own words: verb, resource, subresource. No I/O.

use axum::body::Bytes;
use serde_json::Value;

/// What a call does to what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many.
    List,
    /// Follows changes for as long as both sides like.
    Watch,
    /// Makes one.
    Create,
    /// Replaces one.
    Update,
    /// Changes a part of one.
    Patch,
    /// Removes one, or many.
    Delete,
    /// Asks what the server serves.
    Discover,
}

impl Verb {
    /// The verb as RBAC and the audit log write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Discover => "discover",
        }
    }

    /// Whether it may change something.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }
}

/// One call, as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// The calls of a proxy are numbered from 1 as they come.
    pub number: usize,
    /// What it does.
    pub verb: Verb,
    /// The resource, as in `birdwatches` or `birdwatches/status`; the group and version that discovery asks about.
    pub resource: String,
    /// Name of the object, where one is named.
    pub name: String,
    /// What was sent.
    pub body: Bytes,
}

impl Call {
    /// Reads a request; `target` is path and query.
    #[must_use]
    pub fn new(number: usize, method: &str, target: &str, body: Bytes) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next() {
            Some("apis") => format!("{}/{}", parts.next().unwrap_or(""), parts.next().unwrap_or("")),
            _ => parts.next().unwrap_or("").to_owned(),
        };
        let mut rest: Vec<&str> = parts.collect();
        if rest.len() > 2 && rest[0] == "namespaces" {
            rest.drain(..2);
        }
        let watches = query
            .split('&')
            .any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match (method, rest.len()) {
            (_, 0) => Verb::Discover,
            ("GET", _) if watches => Verb::Watch,
            ("GET", 1) => Verb::List,
            ("GET", _) => Verb::Get,
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            _ => Verb::Delete,
        };
        let resource = match rest[..] {
            [] => group,
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
            [resource, ..] => resource.to_owned(),
        };
        Self {
            number,
            verb,
            resource,
            name: rest.get(1).copied().unwrap_or_default().to_owned(),
            body,
        }
    }

    /// Verb and resource, as in `update birdwatches/status`.
    #[must_use]
    pub fn kind(&self) -> String {
        format!("{} {}", self.verb.as_str(), self.resource)
    }

    /// What was sent, as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Whether a list may be answered with what was: a server that keeps a cache does so where it is asked for any version, or
/// for one that is not older than a given one. Asked for none it gives the newest.
pub(super) fn allows_old(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .any(|pair| pair == "resourceVersion=0" || pair == "resourceVersionMatch=NotOlderThan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_that_asks_for_any_version_may_get_an_old_one() {
        assert!(allows_old("/api/v1/pods?limit=5&resourceVersion=0"));
        assert!(allows_old(
            "/api/v1/pods?resourceVersion=7&resourceVersionMatch=NotOlderThan"
        ));
        assert!(!allows_old("/api/v1/pods?limit=500") && !allows_old("/api/v1/pods"));
    }

    #[test]
    fn a_request_is_named_as_rbac_names_it() {
        let named = |method: &str, target: &str| {
            let call = Call::new(1, method, target, Bytes::new());
            format!("{} {}", call.kind(), call.name)
        };
        let of = "/apis/otomato.link/v1alpha1/namespaces/shop/birdwatches";
        assert_eq!(named("GET", &format!("{of}?limit=500")), "list birdwatches ");
        assert_eq!(
            named("GET", &format!("{of}?a=b&watch=true")),
            "watch birdwatches "
        );
        assert_eq!(named("GET", &format!("{of}/aleph")), "get birdwatches aleph");
        assert_eq!(
            named("PUT", &format!("{of}/aleph/status?fieldManager=x")),
            "update birdwatches/status aleph"
        );
        assert_eq!(named("POST", "/api/v1/namespaces/shop/events?"), "create events ");
        assert_eq!(
            named("GET", "/apis/networking.istio.io/v1"),
            "discover networking.istio.io/v1 "
        );
        assert_eq!(named("PATCH", "/api/v1/nodes/one"), "patch nodes one");
    }
}
