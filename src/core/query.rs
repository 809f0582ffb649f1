//! What a query says about itself: how far it looks back, which names it needs, what its value means.
//! Read with a parser, never by text search; nothing here asks Prometheus.

mod absence;
mod bounds;
mod growth;
mod restrict;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{UnwindSafe, catch_unwind};
use std::time::Duration;

use promql_parser::label::{METRIC_NAME, MatchOp, Matcher};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AtModifier, BinaryExpr, Call, Expr, Offset, SubqueryExpr, VectorSelector, token,
};

pub use restrict::{Only, RestrictError, of_metric};
pub use template::{Template, TemplateError, Values, Variable};

/// The longest query that is read, in characters. The schema refuses longer ones too.
pub const MAX_QUERY_CHARS: usize = 10_000;

/// Why a query cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nothing but blanks and comments.
    #[error("the query is empty")]
    Empty,
    /// Longer than [`MAX_QUERY_CHARS`].
    #[error("the query has more than {MAX_QUERY_CHARS} characters: it is {0} long, or was cut there")]
    TooLong(usize),
    /// More operators and brackets than are read.
    #[error("the query has {0} operators and brackets; at most {max} are read", max = bounds::MAX_NODES)]
    TooComplex(usize),
    /// Its regular expressions take more memory than there is for them.
    #[error(
        "the regular expressions of the query are too large: write fewer, with smaller repetitions, or [0-9A-Za-z_] for \\w"
    )]
    RegexTooLarge,
    /// Not `PromQL` as the parser knows it; its own words, at most 300 characters.
    #[error("the query is not valid PromQL: {0}")]
    Syntax(String),
    /// `PromQL`, but its result is no number: a range vector or a string.
    #[error("the query gives a {0}, not a number for each series")]
    NotNumeric(&'static str),
    /// More, or something else, than a selector of one named metric.
    #[error(
        "must be a selector of one counter and nothing else, as in requests_total{{version=\"$(version)\"}}"
    )]
    NotASelector,
}

/// How far one path through a query looks back: a fixed time plus a number of scrapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookback {
    /// Ranges, subquery ranges and offsets along the path, added up; never below zero.
    pub time: Duration,
    /// Scrapes besides, two for `irate` and `idelta`, whose range only limits how old the two samples may be.
    pub scrapes: u32,
}

impl Lookback {
    /// The same in time, with samples every `scrape`.
    #[must_use]
    pub fn with_scrape_interval(self, scrape: Duration) -> Duration {
        self.time.saturating_add(scrape.saturating_mul(self.scrapes))
    }
}

/// What a query says about itself.
#[expect(
    clippy::struct_excessive_bools,
    reason = "findings that do not depend on each other"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryFacts {
    /// One entry for each different way to look back; empty when nothing is selected.
    pub lookbacks: BTreeSet<Lookback>,
    /// Metric names, each with the label names a series must have to be selected. A matcher that accepts a
    /// missing label (`code!="500"`) needs none.
    pub metrics: BTreeMap<String, BTreeSet<String>>,
    /// A selector names no metric (`{job="x"}`, or a name given by pattern): its names cannot be looked up.
    pub unnamed_selector: bool,
    /// A literal `@` time is in it: such a query shows the same moment at every check.
    pub fixed_time: bool,
    /// It answers where its metrics do not exist (`… or vector(0)`, `absent(…)`, a constant): an empty result
    /// will not betray a misspelt name, so the names must be looked up before its value is believed.
    pub hides_absence: bool,
    /// Its value is a quantile, a mean or the like: an empty result is no 0, whatever traffic there was.
    pub is_a_measure: bool,
    /// Its value rises when there is more traffic (a rate or count that is not divided by another), so that it
    /// cannot be compared between versions with different shares.
    pub grows_with_traffic: bool,
}

impl QueryFacts {
    /// The longest time the query looks back, with samples every `scrape`.
    #[must_use]
    pub fn longest_range(&self, scrape: Duration) -> Duration {
        self.lookbacks
            .iter()
            .map(|path| path.with_scrape_interval(scrape))
            .max()
            .unwrap_or_default()
    }
}

/// Reads a query (expanded: no `$(…)` left).
///
/// # Errors
/// What is not `PromQL`, is too large to be read, or can never give a number.
pub fn analyse(promql: &str) -> Result<QueryFacts, QueryError> {
    let expr = parse(promql)?;
    match expr.value_type() {
        ValueType::Matrix => return Err(QueryError::NotNumeric("range vector")),
        ValueType::String => return Err(QueryError::NotNumeric("string")),
        ValueType::Scalar | ValueType::Vector => {}
    }
    let mut walk = Walk::default();
    walk.expr(&expr, Path::default());
    let mut facts = walk.facts;
    facts.hides_absence |= facts.lookbacks.is_empty();
    facts.is_a_measure = absence::is_a_measure(&expr);
    facts.grows_with_traffic = growth::grows_with_traffic(&expr);
    Ok(facts)
}

/// Reads a selector of one metric (expanded), without range, offset or time.
///
/// # Errors
/// What [`analyse`] refuses, and whatever is not such a selector.
pub fn selector(promql: &str) -> Result<(), QueryError> {
    analyse(promql)?;
    match parse_bounded(promql)? {
        Expr::VectorSelector(selector)
            if selector.name.is_some() && selector.offset.is_none() && selector.at.is_none() =>
        {
            Ok(())
        }
        _ => Err(QueryError::NotASelector),
    }
}

/// The metrics of a query (expanded) with the labels that its selectors look at; none of what cannot be read.
#[must_use]
pub fn names(promql: &str) -> BTreeMap<String, BTreeSet<String>> {
    analyse(promql).map(|facts| facts.metrics).unwrap_or_default()
}

fn parse(promql: &str) -> Result<Expr, QueryError> {
    bounds::check(promql)?;
    parse_bounded(promql)
}

/// Reads what is known not to be too large to be read.
fn parse_bounded(promql: &str) -> Result<Expr, QueryError> {
    let unreadable = |why: &str| QueryError::Syntax(why.chars().take(300).collect());
    match guarded(|| promql_parser::parser::parse(promql)) {
        Some(Ok(expr)) => Ok(expr),
        Some(Err(why)) if why.contains("no expression found") => Err(QueryError::Empty),
        Some(Err(why)) => Err(unreadable(&why)),
        None => Err(unreadable("a number in it is out of range")),
    }
}

/// The parser panics on a few inputs (a range of 1e30 s), so it runs guarded: a query harms nobody else.
fn guarded<T>(read: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    catch_unwind(read).ok()
}

/// How far the enclosing expressions look back, in milliseconds; below zero with a negative offset.
#[derive(Clone, Copy, Default)]
struct Path {
    millis: i64,
    scrapes: u32,
    /// Under `irate` or `idelta`: the next range counts two samples.
    last_two: bool,
}

impl Path {
    fn plus(self, duration: Duration) -> Self {
        Self {
            millis: self.millis.saturating_add(millis(duration)),
            ..self
        }
    }

    fn offset(self, offset: Option<&Offset>) -> Self {
        let shift = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => millis(*duration),
            Some(Offset::Neg(duration)) => -millis(*duration),
        };
        Self {
            millis: self.millis.saturating_add(shift),
            ..self
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Walk {
    facts: QueryFacts,
}

impl Walk {
    fn expr(&mut self, expr: &Expr, path: Path) {
        match expr {
            Expr::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.expr(param, path);
                }
                self.expr(&aggregate.expr, path);
            }
            Expr::Unary(unary) => self.expr(&unary.expr, path),
            Expr::Paren(paren) => self.expr(&paren.expr, path),
            Expr::Binary(binary) => self.binary(binary, path),
            Expr::Call(call) => self.call(call, path),
            Expr::Subquery(subquery) => self.subquery(subquery, path),
            Expr::MatrixSelector(matrix) => {
                let path = if path.last_two {
                    Path {
                        scrapes: path.scrapes.saturating_add(2),
                        ..path
                    }
                } else {
                    path.plus(matrix.range)
                };
                self.selector(&matrix.vs, path);
            }
            Expr::VectorSelector(selector) => self.selector(selector, path),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn binary(&mut self, binary: &BinaryExpr, path: Path) {
        let fallback = binary.op.id() == token::T_LOR && !selects(&binary.rhs);
        let filled = binary
            .modifier
            .as_ref()
            .is_some_and(|m| m.fill_values.lhs.is_some() || m.fill_values.rhs.is_some());
        self.facts.hides_absence |= fallback || filled;
        self.expr(&binary.lhs, path);
        self.expr(&binary.rhs, path);
    }

    fn call(&mut self, call: &Call, path: Path) {
        self.facts.hides_absence |= matches!(call.func.name, "absent" | "absent_over_time");
        let last_two = matches!(call.func.name, "irate" | "idelta");
        for argument in &call.args.args {
            self.expr(argument, Path { last_two, ..path });
        }
    }

    fn subquery(&mut self, subquery: &SubqueryExpr, path: Path) {
        // Two steps of a known resolution are what irate looks at; without one, the whole range is assumed.
        let range = match subquery.step {
            Some(step) if path.last_two => subquery.range.min(step.saturating_mul(2)),
            _ => subquery.range,
        };
        self.note_time(subquery.at.as_ref());
        let path = path.plus(range).offset(subquery.offset.as_ref());
        self.expr(
            &subquery.expr,
            Path {
                last_two: false,
                ..path
            },
        );
    }

    fn selector(&mut self, selector: &VectorSelector, path: Path) {
        self.note_time(selector.at.as_ref());
        let path = path.offset(selector.offset.as_ref());
        let time = Duration::from_millis(u64::try_from(path.millis).unwrap_or(0));
        self.facts.lookbacks.insert(Lookback {
            time,
            scrapes: path.scrapes,
        });
        let matchers = || {
            selector
                .matchers
                .matchers
                .iter()
                .chain(selector.matchers.or_matchers.iter().flatten())
        };
        let name = selector.name.as_ref().or_else(|| {
            matchers()
                .find(|m| m.name == METRIC_NAME && matches!(m.op, MatchOp::Equal))
                .map(|m| &m.value)
        });
        let Some(name) = name else {
            self.facts.unnamed_selector = true;
            return;
        };
        let needed = matchers()
            .filter(|m| m.name != METRIC_NAME && needs_label(m))
            .map(|m| m.name.clone());
        self.facts.metrics.entry(name.clone()).or_default().extend(needed);
    }

    fn note_time(&mut self, at: Option<&AtModifier>) {
        // start() and end() are the moment of an instant query itself.
        self.facts.fixed_time |= matches!(at, Some(AtModifier::At(_)));
    }
}

fn needs_label(matcher: &Matcher) -> bool {
    !matcher.is_match("")
}

/// Whether any series is selected in it.
fn selects(expr: &Expr) -> bool {
    match expr {
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => true,
        Expr::Aggregate(aggregate) => selects(&aggregate.expr),
        Expr::Unary(unary) => selects(&unary.expr),
        Expr::Paren(paren) => selects(&paren.expr),
        Expr::Subquery(subquery) => selects(&subquery.expr),
        Expr::Binary(binary) => selects(&binary.lhs) || selects(&binary.rhs),
        Expr::Call(call) => call.args.args.iter().any(|argument| selects(argument)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => false,
    }
}

#[cfg(test)]
mod tests;
