//! Looks at what runs: Envoy's weights, the load's answers, the operator's memory and Slack.

use std::collections::BTreeMap;
use std::time::Duration;

use birdwatch_bed::parts::traffic::Sample;
use birdwatch_bed::{Bed, clock, mesh, operator};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::time::sleep;

use crate::history::{Rss, What};
use crate::ledger::Ledger;
use crate::release::NAMESPACE;

/// How often it is looked at Envoy: a step lasts some seconds, and has to be seen.
const LOOK: Duration = Duration::from_millis(500);

/// Writes down what Envoy does with the requests for each service, again and again. One that does not answer shows nothing.
pub(crate) async fn on_envoy(bed: &Bed, ledger: &Ledger, services: &[String]) {
    loop {
        let asked = clock::now();
        if let Ok(dump) = bed.envoy_dump().await {
            let now = clock::now();
            for service in services {
                let host = format!("{service}.{NAMESPACE}.svc.cluster.local");
                let routes = mesh::routes_to(&host, &dump);
                let weights = routes
                    .first()
                    .map(|route| (route.weight("production"), route.weight("canary")));
                ledger.note(now, service, What::Envoy { asked, weights });
            }
        }
        sleep(LOOK).await;
    }
}

/// Writes down the memory of the operator's processes.
pub(crate) async fn on_memory(bed: &Bed, ledger: &Ledger) {
    let pods: Api<Pod> = Api::namespaced(bed.client().expect("a client"), operator::NAME);
    let mut names: Vec<String> = Vec::new();
    loop {
        if let Ok(listed) = pods.list(&ListParams::default()).await {
            names = listed.items.iter().map(kube::ResourceExt::name_any).collect();
        }
        for pid in names
            .iter()
            .flat_map(|name| bed.kubelet.pids(operator::NAME, name))
        {
            if let Some(kib) = rss(pid) {
                let at = clock::now();
                ledger.measured(Rss { pid, at, kib });
            }
        }
        sleep(Duration::from_secs(2)).await;
    }
}

fn rss(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Writes down what the load of a service was answered.
pub(crate) fn on_answers(ledger: &Ledger, service: &str, samples: Vec<Sample>) {
    for sample in samples {
        let what = What::Request {
            asked: sample.time,
            version: sample.version,
            status: sample.status,
        };
        ledger.note(sample.time + sample.took, service, what);
    }
}

/// Writes down the messages that Slack took, each into the thread of its service.
pub(crate) fn on_slack(bed: &Bed, ledger: &Ledger) {
    let mut threads = BTreeMap::new();
    for message in bed.slack.messages() {
        let service = message.channel_name.clone();
        match &message.thread_ts {
            None => drop(threads.insert(message.ts.clone(), service)),
            Some(parent) => {
                if let Some(service) = threads.get(parent) {
                    ledger.note(message.at, service, What::Told(message.posted_text));
                }
            }
        }
    }
}
