//! Names of our routes that stay the same across reads, and the way back from them to the weights kept in status.
//! Pure: text in, text out.

use std::fmt;

use crate::api::status::KeptRoute;
use crate::istio::restore::KeptWeights;
use crate::istio::routes::{Kind, Route};

/// `aleph/http[primary]`, or `aleph/tcp[#1]` for the second of ours without a name (or of a name used before).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key<'a> {
    virtual_service: &'a str,
    kind: Kind,
    name: Option<&'a str>,
    /// Place among ours that are alike; shown where it tells them apart.
    place: usize,
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            virtual_service,
            kind,
            name,
            place,
        } = self;
        write!(f, "{virtual_service}/{kind}[{}", name.unwrap_or_default())?;
        if name.is_none() || *place > 0 {
            write!(f, "#{place}")?;
        }
        f.write_str("]")
    }
}

impl<'a> Key<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (virtual_service, rest) = text.split_once('/')?;
        let (kind, inside) = rest.strip_suffix(']')?.split_once('[')?;
        let kind = Kind::ALL.into_iter().find(|known| known.field() == kind)?;
        let placed = inside
            .rsplit_once('#')
            .and_then(|(name, place)| Some((name, place.parse().ok()?)));
        let (name, place) = placed.unwrap_or((inside, 0));
        Some(Self {
            virtual_service,
            kind,
            name: Some(name).filter(|name| !name.is_empty()),
            place,
        })
    }
}

/// A name for each of `routes`, in their order; all of them are ours and of one `VirtualService`.
#[must_use]
pub fn keys(routes: &[Route]) -> Vec<String> {
    let alike = |a: &Route, b: &Route| a.kind == b.kind && a.name == b.name;
    let key = |(index, route): (usize, &Route)| {
        let place = routes
            .iter()
            .take(index)
            .filter(|before| alike(before, route))
            .count();
        let Route {
            virtual_service,
            kind,
            name,
            ..
        } = route;
        Key {
            virtual_service,
            kind: *kind,
            name: name.as_deref(),
            place,
        }
        .to_string()
    };
    routes.iter().enumerate().map(key).collect()
}

/// The weights kept in status, as the restoring patch wants them. A name that cannot be read is passed over.
#[must_use]
pub fn kept(routes: &[KeptRoute]) -> Vec<KeptWeights> {
    let mut all: Vec<(usize, KeptWeights)> = routes
        .iter()
        .filter_map(|kept| {
            let Key {
                virtual_service,
                kind,
                name,
                place,
            } = Key::parse(&kept.route)?;
            let weights = KeptWeights {
                virtual_service: virtual_service.to_owned(),
                kind,
                name: name.map(str::to_owned),
                production: kept.production,
                canary: kept.canary,
            };
            Some((place, weights))
        })
        .collect();
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, weights)| weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::routes::Side;

    fn route(kind: Kind, index: usize, name: Option<&str>) -> Route {
        let side = |subset: &str| Side {
            index: 0,
            host: "aleph".into(),
            subset: subset.into(),
            weight: None,
        };
        Route {
            virtual_service: "aleph".into(),
            kind,
            index,
            name: name.map(str::to_owned),
            production: side("production"),
            canary: side("canary"),
            shared: false,
            total: 100,
        }
    }

    #[test]
    fn a_route_of_others_that_comes_or_goes_does_not_rename_ours() {
        let routes = [
            route(Kind::Http, 3, Some("primary")),
            route(Kind::Http, 5, None),
            route(Kind::Http, 9, None),
            route(Kind::Tcp, 2, None),
            route(Kind::Http, 11, Some("primary")),
        ];
        let expected = [
            "aleph/http[primary]",
            "aleph/http[#0]",
            "aleph/http[#1]",
            "aleph/tcp[#0]",
            "aleph/http[primary#1]",
        ];
        assert_eq!(keys(&routes), expected);
    }

    #[test]
    fn what_was_kept_under_a_name_is_found_again_by_it() {
        let routes = [
            route(Kind::Http, 0, None),
            route(Kind::Http, 1, Some("a#b]")),
            route(Kind::Http, 2, None),
            route(Kind::Tls, 0, None),
        ];
        let kept_routes: Vec<KeptRoute> = keys(&routes)
            .into_iter()
            .zip(0..)
            .map(|(route, weight)| KeptRoute {
                route,
                production: Some(weight),
                canary: None,
                joined: false,
            })
            .collect();
        let mut shuffled = kept_routes.clone();
        shuffled.reverse();
        let found = kept(&shuffled);
        let nameless: Vec<_> = found
            .iter()
            .filter(|k| k.name.is_none() && k.kind == Kind::Http)
            .collect();
        assert_eq!(
            nameless.iter().map(|k| k.production).collect::<Vec<_>>(),
            [Some(0), Some(2)]
        );
        assert!(
            found
                .iter()
                .any(|k| k.name.as_deref() == Some("a#b]") && k.production == Some(1))
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_name_written_by_hand_that_says_nothing_is_passed_over() {
        let route = |route: &str| KeptRoute {
            route: route.into(),
            production: None,
            canary: None,
            joined: false,
        };
        assert!(
            kept(&[
                route(""),
                route("aleph"),
                route("aleph/udp[x]"),
                route("aleph/http[x")
            ])
            .is_empty()
        );
    }
}
