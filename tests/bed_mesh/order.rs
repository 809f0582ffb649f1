//! Make before break (q): under load nobody gets an error, and nobody an answer from a version that has no weight.

use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch_bed::parts::traffic::{Sample, Summary};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::on_bed;
use crate::recorded::{Envoy, Seen, first_sent};
use crate::support::{A_WHILE, SOON, Service, eventually, held};

/// From Envoy's word that it has new weights until its worker goes by them.
const WORKER: Duration = Duration::from_millis(500);

/// One release under load, as it was seen from outside.
pub(crate) struct Release {
    /// The old one and the new one.
    versions: [&'static str; 2],
    /// Its first answer that counts, and the first that counts no more.
    span: std::ops::Range<Instant>,
    /// The first request that gave the new version weight came in.
    raised: Timestamp,
    /// Envoy gave the old version nothing.
    full: Instant,
}

/// Waits until the mesh has learned of the service: before that Envoy has nobody to ask.
pub(crate) async fn answered(service: &Service) {
    eventually("the old version answers", SOON, async || {
        let samples = service.traffic.as_ref()?.samples();
        samples.last().filter(|s| s.status == Some(200)).map(|_| ())
    })
    .await;
}

impl Release {
    /// Releases `new`, which the `BirdWatch` waits for, and waits until it is production.
    pub(crate) async fn run(service: &Service, envoy: &Envoy, old: &'static str, new: &'static str) -> Self {
        let (mark, begin) = (service.mark(), Instant::now());
        service.deploy(new, &[]).await;
        service
            .until(&format!("{new} promoted"), A_WHILE, |status| {
                status.phase == Phase::Promoted && status.promoted_version.as_deref() == Some(new)
            })
            .await;
        eventually("Envoy is back at production", SOON, async || {
            envoy.now().filter(|seen| seen.production == 100)
        })
        .await;
        let gives_new_all = |seen: &&Seen| seen.at > begin && seen.canary == 100;
        let seen = envoy.seen();
        let full = seen.iter().find(gives_new_all).expect("Envoy was at 0/100").at;
        Self {
            versions: [old, new],
            span: begin..Instant::now(),
            raised: first_sent(service, mark, "virtualservices").unwrap(),
            full,
        }
    }

    /// Which versions may answer this request.
    fn allowed(&self, sample: &Sample) -> &[&'static str] {
        if sample.time + sample.took < self.raised {
            &self.versions[..1]
        } else if sample.at > self.full + WORKER {
            &self.versions[1..]
        } else {
            &self.versions
        }
    }

    /// Holds all answers of its span against what was allowed.
    pub(crate) fn judge(&self, samples: &[Sample]) {
        let mine: Vec<_> = samples.iter().filter(|s| self.span.contains(&s.at)).collect();
        let wrong = mine.iter().filter(|sample| {
            let version = sample.version.as_deref().unwrap_or("nobody");
            sample.status != Some(200) || !self.allowed(sample).contains(&version)
        });
        let wrong: Vec<_> = wrong.take(10).collect();
        let Self {
            versions,
            raised,
            full,
            ..
        } = self;
        assert!(
            wrong.is_empty(),
            "{versions:?}: raised {raised}, all traffic since {full:?}\n{wrong:#?}\n{:#?}",
            Summary::of(samples)
        );
        let only = |version: &[&str]| mine.iter().filter(|s| self.allowed(s) == version).count();
        let (before, after) = (only(&versions[..1]), only(&versions[1..]));
        assert!(
            before > 100 && after > 100 && mine.len() > before + after,
            "{before} before, {after} after, of {}",
            mine.len()
        );
    }
}

#[test]
fn q_no_error_and_no_answer_of_a_version_without_weight_in_two_releases_under_load() {
    on_bed(async |bed| {
        let mut service = Service::silent(bed, "q").await.with_traffic(100.0);
        answered(&service).await;
        let envoy = Envoy::record(&service);
        service.watch_for(held(&[(20, "1s"), (50, "1s")])).await;
        let releases = [
            Release::run(&service, &envoy, "v1", "v2").await,
            Release::run(&service, &envoy, "v2", "v3").await,
        ];
        let samples = service.traffic.take().unwrap().stop().await;
        for release in releases {
            release.judge(&samples);
        }
    });
}
