//! Query templates: `$(version)` and its like, replaced by values. Nothing here reads `PromQL`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::MAX_QUERY_CHARS;

/// Ends what was cut: no `PromQL`, wherever the cut fell. Who does not look at the length gets an error then, and no
/// answer to another question.
const CUT: &str = "\n;";

/// What a template may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// `$(service)`: the service of the `BirdWatch`.
    Service,
    /// `$(namespace)`: its namespace.
    Namespace,
    /// `$(version)`: the version asked about: production for the baseline, the canary afterwards.
    Version,
    /// `$(production)`: production's version.
    Production,
    /// `$(canary)`: the canary's version.
    Canary,
    /// `$(window)`: the time a range should cover.
    Window,
}

impl Variable {
    /// Every variable, in the order in which messages list them.
    pub const ALL: [Self; 6] = [
        Self::Service,
        Self::Namespace,
        Self::Version,
        Self::Production,
        Self::Canary,
        Self::Window,
    ];

    /// The name between the parentheses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Namespace => "namespace",
            Self::Version => "version",
            Self::Production => "production",
            Self::Canary => "canary",
            Self::Window => "window",
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$({})", self.name())
    }
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name that is none of [`Variable::ALL`]; at most 40 characters of it.
    #[error("unknown variable $({0}); known are {known}", known = known())]
    Unknown(String),
    /// A `$(` without its `)`.
    #[error("`$(` at character {0} is not closed by `)`")]
    Unclosed(usize),
}

fn known() -> String {
    Variable::ALL.map(|v| v.to_string()).join(", ")
}

/// The values of one expansion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values<'a> {
    /// For `$(service)`.
    pub service: &'a str,
    /// For `$(namespace)`.
    pub namespace: &'a str,
    /// For `$(version)`.
    pub version: &'a str,
    /// For `$(production)`.
    pub production: &'a str,
    /// For `$(canary)`.
    pub canary: &'a str,
    /// For `$(window)`; written as whole seconds, at least one.
    pub window: Duration,
}

impl Values<'_> {
    /// What stands for a variable in a query.
    fn written(&self, variable: Variable) -> String {
        let value = match variable {
            Variable::Service => self.service,
            Variable::Namespace => self.namespace,
            Variable::Version => self.version,
            Variable::Production => self.production,
            Variable::Canary => self.canary,
            Variable::Window => return format!("{}s", self.window.as_secs().max(1)),
        };
        escaped(value)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// A query with places for values, read once and expanded at each check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads a template. `$(` always opens a variable, inside strings too.
    ///
    /// # Errors
    /// A variable that does not exist, or one that is not closed.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("$(") {
            let Some((name, tail)) = after.split_once(')') else {
                let consumed = text.len() - after.len() - "$(".len();
                return Err(TemplateError::Unclosed(text[..consumed].chars().count() + 1));
            };
            let variable = Variable::ALL
                .into_iter()
                .find(|v| v.name() == name)
                .ok_or_else(|| TemplateError::Unknown(name.chars().take(40).collect()))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Variable(variable));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The variables that occur.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<Variable> {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Variable(variable) => Some(*variable),
                Part::Text(_) => None,
            })
            .collect()
    }

    /// Whether `$(version)` occurs: then the query is asked of production for the baseline and of the canary
    /// afterwards.
    #[must_use]
    pub fn uses_version(&self) -> bool {
        self.parts.contains(&Part::Variable(Variable::Version))
    }

    /// The query with every variable replaced. Quotes and backslashes of a value are escaped (in a way that holds
    /// in each of `PromQL`'s three kinds of string) and control characters left out, so that no value ends the
    /// string it stands in.
    ///
    /// What would be longer than [`MAX_QUERY_CHARS`] is cut and still longer than that: it is refused for its length
    /// like any other, and is no `PromQL`.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> String {
        let variables = self.variables().into_iter();
        let written: BTreeMap<Variable, String> = variables.map(|v| (v, values.written(v))).collect();
        let pieces = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Variable(variable) => written.get(variable).map(String::as_str),
        });
        let mut out: String = pieces.flat_map(str::chars).take(MAX_QUERY_CHARS + 1).collect();
        if out.chars().count() > MAX_QUERY_CHARS {
            out.push_str(CUT);
        }
        out
    }
}

/// No more of a value than makes a query too long by itself: it may be a megabyte, and stand in hundreds of places.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    let visible = value.chars().filter(|c| !c.is_control());
    for c in visible.take(MAX_QUERY_CHARS + 1) {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\x22"),
            '\'' => out.push_str("\\x27"),
            '`' => out.push_str("\\x60"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values<'static> {
        Values {
            service: "aleph",
            namespace: "shop",
            version: "v04",
            production: "v03",
            canary: "v04",
            window: Duration::from_secs(90),
        }
    }

    fn expand(text: &str) -> String {
        Template::parse(text).unwrap().expand(&values())
    }

    #[test]
    fn every_variable_is_replaced_wherever_it_stands() {
        assert_eq!(
            expand(
                r#"sum(rate(x{s="$(service)",n="$(namespace)",v="$(version)"}[$(window)])) $(production)$(canary)"#
            ),
            r#"sum(rate(x{s="aleph",n="shop",v="v04"}[90s])) v03v04"#
        );
        assert_eq!(expand(""), "");
        assert_eq!(expand("$(canary)"), "v04");
    }

    #[test]
    fn dollars_and_parentheses_that_are_no_variable_stay() {
        let text = r#"count(up{job=~"a$|b", x="$1 $ (service) ${version}"}) > 1"#;
        assert_eq!(expand(text), text);
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_known_ones() {
        let error = Template::parse("rate(x[$(windw)])").unwrap_err();
        assert_eq!(error, TemplateError::Unknown("windw".into()));
        let text = error.to_string();
        assert!(text.starts_with("unknown variable $(windw)"), "{text}");
        for variable in Variable::ALL {
            assert!(text.contains(&variable.to_string()), "{text} lacks {variable}");
        }
        assert!(matches!(
            Template::parse("$( version )"),
            Err(TemplateError::Unknown(_))
        ));
        assert!(matches!(Template::parse("$()"), Err(TemplateError::Unknown(_))));
    }

    #[test]
    fn a_variable_without_its_end_is_refused_with_its_place() {
        assert_eq!(
            Template::parse("µ $(version").unwrap_err(),
            TemplateError::Unclosed(3)
        );
        assert_eq!(
            Template::parse("$(version) $(").unwrap_err(),
            TemplateError::Unclosed(12)
        );
    }

    #[test]
    fn an_unknown_name_of_any_length_gives_a_short_message() {
        let error = Template::parse(&format!("$({})", "x".repeat(9_000))).unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn the_variables_used_are_reported() {
        let template = Template::parse(r#"x{v="$(version)",w="$(version)"}[$(window)]"#).unwrap();
        assert_eq!(
            template.variables(),
            BTreeSet::from([Variable::Version, Variable::Window])
        );
        assert!(template.uses_version());
        assert!(!Template::parse(r#"x{v="$(canary)"}"#).unwrap().uses_version());
    }

    #[test]
    fn a_value_never_ends_the_string_it_stands_in() {
        let hostile = r#"a"} or vector(0) or x{y='`\"#;
        let values = Values {
            version: hostile,
            ..values()
        };
        for quoted in [r#"x{v="$(version)"}"#, r"x{v='$(version)'}", r"x{v=`$(version)`}"] {
            let query = Template::parse(quoted).unwrap().expand(&values);
            let facts = super::super::analyse(&query).unwrap();
            assert_eq!(facts.metrics.len(), 1, "{query}");
            assert!(!facts.hides_absence, "{query}");
        }
    }

    #[test]
    fn a_text_without_end_is_cut_where_it_is_too_long_to_be_read() {
        let most = "x".repeat(MAX_QUERY_CHARS);
        assert_eq!(expand(&most), most);
        for (c, what) in [("\"", "escaped"), ("x", "as it is"), ("é", "of two bytes")] {
            let long = c.repeat(1 << 20);
            let values = Values {
                version: &long,
                ..values()
            };
            let cut = Template::parse(&"$(version)".repeat(700))
                .unwrap()
                .expand(&values);
            let chars = cut.chars().count();
            assert!(
                chars > MAX_QUERY_CHARS && chars < MAX_QUERY_CHARS + 100,
                "{what}: {chars}"
            );
            let answer = super::super::analyse(&cut);
            assert_eq!(answer, Err(super::super::QueryError::TooLong(chars)), "{what}");
        }
    }

    #[test]
    fn what_is_left_out_of_a_value_makes_nothing_too_long() {
        let long = format!("{}v1", "\u{7f}".repeat(1 << 20));
        let values = Values {
            version: &long,
            ..values()
        };
        let text = Template::parse(&"$(version)".repeat(700))
            .unwrap()
            .expand(&values);
        assert_eq!(text, "v1".repeat(700));
    }

    #[test]
    fn what_was_cut_is_no_query_wherever_the_cut_fell() {
        let long = "x".repeat(MAX_QUERY_CHARS);
        let values = Values {
            version: &long,
            ..values()
        };
        for before in ["", "up # ", "up{", "up{a=\"", "up{a='", "up{a=`", "up[", "sum("] {
            let template = Template::parse(&format!("{before}$(version)$(version)")).unwrap();
            let cut = template.expand(&values);
            // With the range that counters get, too.
            for asked in [format!("{cut}[60000ms]"), cut] {
                assert!(promql_parser::parser::parse(&asked).is_err(), "behind {before}");
            }
        }
    }

    #[test]
    fn a_window_below_a_second_is_one_second() {
        let values = Values {
            window: Duration::from_millis(20),
            ..values()
        };
        assert_eq!(Template::parse("x[$(window)]").unwrap().expand(&values), "x[1s]");
    }
}
