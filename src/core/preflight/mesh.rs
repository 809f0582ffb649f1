//! What Istio's objects say: the rule with its subsets, and the routes to them.

use crate::api::plan::{Plan, Target};
use crate::core::observation::RouteSeen;

use super::inventory::{
    Holds, Inventory, RouteFacts, RouteProblemKind, RuleFacts, SubsetFacts, VirtualServiceFacts,
};
use super::{Report, codes};

/// Retry conditions that send a failed answer again, so that a caller never sees it.
const HIDING: [&str; 4] = ["5xx", "gateway-error", "retriable-4xx", "retriable-status-codes"];

pub(super) fn rule(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let target = &plan.target;
    let name = &target.destination_rule;
    let object = format!("DestinationRule {name}");
    let Some(rule) = report.look(&object, &inventory.rule) else {
        return;
    };
    let Some(rule) = rule else {
        return report.error(
            codes::RULE_MISSING,
            &object,
            format!("there is none in namespace {}", inventory.name.namespace),
            "Its two subsets tell production from canary; without it a rollout waits.",
            format!(
                "Create it with the subsets {} and {}, or name another in spec.destinationRule.",
                target.production_subset, target.canary_subset
            ),
        );
    };
    beside(report, rule, &object);
    for problem in &rule.problems {
        let (code, place) = if problem.of_subset {
            (codes::SUBSET_MISSING, "spec.subsets")
        } else {
            (codes::RULE_INVALID, "spec")
        };
        report.error(
            code,
            &format!("{object}, {place}"),
            &problem.text,
            "Routes and labels are found by host and subset; a rollout waits until both subsets are there once.",
            format!(
                "Give it the subsets {} and {}, or name others in spec.subsets.",
                target.production_subset, target.canary_subset
            ),
        );
    }
    if rule.production == SubsetFacts::Unlabelled {
        report.error(
            codes::LABEL_MISSING,
            &format!("{object}, subset {}", target.production_subset),
            format!("it has no label {}", target.version_label),
            "That label says which version is production; without it no rollout starts.",
            format!(
                "Set labels.{} to the version that runs now.",
                target.version_label
            ),
        );
    }
    if rule.canary == SubsetFacts::Unlabelled {
        report.hint(
            codes::LABEL_MISSING,
            &format!("{object}, subset {}", target.canary_subset),
            format!("it has no label {}", target.version_label),
            "Until the first rollout writes it, traffic for this subset reaches pods of every version.",
            format!("Set labels.{} to production's version.", target.version_label),
        );
    }
}

fn beside(report: &mut Report, rule: &RuleFacts, object: &str) {
    for other in &rule.beside {
        report.warning(
            codes::RULES_SEVERAL,
            object,
            format!("DestinationRule {other} is for the same host, and has one of our subsets too"),
            "Of subsets with one name Istio takes the oldest rule's: what a rollout writes into the other one does nothing.",
            "Take the subset out of that rule, or name it in spec.destinationRule and remove this one.",
        );
    }
}

pub(super) fn services(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let listed = &inventory.virtual_services;
    let namespace = &inventory.name.namespace;
    let is_ours = |service: &VirtualServiceFacts| {
        service.name.namespace == *namespace && plan.target.virtual_services.contains(&service.name.name)
    };
    for name in &plan.target.virtual_services {
        let object = format!("VirtualService {name}");
        let found = listed.found.iter().find(|s| is_ours(s) && s.name.name == *name);
        match (found, &listed.whole) {
            (Some(service), _) => one(report, inventory, plan, service, &object),
            (None, Err(why)) => report.unseen(&object, why),
            (None, Ok(())) => report.error(
                codes::SERVICE_MISSING,
                &object,
                format!("there is none in namespace {namespace}"),
                "Its routes hold the weights that a rollout moves; without it a rollout waits.",
                "Create it with a route that holds both subsets, or name another in spec.virtualServices.",
            ),
        }
    }
    let others = listed.found.iter().filter(|s| !is_ours(s) && s.sends());
    for other in others {
        report.warning(
            codes::SERVICES_SEVERAL,
            &format!("VirtualService {}", other.name.name),
            format!("in namespace {} it sends to the same host, and does not move", other.name.namespace),
            "Its callers go past the canary's weight: they see the new version all at once, or never.",
            "Name it in spec.virtualServices where it is in the same namespace, or take its route to the host away.",
        );
    }
    if let Err(why) = &listed.whole {
        report.unseen("other VirtualServices for the host", why);
    }
    gateways(report, inventory, plan);
}

fn one(report: &mut Report, inventory: &Inventory, plan: &Plan, service: &VirtualServiceFacts, object: &str) {
    let target = &plan.target;
    for problem in &service.problems {
        let code = match problem.kind {
            RouteProblemKind::NoRoute => codes::ROUTE_MISSING,
            RouteProblemKind::OneSubset => codes::ROUTE_ONE_SUBSET,
            RouteProblemKind::Unusable => codes::ROUTE_INVALID,
        };
        report.error(
            code,
            object,
            &problem.text,
            "Only a route that holds both subsets once is moved; a rollout waits until there is one.",
            format!(
                "Give one route both destinations: subset {} with weight 100, subset {} with weight 0.",
                target.production_subset, target.canary_subset
            ),
        );
    }
    others(report, &plan.target, service, object);
    for route in &service.routes {
        let place = format!("{object}, {}", route.label);
        weights(report, inventory.under_way, route, &place);
        coarse(report, plan, route, &place);
        blurs(report, route, &format!("{object}, {}", route.label));
    }
}

/// Routes to our host that are not ours to move.
fn others(report: &mut Report, target: &Target, service: &VirtualServiceFacts, object: &str) {
    for other in &service.others {
        let place = format!("{object}, {}", other.label);
        match other.holds {
            Holds::NoSubset => report.warning(
                codes::ROUTE_NO_SUBSET,
                &place,
                "it sends to the host without a subset",
                "Its traffic reaches pods of both versions by their number, whatever the weights say.",
                "Give it both subsets with weights 100 and 0, or the production subset alone.",
            ),
            // Where no route has both, the problem above says so.
            Holds::ProductionOnly | Holds::CanaryOnly if service.routes.is_empty() => {}
            Holds::ProductionOnly => report.hint(
                codes::ROUTE_ONE_SUBSET,
                &place,
                format!("it holds subset {} only", target.production_subset),
                "Its callers stay with production until the promotion.",
                format!(
                    "Add subset {} with weight 0 if it should move too.",
                    target.canary_subset
                ),
            ),
            Holds::CanaryMirror => report.warning(
                codes::MIRROR,
                &place,
                format!("it copies requests to subset {}", target.canary_subset),
                "Each new version gets them from the moment it is the canary, whatever its weight, and after it was rolled back.",
                "Take the mirror away, or point it at a subset of its own.",
            ),
            Holds::CanaryOnly => report.hint(
                codes::ROUTE_ONE_SUBSET,
                &place,
                format!("it holds subset {} only", target.canary_subset),
                "Its callers reach the canary whatever the weight, and count in its readings.",
                "Keep it if that is meant, as for testers by a header.",
            ),
        }
    }
}

fn weights(report: &mut Report, under_way: bool, route: &RouteFacts, object: &str) {
    if route.total <= 0 {
        report.warning(
            codes::WEIGHT_NOTHING,
            object,
            "our two destinations hold 0 of it together",
            "What they hold together is kept: the canary never gets any of this route's traffic.",
            "Give production a weight above 0.",
        );
    } else if route.canary > 0 && !under_way {
        report.error(
            codes::WEIGHT_NOT_ZERO,
            object,
            format!("the canary has {} of {}, and no rollout is under way", route.canary, route.total),
            "A rollout starts only while the canary has no weight: before that there is nothing to compare with.",
            "Set the canary's weight to 0 and give production the rest.",
        );
    }
}

/// Steps that the route's weights are too small to express.
fn coarse(report: &mut Report, plan: &Plan, route: &RouteFacts, object: &str) {
    let seen = RouteSeen {
        total: route.total,
        ..RouteSeen::default()
    };
    let below = plan
        .steps
        .iter()
        .map(|step| step.weight)
        .filter(|weight| *weight < 100);
    let above = |weight: &u8| seen.percent_at(*weight) > weight.saturating_add(1);
    let Some(weight) = below.into_iter().find(above).filter(|_| route.total > 0) else {
        return;
    };
    report.warning(
        codes::WEIGHT_COARSE,
        object,
        format!(
            "our two destinations hold {} together, and {weight} % of it is at least {} %",
            route.total,
            seen.percent_at(weight)
        ),
        "Weights are whole numbers: the canary gets more than the step says, and a raise to everything is refused.",
        "Give production 100 and the canary 0.",
    );
}

fn blurs(report: &mut Report, route: &RouteFacts, object: &str) {
    if let Some(retries) = route.retries.as_ref().filter(|retries| retries.attempts > 0) {
        let hides = retries
            .on
            .split(',')
            .map(str::trim)
            .any(|on| HIDING.contains(&on));
        let what = format!(
            "failed requests are sent again up to {} times{}",
            retries.attempts,
            if retries.on.is_empty() {
                String::new()
            } else {
                format!(", on {}", retries.on)
            },
        );
        let why = "Where the callers count, a failure that was retried well is no failure; where the pods count, one \
                   request is several. Limits mean something else than they seem to.";
        let remedy = "Query the side you mean with reporter=\"source\" or reporter=\"destination\", or leave retries \
                      out while releasing.";
        if hides {
            report.warning(codes::RETRIES, object, what, why, remedy);
        } else {
            report.hint(codes::RETRIES, object, what, why, remedy);
        }
    }
    if !route.faults.is_empty() {
        report.warning(
            codes::FAULT_INJECTION,
            object,
            format!("requests are met with {}", route.faults.join(" and ")),
            "Injected faults count as the version's own where the callers count: a healthy canary is rolled back for them, \
             or a sick one hides behind them.",
            "Remove spec.http[].fault from this route before a release.",
        );
    }
}

fn gateways(report: &mut Report, inventory: &Inventory, plan: &Plan) {
    let ours: Vec<_> = inventory
        .virtual_services
        .found
        .iter()
        .filter(|s| s.name.namespace == inventory.name.namespace)
        .filter(|s| plan.target.virtual_services.contains(&s.name.name) && !s.routes.is_empty())
        .collect();
    let in_mesh = |s: &&VirtualServiceFacts| s.gateways.is_empty() || s.gateways.iter().any(|g| g == "mesh");
    let Some(first) = ours.first().filter(|_| !ours.iter().any(in_mesh)) else {
        return;
    };
    let callers = inventory
        .traffic
        .as_ref()
        .ok()
        .and_then(|traffic| traffic.from_mesh.as_ref().ok());
    let object = format!("VirtualService {}, spec.gateways", first.name.name);
    let what = format!("it has {} and not mesh", first.gateways.join(", "));
    let why = "Callers in the mesh do not see this route: they reach pods of both versions by their number, whatever the \
               weights say.";
    let remedy = "Add mesh to spec.gateways, and the service's own name to spec.hosts.";
    match callers {
        Some(rate) if *rate > 0.0 => report.warning(codes::GATEWAYS_WITHOUT_MESH, &object, what, why, remedy),
        Some(_) => {}
        None => report.hint(codes::GATEWAYS_WITHOUT_MESH, &object, what, why, remedy),
    }
}
