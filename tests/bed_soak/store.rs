//! What the API server's store holds, read past the API server: no revision of an object is missed, whatever becomes of
//! the server that wrote it.

use std::time::Duration;

use birdwatch_bed::{Bed, clock};
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::history::What;
use crate::ledger::Ledger;

/// Where the `DestinationRules`, the `VirtualServices` and the `BirdWatches` lie, in this order.
const FROM: &str = "/registry/networking.istio.io/destinationrules/";
const TO: &str = "/registry/otomato.link0";

#[derive(Deserialize)]
struct Line {
    result: Batch,
}

#[derive(Deserialize)]
struct Batch {
    #[serde(default)]
    events: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    kv: Pair,
}

#[derive(Deserialize)]
struct Pair {
    key: ByteString,
    #[serde(default)]
    value: ByteString,
    mod_revision: String,
}

/// Writes every revision of the objects of the ledger's services into it, for as long as it is polled.
pub(crate) async fn follow(bed: &Bed, ledger: &Ledger) {
    let mut next = 1;
    loop {
        if let Err(error) = read(bed, ledger, &mut next).await {
            println!("the watch of the store broke, and is taken up again: {error}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read(bed: &Bed, ledger: &Ledger, next: &mut u64) -> Result<(), Box<dyn std::error::Error>> {
    let text = |key: &str| serde_json::to_value(ByteString(key.as_bytes().to_vec()));
    let ask = json!({"create_request": {
        "key": text(FROM)?, "range_end": text(TO)?, "start_revision": next.to_string(),
    }});
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/v3/watch", bed.etcd_url());
    let mut answer = client.post(url).json(&ask).send().await?.error_for_status()?;
    let mut buffer = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line: Line = serde_json::from_slice(&line)?;
            for Change { kv } in line.result.events {
                *next = kv.mod_revision.parse::<u64>()? + 1;
                note(ledger, &kv)?;
            }
        }
    }
    Ok(())
}

fn note(ledger: &Ledger, pair: &Pair) -> Result<(), Box<dyn std::error::Error>> {
    let key = String::from_utf8(pair.key.0.clone())?;
    let mut parts = key.split('/').skip(3);
    let (Some(resource), Some(_), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(());
    };
    if pair.value.0.is_empty() {
        return Ok(());
    }
    let what = match resource {
        "virtualservices" => weights(&serde_json::from_slice(&pair.value.0)?),
        "destinationrules" => labels(&serde_json::from_slice(&pair.value.0)?),
        "birdwatches" => {
            let object: Value = serde_json::from_slice(&pair.value.0)?;
            let status = serde_json::from_value(object["status"].clone()).unwrap_or_default();
            What::Status(Box::new(status))
        }
        _ => return Ok(()),
    };
    ledger.note(clock::now(), name, what);
    Ok(())
}

fn weights(object: &Value) -> What {
    let route = &object["spec"]["http"][0]["route"];
    let of = |subset: &str| {
        let mut all = route.as_array().into_iter().flatten();
        let found = all.find(|destination| destination["destination"]["subset"] == subset);
        found.map_or(0, |found| found["weight"].as_i64().unwrap_or(0))
    };
    What::Weights {
        production: of("production"),
        canary: of("canary"),
    }
}

fn labels(object: &Value) -> What {
    let of = |name: &str| {
        let mut all = object["spec"]["subsets"].as_array().into_iter().flatten();
        let found = all.find(|subset| subset["name"] == name);
        let label = found.and_then(|found| found["labels"]["version"].as_str());
        label.unwrap_or_default().to_owned()
    };
    What::Labels {
        production: of("production"),
        canary: of("canary"),
    }
}
