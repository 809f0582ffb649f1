//! The manifests, and what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use birdwatch::api::BirdWatch;
use birdwatch::controller::objects::RawBirdWatch;
use birdwatch::core::plan;
use birdwatch_bed::clock;
use birdwatch_bed::operator::chart;
use futures::{StreamExt as _, stream};
use jiff::SignedDuration;
use kube::Client;
use kube::api::{DeleteParams, ListParams};
use kube::client::Body;
use serde_json::{Value, json};

use crate::bad_specs::{bad, good};
use crate::corpus;
use crate::ground::on_ground;
use crate::mutate::Mutator;
use crate::named::{Wrong, differing};
use crate::neighbour::{Neighbour, SERVICE};

/// How many are sent at the same time.
const AT_ONCE: usize = 16;
/// How long the deletion of all may take, on a machine that is busy with others.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
const LOOK: Duration = Duration::from_millis(500);

/// How a client asks the server to treat unknown fields: as kubectl does, or as many others.
const VALIDATION: [&str; 3] = ["Strict", "Ignore", "Warn"];

/// Of so many one watches the service that is being released.
const INTRUDES: usize = 3;

/// The longest request that the API server reads, in bytes.
const MOST_READ: usize = 3 << 20;

struct Manifest {
    object: Value,
    validation: &'static str,
    wrong: Wrong,
}

/// What chance begins with: the same in every `cargo test`, another in every `make prove-manifests`.
fn seed() -> u64 {
    number("HOSTILE_SEED").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What the chart lets the operator have, in MiB. Nothing is set aside: all that it takes is in this process.
fn limit() -> u64 {
    let values = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
    limit.strip_suffix("Mi").unwrap().parse().unwrap()
}

/// Those made by chance, those that must be refused, and those that once failed. All of them are left in a file, for those
/// who look for one by its name.
fn manifests(namespace: &str) -> Vec<Manifest> {
    let count = usize::try_from(number("HOSTILE_MANIFESTS").unwrap_or(1200)).unwrap();
    println!("manifests: {count} made by chance, seed {}", seed());
    let (mut mutator, good) = (Mutator::new(seed()), good());
    let by_chance = (0..count).map(|n| {
        let from = mutator.one_of(&good).clone();
        let mut spec = mutator.json(&from["spec"]);
        if n % INTRUDES == 0 && spec["service"].is_string() {
            spec["service"] = json!(SERVICE);
        }
        let people = json!({"otomato.link/verb": "promote/1", "team": "birds"});
        let annotations = if n % 5 == 0 {
            mutator.json(&people)
        } else {
            people.clone()
        };
        let mut paths = differing(&from["spec"], &spec, "spec");
        paths.extend(differing(&people, &annotations, "metadata.annotations"));
        (spec, annotations, Wrong::Anywhere(paths))
    });
    let by_hand = bad()
        .into_iter()
        .map(|case| (case.spec, json!({}), Wrong::Said(case.says)));
    let kept = corpus::kept("specs").into_iter().map(|spec| {
        let others = good.iter().map(|other| differing(&other["spec"], &spec, "spec"));
        let nearest = others.min_by_key(Vec::len).unwrap();
        (spec, json!({}), Wrong::Anywhere(nearest))
    });
    let all: Vec<_> = by_chance.collect();
    let all: Vec<_> = all.into_iter().chain(by_hand).chain(kept).collect();
    let manifest = |(n, (spec, annotations, wrong)): (usize, (Value, Value, Wrong))| Manifest {
        wrong,
        object: json!({
            "apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch",
            "metadata": {"name": format!("bad-{n}"), "namespace": namespace, "annotations": annotations},
            "spec": spec,
        }),
        validation: VALIDATION[n % VALIDATION.len()],
    };
    let all: Vec<_> = all.into_iter().enumerate().map(manifest).collect();
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-manifests.json");
    let objects: Value = all.iter().map(|manifest| manifest.object.clone()).collect();
    std::fs::write(&file, objects.to_string()).unwrap();
    println!("manifests: {} in all, in {}", all.len(), file.display());
    all
}

/// What the server said: the stored object, or why not.
async fn create(client: &Client, namespace: &str, manifest: &Manifest) -> Result<Value, String> {
    let answer = create_by(client, namespace, manifest, manifest.validation).await;
    let (head, body) = match answer {
        // A warning for each unknown field, and more headers than a client reads.
        Err(error) if manifest.validation == "Warn" => create_by(client, namespace, manifest, "Ignore")
            .await
            .unwrap_or_else(|_| panic!("{error}")),
        answer => answer.unwrap(),
    }
    .into_parts();
    let answer: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
    if head.status.is_success() {
        return Ok(answer);
    }
    Err(answer["message"].as_str().unwrap_or_default().to_owned())
}

async fn create_by(
    client: &Client,
    namespace: &str,
    manifest: &Manifest,
    validation: &str,
) -> kube::Result<http::Response<Body>> {
    let request = http::Request::post(format!(
        "/apis/otomato.link/v1alpha1/namespaces/{namespace}/birdwatches?fieldValidation={validation}"
    ));
    let request = request.header("content-type", "application/json");
    let body = serde_json::to_vec(&manifest.object).unwrap();
    client.send(request.body(body.into()).unwrap()).await
}

/// What is missing in what people see of a `BirdWatch`.
fn unexplained(seen: &BirdWatch) -> Option<String> {
    let Some(status) = seen.status.as_ref().filter(|status| !status.message.is_empty()) else {
        return Some("no status".to_owned());
    };
    if status.observed_generation != seen.metadata.generation {
        return Some("a status of another generation".to_owned());
    }
    let raw: RawBirdWatch = serde_json::from_value(serde_json::to_value(seen).unwrap()).unwrap();
    let wrong = match raw.read_spec() {
        Ok(spec) => plan::resolve(&spec)
            .err()?
            .iter()
            .map(ToString::to_string)
            .collect(),
        Err(why) => vec![why],
    };
    let mut conditions = status.conditions.iter();
    let said = conditions.find(|condition| condition.kind == "SpecInvalid" && condition.status == "True");
    let said = said.map_or("", |condition| condition.message.as_str());
    let unsaid: Vec<_> = wrong.iter().filter(|wrong| !said.contains(*wrong)).collect();
    (!unsaid.is_empty()).then(|| format!("{unsaid:?} is not explained: {said:?}"))
}

/// Whether the API server read no further than it reads of any request.
fn is_too_large(manifest: &Manifest, refusal: &str) -> bool {
    refusal.contains("Request entity too large") && manifest.object.to_string().len() > MOST_READ
}

#[test]
fn a_thousand_bad_manifests_are_refused_or_explained_and_a_release_beside_them_is_promoted() {
    on_ground(async |ground| {
        let neighbour = Neighbour::new(ground).await;
        let all = manifests(&neighbour.namespace);
        let creating = stream::iter(&all).map(|manifest| {
            let (client, namespace) = (&neighbour.client, &neighbour.namespace);
            async move { (manifest, create(client, namespace, manifest).await) }
        });
        let mut answers = creating.buffer_unordered(AT_ONCE);
        let (mut refused, mut accepted, mut unnamed) = (0, 0, Vec::new());
        while let Some((manifest, answer)) = answers.next().await {
            match answer {
                Ok(_) => accepted += 1,
                Err(why) => {
                    if !manifest.wrong.is_named_by(&why) && !is_too_large(manifest, &why) {
                        let name = &manifest.object["metadata"]["name"];
                        unnamed.push(format!("{name}: {:.300?}: {why:.600}", manifest.wrong));
                    }
                    refused += 1;
                }
            }
            if refused + accepted == all.len() / 2 {
                neighbour.deploy().await;
            }
        }
        assert!(
            unnamed.is_empty(),
            "{} refusals do not name what is wrong, as\n{}",
            unnamed.len(),
            unnamed[..unnamed.len().min(10)].join("\n\n")
        );
        neighbour
            .until("the release beside them is promoted", || {
                neighbour.status()["phase"] == "Promoted" && neighbour.path().len() >= 4
            })
            .await;
        assert_eq!(neighbour.path(), [0, 50, 100, 0]);
        neighbour
            .until("all of them have a status", || {
                neighbour.status_writes().len() > accepted
            })
            .await;
        neighbour.silent().await;
        let explained = explained(&neighbour, accepted).await;
        let writes = neighbour.status_writes();
        let most = writes.iter().max_by_key(|(_, times)| **times).unwrap();
        println!(
            "proved: seed {}: {refused} manifests refused by the name of what was changed, {accepted} accepted: {explained} of them explained in status; \
             the release was promoted; at most {} writes of one status ({}); at most {} MB of memory",
            seed(),
            most.1,
            most.0,
            neighbour.most_memory()
        );
        assert!(refused > 0 && explained > 0 && accepted > explained);
        assert!(neighbour.most_memory() < limit(), "of {} MiB", limit());
        all_go(&neighbour).await;
    });
}

/// All have a status, and it says what is wrong with those that have something wrong; how many these are.
async fn explained(neighbour: &Neighbour, accepted: usize) -> usize {
    let listed = neighbour
        .bird_watches()
        .list(&ListParams::default())
        .await
        .unwrap();
    let others: Vec<_> = listed
        .items
        .into_iter()
        .filter(|one| one.metadata.name.as_deref() != Some(SERVICE))
        .collect();
    assert_eq!(others.len(), accepted);
    let objections: BTreeMap<_, _> = others
        .iter()
        .filter_map(|one| Some((one.metadata.name.clone()?, unexplained(one)?)))
        .collect();
    assert!(objections.is_empty(), "{objections:#?}");
    let is_invalid = |one: &&BirdWatch| {
        let mut conditions = one.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|c| c.kind == "SpecInvalid" && c.status == "True")
    };
    others.iter().filter(is_invalid).count()
}

/// None of them keeps a finalizer.
async fn all_go(neighbour: &Neighbour) {
    let api = neighbour.bird_watches();
    let (one, all) = (DeleteParams::default(), ListParams::default());
    api.delete_collection(&one, &all)
        .await
        .unwrap()
        .map_left(drop)
        .map_right(drop);
    let few = ListParams::default().limit(1);
    while let Some(left) = api.list_metadata(&few).await.unwrap().items.pop() {
        let since = left.metadata.deletion_timestamp;
        let waited = since.map(|since| clock::now().duration_since(since.0));
        assert!(waited < Some(PATIENCE), "{:?} does not go", left.metadata.name);
        tokio::time::sleep(LOOK).await;
    }
}
