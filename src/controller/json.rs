//! JSON as the text in which it came, for what is handed on more often than it is read. It judges nothing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// Any JSON; `null` by default. What serde has to keep aside before it knows the type cannot be read into it: an event of a watch whose
/// object comes before its type, which no API server sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Default for Json {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

/// Of the same text.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Json {
    /// A value as JSON.
    ///
    /// # Errors
    /// It has no such form, which only a number that is none or an odd map can cause.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        to_raw_value(value).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.text() == "null"
    }

    /// What it says.
    ///
    /// # Errors
    /// It says something else, or a number that is none. Of the former the words name no place in the text, which nobody sees.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        // Of a field that comes twice the last counts, as for whoever reads a tree of values.
        let through_values = |_| serde_json::from_str(self.text()).and_then(serde_json::from_value);
        serde_json::from_str(self.text()).or_else(through_values)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Weight {
        percent: u8,
    }

    fn json(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn it_is_handed_on_as_it_came() {
        let text = r#"{"b":1e2,"a":[18446744073709551615,"\u00fc"],"b2":{"x":null}}"#;
        assert_eq!(serde_json::to_string(&json(text)).unwrap(), text);
        let through_values = serde_json::from_value::<Json>(json(text).read().unwrap()).unwrap();
        assert_eq!(
            through_values.read::<Value>().unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn nothing_is_null() {
        assert!(Json::default().is_null() && json(" null ").is_null());
        assert!(Json::of(&Value::Null).unwrap().is_null());
        assert!(!json("{}").is_null());
    }

    #[test]
    fn of_a_field_that_comes_twice_the_last_counts() {
        assert_eq!(
            json(r#"{"percent":1,"percent":2}"#).read::<Weight>().unwrap(),
            Weight { percent: 2 }
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_a_place() {
        for (text, said) in [
            ("{}", "missing field `percent`"),
            (r#"{"percent":300}"#, "invalid value: integer `300`, expected u8"),
        ] {
            assert_eq!(json(text).read::<Weight>().unwrap_err().to_string(), said);
        }
        assert_eq!(
            Json::of(&json!({"percent": 7})).unwrap(),
            json(r#"{"percent":7}"#)
        );
    }
}
