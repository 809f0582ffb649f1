//! Routes of ours in a `VirtualService`, and those beside them: plain data. Reads, never writes.

use std::fmt;

pub use super::find::find;
use super::problem::Problem;

/// What two of ours without weights hold, where nothing else shares the route.
const UNWEIGHTED_TOTAL: i64 = 100;

/// The two destinations to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Full name of the host, as [`super::destination_rule::read`] gives it.
    pub host: String,
    /// Name of the production subset.
    pub production: String,
    /// Name of the canary subset.
    pub canary: String,
}

/// The three lists of routes that a `VirtualService` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `spec.http`
    Http,
    /// `spec.tcp`
    Tcp,
    /// `spec.tls`
    Tls,
}

impl Kind {
    /// In the order in which routes are reported.
    pub const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Tls];

    /// Name of the list below `spec`.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field())
    }
}

/// One of our two destinations, as it stands in a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Position in the route's list of destinations.
    pub index: usize,
    /// The host as written, short or full: what a guard compares.
    pub host: String,
    /// Name of the subset.
    pub subset: String,
    /// The weight as written; `None` where there is none.
    pub weight: Option<i64>,
}

/// A route of ours: both destinations stand in it, once each, with weights that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the `VirtualService`.
    pub virtual_service: String,
    /// Which list it is in.
    pub kind: Kind,
    /// Position in that list.
    pub index: usize,
    /// Its name; only http routes have one.
    pub name: Option<String>,
    /// The production destination.
    pub production: Side,
    /// The canary destination.
    pub canary: Side,
    /// Other destinations stand beside ours.
    pub shared: bool,
    /// What our two hold together; we keep it. 0 where all the traffic goes to others, or where Istio would refuse
    /// the route.
    pub total: i64,
}

impl Route {
    /// The canary's part of [`Route::total`].
    #[must_use]
    pub fn canary_weight(&self) -> i64 {
        parts(self.production.weight, self.canary.weight, self.shared).1
    }

    /// For people: the route's name, or its place as in `tcp[0]`.
    #[must_use]
    pub fn label(&self) -> String {
        label(self.kind, self.index, self.name.as_deref())
    }
}

/// What production and canary hold, in that order. Istio counts an absent weight as 0; two absent ones that stand
/// alone are taken for all the traffic on production.
pub(super) fn parts(production: Option<i64>, canary: Option<i64>, shared: bool) -> (i64, i64) {
    match (production, canary) {
        (None, None) if !shared => (UNWEIGHTED_TOTAL, 0),
        _ => (production.unwrap_or(0), canary.unwrap_or(0)),
    }
}

fn label(kind: Kind, index: usize, name: Option<&str>) -> String {
    name.map_or_else(|| format!("{kind}[{index}]"), str::to_owned)
}

/// How a route that is not ours concerns our host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Only the production subset.
    ProductionOnly,
    /// Only the canary subset: a header or cookie route, say.
    CanaryOnly,
    /// The host without a subset: the traffic reaches pods of both versions, whatever the weights.
    NoSubset,
    /// A copy of its requests goes to the canary subset.
    CanaryMirror,
}

/// A route to our host that is not ours. Named in status and left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRoute {
    /// Name of the `VirtualService`.
    pub virtual_service: String,
    /// Which list it is in.
    pub kind: Kind,
    /// Position in that list.
    pub index: usize,
    /// Its name; only http routes have one.
    pub name: Option<String>,
    /// Which of our destinations it has.
    pub holds: Holds,
}

impl OtherRoute {
    /// For people: the route's name, or its place as in `http[2]`.
    #[must_use]
    pub fn label(&self) -> String {
        label(self.kind, self.index, self.name.as_deref())
    }
}

/// All that one `VirtualService` says of our host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Routes of ours, by kind and position.
    pub ours: Vec<Route>,
    /// Routes to our host that are left alone, by kind and position.
    pub others: Vec<OtherRoute>,
    /// What could not be read or is ambiguous.
    pub problems: Vec<Problem>,
}
