//! What is to be replayed: a `BirdWatch` of a file or of the cluster, and the version in production.

use kube::{Api, Config};
use serde_json::Value;

use crate::api::BirdWatch;
use crate::api::plan::Target;
use crate::cli::{manifest, simulate};
use crate::clients::api_server;
use crate::controller::find_istio;
use crate::core::plan;
use crate::istio::DestinationRule;
use crate::istio::destination_rule;

use super::BacktestError;
use super::fetch::Subject;
use super::settings::BacktestSettings;

/// A `BirdWatch` and whose past it is tried on.
pub(super) struct Found {
    pub(super) object: BirdWatch,
    pub(super) subject: Subject,
}

/// Finds it.
///
/// # Errors
/// No such file or object, or nothing says which version is in production.
pub(super) async fn find(settings: &BacktestSettings) -> Result<Found, BacktestError> {
    if is_file(&settings.what) {
        let text = simulate::read(&settings.what)?;
        let object = simulate::pick(&text, settings.name.as_deref()).map_err(|problem| {
            BacktestError::Input(format!(
                "{}: {problem}; give a file with the BirdWatch",
                settings.what
            ))
        })?;
        let rule = |target: &Target| rule_in(&text, target);
        return found(settings, object, None, rule);
    }
    let (namespace, name) = match settings.what.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (settings.namespace.clone(), settings.what.as_str()),
    };
    let refused = |what: &str, why: &dyn std::fmt::Display| {
        BacktestError::Input(format!(
            "{what}: {why}; give a file, or set KUBECONFIG so that {name} can be read"
        ))
    };
    let config = Config::infer()
        .await
        .map_err(|why| refused("the cluster", &why))?;
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = api_server::connect(config).map_err(|why| refused("the cluster", &why))?;
    let object = Api::<BirdWatch>::namespaced(client.clone(), &namespace)
        .get(name)
        .await;
    let object = object.map_err(|why| refused(&format!("BirdWatch {namespace}/{name}"), &why))?;
    let mut rule = None;
    if let (None, Ok(plan)) = (&settings.production, plan::resolve(&object.spec)) {
        let kinds = find_istio(&client).await.map_err(|why| refused("Istio", &why))?;
        let kinds = kinds.ok_or_else(|| refused("Istio", &"its kinds are not served"))?;
        let rules = Api::<DestinationRule>::namespaced_with(client, &namespace, &kinds.rules);
        let name = &plan.target.destination_rule;
        let object = rules.get(name).await;
        rule = Some(object.map_err(|why| refused(&format!("DestinationRule {namespace}/{name}"), &why))?);
    }
    found(settings, object, Some(namespace), |_| rule)
}

/// Names of objects have neither a dot with such an end nor are they paths.
fn is_file(what: &str) -> bool {
    let is_path = std::path::Path::new(what).exists();
    let lower = what.to_ascii_lowercase();
    what == "-" || is_path || [".yaml", ".yml", ".json"].iter().any(|end| lower.ends_with(end))
}

/// The rule of that name among a file's documents.
fn rule_in(text: &str, target: &Target) -> Option<DestinationRule> {
    let documents = manifest::documents(text).ok()?;
    let is = |document: &&Value| {
        document["kind"] == "DestinationRule" && document["metadata"]["name"] == *target.destination_rule
    };
    serde_json::from_value(documents.iter().find(is)?.clone()).ok()
}

fn found(
    settings: &BacktestSettings,
    object: BirdWatch,
    namespace: Option<String>,
    rule: impl FnOnce(&Target) -> Option<DestinationRule>,
) -> Result<Found, BacktestError> {
    let plan = plan::resolve(&object.spec).map_err(BacktestError::Plan)?;
    let target = &plan.target;
    let version = settings.production.clone().or_else(|| {
        let rule = rule(target)?;
        let subsets = (&target.production_subset, &target.canary_subset);
        let read = destination_rule::read(
            &rule,
            subsets.0,
            subsets.1,
            &target.version_label,
            "cluster.local",
        );
        read.production.version().map(str::to_owned)
    });
    let version = version.ok_or_else(|| {
        BacktestError::Input(format!(
            "{}: no DestinationRule {} says which version of {} is in production; add --production VERSION",
            settings.what, target.destination_rule, target.service
        ))
    })?;
    let namespace = namespace
        .or_else(|| settings.namespace.clone())
        .or_else(|| object.metadata.namespace.clone())
        .unwrap_or_else(|| "default".to_owned());
    let subject = Subject {
        service: target.service.clone(),
        namespace,
        version,
    };
    Ok(Found { object, subject })
}
