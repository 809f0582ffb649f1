//! Make before break, with an istiod that stands still when it should hear of a label (q).

use std::time::Duration;

use birdwatch_bed::part::Part;
use futures::{StreamExt, TryStreamExt};
use kube::runtime::watcher::watch_object;
use tokio::time::Instant;

use crate::alone_on_bed;
use crate::hands::ISTIO;
use crate::order::{Release, answered};
use crate::recorded::{Envoy, Seen};
use crate::support::{A_WHILE, Service, eventually, held};

/// How long istiod stands still.
const PAUSE: Duration = Duration::from_secs(10);

/// Goes on when this is dropped, whatever has happened.
struct Paused(&'static Part);

impl Paused {
    fn pause(part: &'static Part) -> Self {
        part.pause().unwrap();
        Self(part)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // Fails where it has ended: then nothing has to go on.
        let _ = self.0.resume();
    }
}

/// How things stood at the end of a pause.
#[derive(Debug)]
struct AtResume {
    written: (i64, i64),
    envoy: Seen,
}

/// Pauses istiod at each of two writes of a label, until the weights that follow it are written, and ten seconds at
/// least.
async fn pause_at_labels(service: &Service, envoy: &Envoy) -> Vec<AtResume> {
    let rules = watch_object(service.dynamic(ISTIO, "DestinationRule"), &service.app.name);
    let mut rules = rules
        .map_ok(|rule| rule.map(|rule| rule.data["spec"]["subsets"].clone()))
        .boxed();
    let mut known = None;
    let mut pauses = Vec::new();
    while pauses.len() < 2 {
        let subsets = rules.next().await.unwrap().unwrap();
        if known
            .replace(subsets.clone())
            .is_none_or(|before| before == subsets)
        {
            continue;
        }
        let istiod = Paused::pause(&service.bed.istiod);
        let (since, before) = (Instant::now(), service.weights().await);
        eventually("the weights that follow a label", A_WHILE, async || {
            (service.weights().await != before && since.elapsed() > PAUSE).then_some(())
        })
        .await;
        pauses.push(AtResume {
            written: service.weights().await,
            envoy: envoy.now().unwrap(),
        });
        drop(istiod);
    }
    pauses
}

#[test]
fn q_no_error_and_no_such_answer_with_istiod_paused_for_ten_seconds_at_each_label_write() {
    alone_on_bed(async |bed| {
        let mut service = Service::silent(bed, "q-paused").await.with_traffic(100.0);
        answered(&service).await;
        let envoy = Envoy::record(&service);
        service.watch_for(held(&[(50, "1s")])).await;
        let (release, pauses) = tokio::join!(
            Release::run(&service, &envoy, "v1", "v2"),
            pause_at_labels(&service, &envoy)
        );
        let samples = service.traffic.take().unwrap().stop().await;
        release.judge(&samples);
        // Envoy had not heard of the weights either: label and weights reached it together.
        let [canary, production] = &pauses[..] else {
            panic!("{pauses:?}")
        };
        assert_eq!((canary.written, canary.envoy.canary), ((50, 50), 0), "{pauses:?}");
        assert_eq!(
            (production.written, production.envoy.canary),
            ((100, 0), 100),
            "{pauses:?}"
        );
    });
}
