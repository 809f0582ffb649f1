//! What is wrong with a spec, gathered field by field.

use crate::api::Span;

use super::PlanError;
use crate::core::questions;

const SHORTEST: Span = Span::secs(1);
pub(super) const LONGEST: Span = Span::secs(720 * 3600);
const LONGEST_QUERY: usize = 10_000;

#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<PlanError>);

impl Problems {
    pub(super) fn add(&mut self, field: &str, problem: impl Into<String>) {
        self.0.push(PlanError {
            field: field.to_owned(),
            problem: problem.into(),
        });
    }

    pub(super) fn require(&mut self, fine: bool, field: &str, problem: &str) {
        if !fine {
            self.add(field, problem);
        }
    }

    pub(super) fn one_spelling<T>(
        &mut self,
        field: &str,
        alias: &str,
        value: Option<T>,
        old: Option<T>,
    ) -> Option<T> {
        if value.is_some() && old.is_some() {
            self.add(
                field,
                format!("not together with {alias}, its old spelling: use one of the two"),
            );
        }
        value.or(old)
    }

    pub(super) fn span(&mut self, field: &str, span: Option<Span>) -> Option<Span> {
        let fine = span.is_none_or(|s| (SHORTEST..=LONGEST).contains(&s));
        self.require(fine, field, "must be 1s to 720h");
        span
    }

    pub(super) fn count(&mut self, field: &str, value: i32, most: u32) -> u32 {
        match u32::try_from(value) {
            Ok(count) if (1..=most.max(1)).contains(&count) => count,
            _ => {
                self.add(field, format!("must be 1 to {most}"));
                1
            }
        }
    }

    pub(super) fn query(&mut self, field: &str, text: &str) {
        if text.chars().count() > LONGEST_QUERY {
            self.add(field, "is longer than 10,000 characters");
        } else if let Err(error) = questions::check(text) {
            self.add(field, error.to_string());
        }
    }

    pub(super) fn selector(&mut self, field: &str, text: &str) {
        if text.chars().count() > LONGEST_QUERY {
            self.add(field, "is longer than 10,000 characters");
        } else if let Err(error) = questions::check_selector(text) {
            self.add(field, error.to_string());
        }
    }
}
