//! What each end must be, whatever other runs to it came to. Pure.

use birdwatch::api::status::Phase;
use birdwatch::api::{FINALIZER, VERB_ANNOTATION};
use birdwatch_bed::parts::apps::App;
use serde_json::{Map, Value, json};

use crate::end::End;
use crate::stage::SERVICE;
use crate::verdict::Seen;

/// Everything in which the end that was seen is another one than it must be.
pub(super) fn otherwise(end: End, seen: &Seen) -> Vec<String> {
    let (meant, found) = (meant(end), found(seen));
    let mut wrong: Vec<_> = meant
        .iter()
        .filter(|(name, value)| found[*name] != **value)
        .map(|(name, value)| format!("{name}: {}, not {value}", found[name]))
        .collect();
    for words in told(end) {
        let times = seen.told.iter().filter(|text| text.starts_with(&words)).count();
        if times != 1 {
            wrong.push(format!("told {times} times: {words:?}"));
        }
    }
    wrong
}

/// The objects as people made them, with what is ours in them, and what status says of all of it.
fn meant(end: End) -> Map<String, Value> {
    // Runs are told apart by their namespace.
    let app = App::new(SERVICE, "NAMESPACE");
    let weight = end
        .weights()
        .last()
        .and_then(|weight| u32::try_from(*weight).ok());
    let weight = weight.unwrap_or_default();
    let (production, canary) = end.labels().last().copied().unwrap_or_default();
    let objects = json!({
        "VirtualService": of_people(&app.virtual_service(100 - weight, weight)),
        "DestinationRule": of_people(&app.destination_rule(production, canary)),
    });
    let Value::Object(mut all) = objects else {
        return Map::new();
    };
    let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
    if end == End::Delete {
        put("BirdWatch", Value::Null);
        return all;
    }
    let mut spec = end.spec();
    spec["service"] = json!(SERVICE);
    let mut annotations = json!({"team": "birds"});
    if let Some(verb) = verb(end) {
        annotations[VERB_ANNOTATION] = json!(verb);
    }
    let finalizers = (weight > 0).then_some([FINALIZER]);
    let metadata = json!({"annotations": annotations, "finalizers": finalizers});
    put(
        "BirdWatch",
        of_people(&json!({"metadata": metadata, "spec": spec})),
    );
    let is_promoted = production == canary;
    put(
        "conditions",
        json!([if is_promoted { "Ready" } else { "Stalled" }]),
    );
    put("promotedVersion", json!(is_promoted.then_some(production)));
    put("canary", json!(canary));
    put("weight", json!(weight));
    put("step", json!(if is_promoted { "3/3" } else { "2/3" }));
    put(
        "attempts",
        json!(if matches!(end, End::Supersede | End::Retry) {
            2
        } else {
            1
        }),
    );
    put("verb", json!(verb(end).map(|verb| json!([verb, true]))));
    put("ended", json!(ended(end)));
    put("lost", json!(0));
    let phase = end.phase().map(Phase::as_str);
    put("phase", json!(phase));
    put("parent", json!(phase));
    all
}

/// The same of what was seen.
fn found(seen: &Seen) -> Value {
    let bird_watch = &seen.objects["BirdWatch"];
    let status = &bird_watch["status"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ended = list(&status["ended"]);
    let ended = ended
        .iter()
        .map(|end| json!([end["canary"]["version"], end["outcome"]]));
    let conditions = list(&status["conditions"]).into_iter();
    let hold = conditions.filter(|one| one["status"] == "True");
    let verb = &status["verb"];
    let people = json!({
        "annotations": bird_watch["annotations"], "labels": bird_watch["labels"],
        "finalizers": bird_watch["finalizers"], "spec": bird_watch["spec"],
    });
    // The second line of the parent message.
    let parent = seen.objects["Slack"]
        .as_str()
        .and_then(|text| text.split('*').nth(3));
    json!({
        "VirtualService": seen.objects["VirtualService"],
        "DestinationRule": seen.objects["DestinationRule"],
        "BirdWatch": if bird_watch.is_null() { Value::Null } else { people },
        "conditions": hold.map(|one| one["type"].clone()).collect::<Vec<_>>(),
        "promotedVersion": status["promotedVersion"],
        "canary": status["canary"],
        "weight": status["weight"],
        "step": status["step"],
        "attempts": status["attempts"],
        "verb": if verb.is_null() { Value::Null } else { json!([verb["value"], verb["accepted"]]) },
        "ended": ended.collect::<Vec<_>>(),
        "lost": status["notices"]["lost"],
        "phase": status["phase"],
        "parent": parent,
    })
}

/// What people may put into an object, and we with them.
fn of_people(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "annotations": metadata["annotations"], "labels": metadata["labels"], "finalizers": metadata["finalizers"],
        "spec": object["spec"],
    })
}

fn verb(end: End) -> Option<&'static str> {
    match end {
        End::Supersede => Some("promote/1"),
        End::Retry => Some("retry/1"),
        End::Promote | End::Rollback | End::Freeze | End::Delete => None,
    }
}

/// Versions, and how their rollouts ended.
fn ended(end: End) -> &'static [[&'static str; 2]] {
    match end {
        End::Promote => &[["v2", "Promoted"]],
        End::Rollback | End::Delete => &[["v2", "RolledBack"]],
        // It may go on.
        End::Freeze => &[],
        End::Supersede => &[["v2", "Superseded"], ["v3", "Promoted"]],
        End::Retry => &[["v2", "RolledBack"], ["v2", "Promoted"]],
    }
}

/// How that is told.
fn told(end: End) -> Vec<String> {
    let ends = ended(end).iter().map(|[version, outcome]| match *outcome {
        "Promoted" => format!("{version} is production now, instead of v1"),
        "RolledBack" => format!("{version} rolled back to v1: "),
        _ => format!("{version} given up at weight 0: "),
    });
    let frozen = (end == End::Freeze).then(|| "frozen at weight 50 %: ".to_owned());
    ends.chain(frozen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run to an end, in which everything is as it must be.
    fn seen(end: End) -> Seen {
        let mut all = Value::Object(meant(end));
        let phase = all["phase"].clone();
        let conditions = all["conditions"].as_array().cloned().unwrap_or_default();
        let conditions = conditions
            .iter()
            .map(|kind| json!({"type": kind, "status": "True"}));
        let ended = ended(end).iter();
        let ended =
            ended.map(|[version, outcome]| json!({"canary": {"version": version}, "outcome": outcome}));
        let mut status = json!({
            "conditions": conditions.collect::<Vec<_>>(), "ended": ended.collect::<Vec<_>>(), "notices": {"lost": 0},
        });
        for name in ["promotedVersion", "canary", "weight", "step", "attempts", "phase"] {
            status[name] = all[name].take();
        }
        if let Some(verb) = verb(end) {
            status["verb"] = json!({"value": verb, "accepted": true});
        }
        let mut objects = json!({
            "VirtualService": all["VirtualService"], "DestinationRule": all["DestinationRule"],
            "BirdWatch": all["BirdWatch"], "Slack": format!("*a/b*: v1 → v2\n░░ 0 %  *{}*", phase.as_str().unwrap_or("")),
        });
        if end != End::Delete {
            objects["BirdWatch"]["status"] = status;
        }
        Seen {
            objects,
            weights: Vec::new(),
            labels: Vec::new(),
            told: told(end).iter().map(|words| format!("{words}.")).collect(),
            lives: Vec::new(),
            may_lose_reason: false,
        }
    }

    /// What is said of a run to an end that differs in this.
    fn said(end: End, spoil: impl FnOnce(&mut Seen)) -> String {
        let mut seen = seen(end);
        spoil(&mut seen);
        otherwise(end, &seen).join("; ")
    }

    #[test]
    fn an_end_that_is_as_it_must_be_is_not_objected_to() {
        for end in End::ALL {
            assert_eq!(said(end, |_| ()), "", "{}", end.name());
        }
    }

    #[test]
    fn an_end_that_every_run_comes_to_and_is_wrong_is_found() {
        let spoilt = |end, pointer: &str, value: Value| {
            said(end, |seen| {
                let place = seen.objects.pointer_mut(pointer);
                *place.unwrap_or_else(|| panic!("no {pointer}")) = value;
            })
        };
        for (end, pointer, value) in [
            (End::Promote, "/BirdWatch/finalizers", json!([FINALIZER])),
            (End::Freeze, "/BirdWatch/finalizers", json!(null)),
            (End::Retry, "/BirdWatch/annotations", json!({"team": "birds"})),
            (End::Promote, "/BirdWatch/annotations/team", json!("cats")),
            (End::Promote, "/BirdWatch/spec/steps/0/weight", json!(30)),
            (
                End::Promote,
                "/BirdWatch/status/conditions/0/type",
                json!("Stalled"),
            ),
            (
                End::Rollback,
                "/BirdWatch/status/conditions/0/status",
                json!("False"),
            ),
            (End::Promote, "/BirdWatch/status/promotedVersion", json!("v1")),
            (End::Rollback, "/BirdWatch/status/weight", json!(50)),
            (End::Freeze, "/BirdWatch/status/weight", json!(0)),
            (End::Promote, "/BirdWatch/status/attempts", json!(2)),
            (End::Supersede, "/BirdWatch/status/verb/accepted", json!(false)),
            (
                End::Supersede,
                "/BirdWatch/status/ended/0/outcome",
                json!("RolledBack"),
            ),
            (End::Rollback, "/BirdWatch/status/notices/lost", json!(1)),
            (End::Rollback, "/BirdWatch/status/phase", json!("Idle")),
            (End::Promote, "/VirtualService/annotations", json!({"ours": "no"})),
            (
                End::Rollback,
                "/VirtualService/spec/http/0/route/1/weight",
                json!(20),
            ),
            (End::Delete, "/VirtualService/spec/hosts", json!([])),
            (
                End::Delete,
                "/DestinationRule/spec/subsets/1/labels/version",
                json!("v2"),
            ),
            (End::Delete, "/BirdWatch", json!({"finalizers": [FINALIZER]})),
            (
                End::Promote,
                "/Slack",
                json!("*a/b*: v1 → v2\n░░ 0 %  *Progressing*"),
            ),
        ] {
            assert_ne!(spoilt(end, pointer, value), "", "{} {pointer}", end.name());
        }
        let untold = said(End::Rollback, |seen| seen.told.clear());
        assert_eq!(untold, "told 0 times: \"v2 rolled back to v1: \"");
        let twice = said(End::Freeze, |seen| seen.told.extend(seen.told.clone()));
        assert_eq!(twice, "told 2 times: \"frozen at weight 50 %: \"");
    }
}
