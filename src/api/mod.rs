//! The BirdWatch resource: its types, schema and validation. Data only: it decides nothing and does no I/O.
#![expect(
    clippy::doc_markdown,
    reason = "doc comments here are the descriptions people read in kubectl explain, where backticks are noise"
)]

pub mod conditions;
pub mod crd;
pub mod duration;
pub mod evidence;
pub mod history;
pub mod metric;
pub mod plan;
pub mod rollout;
mod rules;
pub mod spec;
pub mod status;
pub mod strict;

pub use duration::Span;
pub use spec::{BirdWatch, BirdWatchSpec};
pub use status::BirdWatchStatus;

/// The annotation people steer a rollout with: `<verb>/<token>`; each value acts once.
pub const VERB_ANNOTATION: &str = "otomato.link/verb";

/// The finalizer a `BirdWatch` carries while its rollout holds traffic, and only then.
pub const FINALIZER: &str = "otomato.link/traffic";
