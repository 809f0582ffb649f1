//! Looks up whether what a selector names ever existed: of a misspelt name the past says nothing, however calm it seems.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Span;
use crate::api::plan::SequentialPlan;
use crate::core::observation::SampleAnswer;
use crate::core::past::{self, Source};
use crate::core::query;

use super::fetch::{Fetcher, Stretch};

impl Fetcher {
    /// Fails where a selector without series names what the server has never heard of.
    pub(super) async fn has_heard_of(
        &self,
        test: &SequentialPlan,
        answers: &[SampleAnswer],
        stretch: Stretch,
    ) -> Result<(), String> {
        let values = self.subject.values(Span::ZERO);
        let selectors = past::selectors(test, &Source::default(), &values);
        for (answer, (counted, selector)) in answers.iter().zip(selectors) {
            let is_empty = answer.outcome.as_ref().is_ok_and(|series| series.is_empty());
            if counted.is_some() && is_empty {
                self.knows(&query::names(&selector), stretch).await?;
            }
        }
        Ok(())
    }

    /// Fails with those of a query's metrics and labels that the server did not have in all that time.
    ///
    /// # Errors
    /// The names, or why they could not be looked up.
    pub(super) async fn knows(
        &self,
        names: &BTreeMap<String, BTreeSet<String>>,
        (from, until): Stretch,
    ) -> Result<(), String> {
        let server = self.servers.get(self.server.as_deref());
        let server = server.map_err(|why| why.to_string())?;
        let back = until.duration_since(from).unsigned_abs();
        let mut unknown = Vec::new();
        for (metric, labels) in names {
            let found = self
                .again(|| server.label_names(metric, until, back, self.timeout))
                .await;
            let found = found.map_err(|failure| {
                format!("it has no series, and whether there is {metric} could not be looked up: {failure}")
            })?;
            if found.is_empty() {
                unknown.push(metric.clone());
            } else {
                let missing = labels.difference(&found);
                unknown.extend(missing.map(|label| format!("{metric}{{{label}}}")));
            }
        }
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(past::unheard_of(&unknown))
        }
    }
}
