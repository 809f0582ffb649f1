//! What effects come to: the guarded patches of our objects. Pure; `execute` sends them.

use json_patch::Patch;

use crate::api::status::Rollout;
use crate::core::observation::Side;
use crate::istio::destination_rule::{label_patch, restore_label_patch};
use crate::istio::restore::restore_patch;
use crate::istio::routes::{self, Pair};
use crate::istio::weights::{Guard, lower_patch, weight_patch};
use crate::istio::{DestinationRule, Problem, VirtualService};

use super::look::{Objects, Service};
use super::route_key;

/// Brings the routes of ours in `object`, the newest known, down to `percent`; none where nothing is above it.
#[must_use]
pub fn lowering(object: &VirtualService, pair: &Pair, cluster_domain: &str, percent: u8) -> Option<Patch> {
    let routes = routes::find(object, pair, cluster_domain).ours;
    lower_patch(object, &routes, percent)
}

/// Brings the routes of `service`, as they were decided on, to `percent`, and no newer ones; none where they are there.
#[must_use]
pub fn bringing_to(service: &Service, percent: u8) -> Option<Patch> {
    weight_patch(&service.object, &service.routes, percent, Guard::ResourceVersion)
}

/// Gives the routes of ours in `object`, the newest known, the keys that they had before the rollout.
#[must_use]
pub fn restoring_weights(
    object: &VirtualService,
    pair: &Pair,
    cluster_domain: &str,
    rollout: &Rollout,
) -> Option<Patch> {
    let kept = route_key::kept(&rollout.kept.routes);
    let routes = routes::find(object, pair, cluster_domain).ours;
    restore_patch(object, &routes, &kept, 0)
}

impl Objects {
    /// Name of a subset.
    #[must_use]
    pub fn subset(&self, side: Side) -> Option<&str> {
        let target = self.target.as_ref()?;
        Some(match side {
            Side::Production => &target.production_subset,
            Side::Canary => &target.canary_subset,
        })
    }

    /// The rule and the patch that points a subset of it at `version`; none where it does so, or where there is no rule.
    ///
    /// # Errors
    /// The subset cannot be found.
    pub fn labelling(
        &self,
        subset: Side,
        version: &str,
    ) -> Result<Option<(&DestinationRule, Patch)>, Problem> {
        let (Some(rule), Some(target), Some(name)) =
            (self.rule.as_deref(), &self.target, self.subset(subset))
        else {
            return Ok(None);
        };
        let patch = label_patch(rule, name, &target.version_label, version)?;
        Ok(patch.map(|patch| (rule, patch)))
    }

    /// The rule and the patch that gives its canary subset the label it had; none where it does not hold what we wrote.
    ///
    /// # Errors
    /// The subset cannot be found.
    pub fn restoring_label(
        &self,
        written: &str,
        kept: Option<&str>,
    ) -> Result<Option<(&DestinationRule, Patch)>, Problem> {
        let (Some(rule), Some(target)) = (self.rule.as_deref(), &self.target) else {
            return Ok(None);
        };
        let (subset, label) = (&target.canary_subset, &target.version_label);
        let patch = restore_label_patch(rule, subset, label, kept, written)?;
        Ok(patch.map(|patch| (rule, patch)))
    }
}
