//! What can be wrong with the user's Istio objects, each naming the object and the field.

use std::fmt;

use serde_json::Value;

/// Which object a [`Problem`] is about. Displayed as `VirtualService "aleph"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// `VirtualService` or `DestinationRule`.
    pub kind: &'static str,
    /// Name of the object; its namespace is the `BirdWatch`'s.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind, self.name)
    }
}

/// Something in an object that keeps us from using it, or a part of it. Displayed as a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field is absent that we cannot do without.
    #[error("{object} has no {field}")]
    MissingField {
        /// The object.
        object: ObjectName,
        /// Path of the field, as in `spec.host`.
        field: String,
    },
    /// A field has a value of the wrong type.
    #[error("{object}: {field} must be {expected}, not {found}")]
    WrongType {
        /// The object.
        object: ObjectName,
        /// Path of the field, as in `spec.http[0].route`.
        field: String,
        /// What it must be, with its article: `a list`.
        expected: &'static str,
        /// What it is, with its article: `a string`.
        found: &'static str,
    },
    /// A weight that Istio would not take. The route is not ours until it is mended.
    #[error("{object}: {field} must be a whole number from 0 to 2147483647, not {found}")]
    BadWeight {
        /// The object.
        object: ObjectName,
        /// Path of the weight, as in `spec.http[0].route[1].weight`.
        field: String,
        /// The value as JSON, cut when long.
        found: String,
    },
    /// The weights of our two destinations add up to more than one of them may ever have. Not ours.
    #[error("{object}: the weights for {host} in {field} add up to {total}, which is more than 2147483647")]
    TotalTooLarge {
        /// The `VirtualService`.
        object: ObjectName,
        /// Path of the route's list, as in `spec.http[0].route`.
        field: String,
        /// Full name of the host.
        host: String,
        /// The sum.
        total: i64,
    },
    /// The rule has no such subset.
    #[error("{object} has no subset \"{subset}\" in spec.subsets")]
    MissingSubset {
        /// The rule.
        object: ObjectName,
        /// Name of the subset looked for.
        subset: String,
    },
    /// The rule names a subset more than once, so that nobody can say which one Istio takes.
    #[error("{object} has more than one subset \"{subset}\" in spec.subsets")]
    RepeatedSubset {
        /// The rule.
        object: ObjectName,
        /// Name of the subset.
        subset: String,
    },
    /// A route sends to the same subset by several destinations, so that its share is ambiguous. Not ours.
    #[error("{object}: {field} has more than one destination for subset \"{subset}\" of {host}")]
    RepeatedDestination {
        /// The `VirtualService`.
        object: ObjectName,
        /// Path of the route's list, as in `spec.http[0].route`.
        field: String,
        /// The subset named more than once.
        subset: String,
        /// Full name of the host.
        host: String,
    },
    /// A route has one of our two destinations, and no route of the object has both.
    #[error("{object}: {field} has no destination for subset \"{subset}\" of {host}")]
    MissingDestination {
        /// The `VirtualService`.
        object: ObjectName,
        /// Path of the route's list, as in `spec.http[0].route`.
        field: String,
        /// The subset without a destination.
        subset: String,
        /// Full name of the host.
        host: String,
    },
    /// No route of the object has either of our destinations.
    #[error("{object} has no route to the subsets \"{production}\" and \"{canary}\" of {host}")]
    NoRoute {
        /// The `VirtualService`.
        object: ObjectName,
        /// Full name of the host.
        host: String,
        /// Name of the production subset.
        production: String,
        /// Name of the canary subset.
        canary: String,
    },
}

impl Problem {
    /// A value of the wrong type at `field`.
    pub(crate) fn wrong_type(
        object: &ObjectName,
        field: &str,
        expected: &'static str,
        found: &Value,
    ) -> Self {
        Self::WrongType {
            object: object.clone(),
            field: field.to_owned(),
            expected,
            found: type_of(found),
        }
    }

    /// A weight out of range or not a whole number at `field`.
    pub(crate) fn bad_weight(object: &ObjectName, field: &str, found: &Value) -> Self {
        Self::BadWeight {
            object: object.clone(),
            field: field.to_owned(),
            found: excerpt(found),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Scalars as JSON, cut to what fits in a message; of lists and objects only the type.
fn excerpt(value: &Value) -> String {
    const LONGEST: usize = 40;
    match value {
        Value::Array(_) | Value::Object(_) => type_of(value).to_owned(),
        scalar => {
            let text = scalar.to_string();
            match text.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let cut = excerpt(&json!("é".repeat(1000)));
        assert_eq!(cut.chars().count(), 41);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn a_message_names_object_and_field() {
        let object = ObjectName {
            kind: "DestinationRule",
            name: "aleph".into(),
        };
        assert_eq!(
            Problem::wrong_type(&object, "spec.subsets", "a list", &json!("v1")).to_string(),
            "DestinationRule \"aleph\": spec.subsets must be a list, not a string"
        );
        assert_eq!(
            Problem::bad_weight(&object, "spec.http[0].route[1].weight", &json!("50%")).to_string(),
            "DestinationRule \"aleph\": spec.http[0].route[1].weight must be a whole number from 0 to 2147483647, not \"50%\""
        );
        assert_eq!(
            Problem::MissingSubset {
                object,
                subset: "canary".into()
            }
            .to_string(),
            "DestinationRule \"aleph\" has no subset \"canary\" in spec.subsets"
        );
    }
}
