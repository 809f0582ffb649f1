//! `birdwatch crd`: the CustomResourceDefinition as YAML. Makes text, prints nothing.

use crate::api::crd;

/// The definition of the BirdWatch resource, as `kubectl apply` takes it. Always the same text.
#[must_use]
pub fn yaml() -> String {
    #[expect(
        clippy::expect_used,
        reason = "a definition without floats, bytes or odd keys always has a YAML form"
    )]
    serde_saphyr::to_string(&crd::definition()).expect("a CustomResourceDefinition has a YAML form")
}
