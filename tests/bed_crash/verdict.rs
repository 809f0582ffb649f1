//! What a run left behind, and in what it differs from one that nothing befell. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::end::End;
use crate::operator::Life;
use crate::stage::Stage;

/// What the operator says of a lowering that it finds and that only it can have written.
const BEFORE: &str = "this operator, before it was restarted";

/// What a run left behind, and what was seen of it on the way.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) objects: Value,
    pub(crate) weights: Vec<i64>,
    pub(crate) labels: Vec<(String, String)>,
    /// Every message that Slack took.
    pub(crate) told: Vec<String>,
    pub(crate) lives: Vec<Life>,
    /// It was killed where a reason may be lost.
    pub(crate) may_lose_reason: bool,
}

impl Seen {
    /// Looks at a stage.
    pub(crate) fn of(stage: &Stage) -> Self {
        let messages = stage.slack.messages();
        let told = messages.iter().map(|message| {
            // A parent shows what is true when it is posted; whose it is stands in its first line.
            let lines = if message.thread_ts.is_none() {
                1
            } else {
                usize::MAX
            };
            let text: Vec<&str> = message.posted_text.lines().take(lines).collect();
            general(&text.join("\n"), &stage.namespace)
        });
        let parent = messages.iter().rfind(|message| message.thread_ts.is_none());
        let parent = parent.map(|parent| general(&parent.text, &stage.namespace));
        let bird_watch = if stage.end == End::Delete {
            Value::Null
        } else {
            bird_watch(&stage.bird_watch.last().unwrap_or_default())
        };
        let objects = json!({
            "BirdWatch": bird_watch,
            "VirtualService": of_people(&stage.service.last().unwrap_or_default()),
            "DestinationRule": of_people(&stage.rule.last().unwrap_or_default()),
            "Slack": parent,
        });
        let mut objects = objects.to_string();
        for id in ids(&stage.status()) {
            objects = objects.replace(&id, "ID");
        }
        let mut objects: Value = serde_json::from_str(&general(&objects, &stage.namespace)).unwrap();
        forget_chance(&mut objects);
        Self {
            objects,
            weights: stage.weights(),
            labels: stage.labels(),
            told: told.collect(),
            lives: stage.operator.lives(),
            may_lose_reason: false,
        }
    }

    /// Whether all is as in a run that nothing befell, and told.
    pub(crate) fn is_like(&self, expected: &Self) -> bool {
        if self.lost_its_reason() {
            return essence(&self.objects) == essence(&expected.objects);
        }
        self.objects == expected.objects && self.told.len() >= expected.told.len()
    }

    /// Whether the operator died after it gave traffic back and before status said why: lowering comes first, and the
    /// next operator knows only that it was the one before.
    pub(crate) fn lost_its_reason(&self) -> bool {
        self.may_lose_reason && self.told.iter().any(|text| text.contains(BEFORE))
    }

    /// The same, but that the canary's label stays where it was put: giving it back was refused.
    pub(crate) fn with_its_label(&self) -> Self {
        let mut seen = self.clone();
        drop(seen.labels.pop());
        let label = seen.labels.last().map(|(_, canary)| canary.clone());
        seen.objects["DestinationRule"]["spec"]["subsets"][1]["labels"]["version"] = json!(label);
        seen
    }

    /// Whether the labels of both subsets changed as they do on the way to this end.
    pub(crate) fn has_labels_of(&self, end: End) -> bool {
        let labels = self.labels.iter().map(|(p, c)| (p.as_str(), c.as_str()));
        labels.eq(end.labels().iter().copied())
    }

    /// Every promise that is broken, where `expected` is a run that nothing befell.
    pub(crate) fn broken(&self, end: End, expected: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        let (meant, found) = if self.lost_its_reason() {
            (essence(&expected.objects), essence(&self.objects))
        } else {
            (expected.objects.clone(), self.objects.clone())
        };
        let mut different = Vec::new();
        differences("", &meant, &found, &mut different);
        if !different.is_empty() {
            broken.push(format!("another end: {}", different.join("; ")));
        }
        if self.weights != end.weights() {
            broken.push(format!("weights {:?}, not {:?}", self.weights, end.weights()));
        }
        if self.labels != expected.labels {
            broken.push(format!("labels {:?}, not {:?}", self.labels, expected.labels));
        }
        broken.extend(self.misheard(expected));
        broken
    }

    /// Notices that were told more often than meant.
    pub(crate) fn twice(&self, expected: &Self) -> Vec<String> {
        let meant = count(&expected.told);
        let surplus = count(&self.told).into_iter().flat_map(|(text, times)| {
            let once = meant.get(&text).copied().unwrap_or(times);
            vec![text; times.saturating_sub(once)]
        });
        surplus.collect()
    }

    /// Notices that were lost, that nobody should have heard, or that were told too often.
    fn misheard(&self, expected: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        let (heard, meant) = (count(&self.told), count(&expected.told));
        for (text, times) in &meant {
            let gives_reason = ["unhealthy", "rolled back", "given up"]
                .iter()
                .any(|word| text.contains(word));
            if heard.get(text).unwrap_or(&0) < times && !(gives_reason && self.lost_its_reason()) {
                broken.push(format!("a notice is lost: {text:?}"));
            }
        }
        let is_excused = |text: &str| self.may_lose_reason && text.contains(BEFORE);
        let unknown = heard
            .keys()
            .filter(|text| !meant.contains_key(*text) && !is_excused(text));
        broken.extend(unknown.map(|text| format!("an unknown notice: {text:?}")));
        let twice = self.twice(expected);
        // Promise 10: at most one duplicate after a crash.
        let crashes = self.lives.len() - 1;
        if twice.len() > crashes {
            broken.push(format!("told twice at {crashes} crashes: {twice:?}"));
        }
        broken
    }
}

/// How often each was told.
fn count(told: &[String]) -> BTreeMap<String, usize> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for text in told {
        *count.entry(text.clone()).or_default() += 1;
    }
    count
}

/// An end without its reasons: where traffic goes, what is released, what is ours in the objects.
fn essence(objects: &Value) -> Value {
    let mut essence = objects.clone();
    essence["Slack"] = Value::Null;
    let status = &objects["BirdWatch"]["status"];
    let ended = status["ended"].as_array().into_iter().flatten();
    let versions: Vec<&Value> = ended.map(|end| &end["canary"]).collect();
    let of = |name: &str| status[name].clone();
    if !status.is_null() {
        essence["BirdWatch"]["status"] = json!({
            "phase": of("phase"), "weight": of("weight"), "attempts": of("attempts"), "canary": of("canary"),
            "promotedVersion": of("promotedVersion"), "ended": versions,
        });
    }
    essence
}

/// A text without what differs from run to run.
fn general(text: &str, namespace: &str) -> String {
    text.replace(namespace, "NAMESPACE")
}

/// The ids of all rollouts that a status knows.
fn ids(status: &Value) -> Vec<String> {
    let ended = status["ended"].as_array().into_iter().flatten();
    let all = ended.chain([&status["rollout"]]);
    all.filter_map(|rollout| Some(rollout["id"].as_str()?.to_owned()))
        .collect()
}

/// Takes out what differs from run to run though the end is the same: instants, identities, how often it was looked.
fn forget_chance(value: &mut Value) {
    const CHANCE: [&str; 13] = [
        "at",
        "canaryLabelAt",
        "clock",
        "confirmedAt",
        "hadWeightUntil",
        "history",
        "lastCheck",
        "lastTransitionTime",
        "productionLabelAt",
        "started",
        "told",
        "ts",
        "uid",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                !(CHANCE.contains(&name.as_str()) || name == "ended" && value.is_string())
            });
            fields.values_mut().for_each(forget_chance);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_chance),
        _ => {}
    }
}

/// What people put into an object and what we did to it.
fn of_people(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "annotations": metadata["annotations"], "labels": metadata["labels"], "finalizers": metadata["finalizers"],
        "spec": object["spec"],
    })
}

fn bird_watch(object: &Value) -> Value {
    let mut shown = of_people(object);
    shown["status"] = object["status"].clone();
    only_the_end_of_earlier_threads(&mut shown["status"]);
    shown
}

/// The parent message of an earlier rollout shows its last readings or only why it ended, as the next began after the last edit
/// or before.
fn only_the_end_of_earlier_threads(status: &mut Value) {
    let present = status["rollout"]["id"].clone();
    let threads = status["notices"]["threads"].as_array_mut();
    for thread in threads
        .into_iter()
        .flatten()
        .filter(|thread| thread["rollout"] != present)
    {
        let shown = thread["shown"].as_str().unwrap_or_default();
        thread["shown"] = json!(shown.split('*').nth_back(1));
    }
}

/// Where two values differ.
fn differences(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)))
            {
                differences(&format!("{path}/{key}"), &left[key], &right[key], found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}/{index}"), one, other, found);
            }
        }
        _ if left != right => found.push(format!("{path} is {right}, not {left}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const LIFE: Life = Life {
        from: Timestamp::UNIX_EPOCH,
        to: None,
    };
    const END: End = End::Rollback;

    fn as_meant() -> Seen {
        let status = json!({"phase": "RolledBack", "weight": 0, "message": "errors is 1"});
        Seen {
            objects: json!({"BirdWatch": {"finalizers": null, "status": status}, "Slack": "it is over"}),
            weights: END.weights().to_vec(),
            labels: END
                .labels()
                .iter()
                .map(|(production, canary)| ((*production).to_owned(), (*canary).to_owned()))
                .collect(),
            told: ["a parent", "weight 20 %", "v2 unhealthy", "v2 rolled back"]
                .map(str::to_owned)
                .to_vec(),
            lives: vec![LIFE],
            may_lose_reason: false,
        }
    }

    /// The first objection to a run that differs from what was meant in this.
    fn objection(spoil: impl FnOnce(&mut Seen)) -> String {
        let mut seen = as_meant();
        spoil(&mut seen);
        seen.broken(END, &as_meant()).join("; ")
    }

    #[test]
    fn whatever_a_run_does_otherwise_is_objected_to() {
        assert_eq!(objection(|_| ()), "");
        let skipped = objection(|seen| seen.weights = vec![0, 50, 0]);
        assert!(skipped.contains("weights [0, 50, 0]"), "{skipped}");
        let repeated = objection(|seen| seen.weights = vec![0, 20, 0, 20, 50, 0]);
        assert!(repeated.contains("weights"), "{repeated}");
        let labels = objection(|seen| drop(seen.labels.pop()));
        assert!(labels.contains("labels"), "{labels}");
        assert!(as_meant().has_labels_of(END) && !as_meant().has_labels_of(End::Promote));
        let finalizer = objection(|seen| seen.objects["BirdWatch"]["finalizers"] = json!(["ours"]));
        assert!(finalizer.contains("/BirdWatch/finalizers"), "{finalizer}");
        let reason = objection(|seen| seen.objects["BirdWatch"]["status"]["message"] = json!("why?"));
        assert!(reason.contains("/BirdWatch/status/message"), "{reason}");
    }

    #[test]
    fn of_an_earlier_thread_only_the_end_counts() {
        let of = |shown: &str| {
            let threads = json!([{"rollout": "one", "shown": shown}, {"rollout": "two", "shown": shown}]);
            let mut status = json!({"rollout": {"id": "two"}, "notices": {"threads": threads}});
            only_the_end_of_earlier_threads(&mut status);
            status["notices"]["threads"].clone()
        };
        let long = "*shop/aleph*: v1 → v2\n░░ 0 %  *RolledBack*\nerrors: 1\nerrors is 1, baseline 0";
        let short = of("*shop/aleph*: v1 → v2\n*RolledBack* errors is 1, baseline 0");
        assert_eq!(of(long)[0], short[0]);
        assert_ne!(of(long)[1], short[1]);
        assert_eq!(short[0]["shown"], "RolledBack");
    }

    #[test]
    fn a_notice_is_told_once_and_after_a_crash_at_most_twice() {
        let lost = objection(|seen| drop(seen.told.remove(1)));
        assert!(lost.contains("lost: \"weight 20 %\""), "{lost}");
        let unknown = objection(|seen| seen.told.push("weight 80 %".into()));
        assert!(unknown.contains("unknown notice"), "{unknown}");
        let again = |seen: &mut Seen| seen.told.push("weight 20 %".into());
        assert!(objection(again).contains("told twice at 0 crashes"));
        let crash = |seen: &mut Seen| seen.lives.push(LIFE);
        let once = objection(|seen| {
            crash(seen);
            again(seen);
        });
        assert_eq!(once, "");
        let twice = objection(|seen| {
            crash(seen);
            again(seen);
            again(seen);
        });
        assert!(twice.contains("told twice at 1 crashes"), "{twice}");
    }

    #[test]
    fn that_the_operator_before_did_it_is_an_unknown_notice_where_no_reason_may_be_lost() {
        let blamed = |seen: &mut Seen| seen.told.push(format!("{BEFORE}, lowered it"));
        let never = objection(blamed);
        assert!(never.contains("unknown notice"), "{never}");
        let crashed = |seen: &mut Seen| {
            blamed(seen);
            seen.lives.push(LIFE);
        };
        let elsewhere = objection(crashed);
        assert!(elsewhere.contains("unknown notice"), "{elsewhere}");
        let between = objection(|seen| {
            crashed(seen);
            seen.may_lose_reason = true;
        });
        assert_eq!(between, "");
    }

    #[test]
    fn a_reason_may_be_lost_by_a_crash_alone_and_the_end_may_not() {
        let otherwise = |seen: &mut Seen| {
            seen.told.truncate(2);
            seen.told
                .push(format!("v2 rolled back to v1: {BEFORE}, lowered it"));
            seen.objects["BirdWatch"]["status"]["message"] = json!(BEFORE);
        };
        assert!(objection(otherwise).contains("lost"));
        let elsewhere = objection(|seen| {
            otherwise(seen);
            seen.lives.push(LIFE);
        });
        assert!(elsewhere.contains("lost"), "not between the two: {elsewhere}");
        let crashed = |seen: &mut Seen| {
            otherwise(seen);
            seen.lives.push(LIFE);
            seen.may_lose_reason = true;
        };
        assert_eq!(objection(crashed), "");
        let elsewhere = objection(|seen| {
            crashed(seen);
            seen.objects["BirdWatch"]["status"]["phase"] = json!("Frozen");
        });
        assert!(elsewhere.contains("/BirdWatch/status/phase"), "{elsewhere}");
    }
}
