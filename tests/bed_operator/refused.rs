//! The API server refuses every bad spec, by name of the field (behaviour m).

use kube::Client;
use serde_json::Value;

use crate::bad_specs;
use crate::replicas::short_lease;
use crate::support::on_bed;

/// What a server says to an object it is only asked about: the warnings of an answer that accepts, or the refusal.
async fn ask(client: &Client, object: &Value) -> Result<Vec<String>, String> {
    let request = http::Request::post(
        "/apis/otomato.link/v1alpha1/namespaces/default/birdwatches?dryRun=All&fieldValidation=Strict",
    );
    let request = request
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object).unwrap().into())
        .unwrap();
    let response = client.send(request).await.unwrap();
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        let warnings = head.headers.get_all("warning").iter();
        return Ok(warnings.map(|w| w.to_str().unwrap().to_owned()).collect());
    }
    let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
    Err(body["message"].as_str().unwrap().to_owned())
}

#[test]
fn m_every_bad_spec_is_refused_with_the_field_and_what_to_do() {
    short_lease();
    on_bed(async |bed| {
        let client = bed.client().unwrap();
        let (mut wrong, bad) = (Vec::new(), bad_specs::bad());
        assert!(bad.len() >= 60, "{} are too few", bad.len());
        for case in &bad {
            match ask(&client, &case.object()).await {
                Ok(_) => wrong.push(format!("{}: accepted", case.what)),
                Err(refusal) => {
                    let missing = case.missing_in(&refusal);
                    if !missing.is_empty() {
                        wrong.push(format!("{}: {missing:?} is not in: {refusal}", case.what));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "of {}:\n{}", bad.len(), wrong.join("\n"));
    });
}

#[test]
fn m_every_good_one_is_accepted_without_a_warning() {
    short_lease();
    on_bed(async |bed| {
        let client = bed.client().unwrap();
        for object in bad_specs::good() {
            let name = &object["metadata"]["name"];
            assert_eq!(ask(&client, &object).await, Ok(Vec::new()), "{name}: {object}");
        }
    });
}
