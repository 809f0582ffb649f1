//! x
/// x
#[must_use]
pub fn markdown(_verbs: &str) -> String {
    String::new()
}
