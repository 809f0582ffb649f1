//! One label with one value that every selector of a query must have: how an administrator keeps the tenants of one
//! Prometheus apart. The query's tree is changed and written anew, and what was written is read once more, so that
//! neither text search nor the parser's own way of writing is trusted.

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::{Expr, LabelModifier, VectorSelector};

use super::{QueryError, parse, parse_bounded};

/// The only series that may be read: those with `label="value"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only<'a> {
    /// Name of the label.
    pub label: &'a str,
    /// Its value.
    pub value: &'a str,
}

/// Why a query cannot be restricted to some series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestrictError {
    /// It is no query that can be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A selector asks for other series.
    #[error("it selects {asked}, and only series with {only} may be read")]
    Beyond {
        /// The matcher that lets none of ours pass, at most 200 characters.
        asked: String,
        /// The matcher of ours.
        only: String,
    },
    /// `info` reads series that no selector names.
    #[error("info() reads series beside those it is given, and only series with {0} may be read")]
    Info(String),
    /// What was written anew does not read as what was meant.
    #[error("it cannot be written anew with {0} in each selector: write it more simply")]
    Unwritable(String),
}

impl Only<'_> {
    /// The same query about our series alone. A selector that asks for others is refused and not changed.
    ///
    /// # Errors
    /// [`RestrictError`]; nothing may be asked then.
    pub fn restrict(self, promql: &str) -> Result<String, RestrictError> {
        let mut tree = parse(promql)?;
        self.expr(&mut tree)?;
        let written = tree.to_string();
        match parse_bounded(&written) {
            // The parser takes `\xe9` for é, Prometheus for a byte: with an escape, such a letter may be either.
            Ok(read) if read == tree && !(promql.contains('\\') && written.contains(is_latin)) => Ok(written),
            _ => Err(RestrictError::Unwritable(self.matcher().to_string())),
        }
    }

    /// A selector of all series of ours that one metric has; any text may be its name.
    #[must_use]
    pub fn of_metric(self, metric: &str) -> String {
        format!("{{{},{}}}", named(metric), self.matcher())
    }

    fn matcher(self) -> Matcher {
        Matcher::new(MatchOp::Equal, self.label, self.value)
    }

    fn expr(self, expr: &mut Expr) -> Result<(), RestrictError> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&mut matrix.vs),
            Expr::Subquery(subquery) => self.expr(&mut subquery.expr),
            Expr::Unary(unary) => self.expr(&mut unary.expr),
            Expr::Paren(paren) => self.expr(&mut paren.expr),
            Expr::Binary(binary) => {
                self.expr(&mut binary.lhs)?;
                self.expr(&mut binary.rhs)
            }
            Expr::Aggregate(aggregate) => {
                // `by ()` is written as nothing, which means the same.
                let by_nothing =
                    matches!(&aggregate.modifier, Some(LabelModifier::Include(labels)) if labels.is_empty());
                aggregate.modifier.take_if(|_| by_nothing);
                if let Some(param) = &mut aggregate.param {
                    self.expr(param)?;
                }
                self.expr(&mut aggregate.expr)
            }
            Expr::Call(call) if call.func.name == "info" => {
                Err(RestrictError::Info(self.matcher().to_string()))
            }
            Expr::Call(call) => call
                .args
                .args
                .iter_mut()
                .try_for_each(|argument| self.expr(argument)),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
            Expr::Extension(_) => Err(RestrictError::Unwritable(self.matcher().to_string())),
        }
    }

    fn selector(self, selector: &mut VectorSelector) -> Result<(), RestrictError> {
        let Matchers {
            matchers,
            or_matchers,
        } = &mut selector.matchers;
        for alternative in or_matchers.iter_mut() {
            self.add(alternative)?;
        }
        // Where there are alternatives, they hold everything.
        if or_matchers.is_empty() || !matchers.is_empty() {
            self.add(matchers)?;
        }
        // The order in which they are written.
        matchers.sort_by_cached_key(Matcher::to_string);
        Ok(())
    }

    fn add(self, matchers: &mut Vec<Matcher>) -> Result<(), RestrictError> {
        let own = self.matcher();
        let lets_none_pass = |m: &&Matcher| m.name == self.label && !m.is_match(self.value);
        if let Some(other) = matchers.iter().find(lets_none_pass) {
            return Err(RestrictError::Beyond {
                asked: other.to_string().chars().take(200).collect(),
                only: own.to_string(),
            });
        }
        if !matchers.contains(&own) {
            matchers.push(own);
        }
        Ok(())
    }
}

/// A selector of all series of one metric; any text may be its name.
#[must_use]
pub fn of_metric(metric: &str) -> String {
    format!("{{{}}}", named(metric))
}

fn named(metric: &str) -> Matcher {
    Matcher::new(MatchOp::Equal, promql_parser::label::METRIC_NAME, metric)
}

fn is_latin(c: char) -> bool {
    ('\u{80}'..='\u{ff}').contains(&c)
}

#[cfg(test)]
mod tests;
