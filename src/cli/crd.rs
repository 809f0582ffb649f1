//! `birdwatch crd`: the definition of the resource as YAML. Makes text, prints nothing.

use crate::api::crd;

/// The definition of the resource, as `kubectl apply` takes it. Always the same text.
#[must_use]
#[expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a definition is plain strings, numbers, lists and maps, all of which have a YAML form"
)]
pub fn yaml() -> String {
    serde_saphyr::to_string(&crd::definition()).expect("a definition has a YAML form")
}
