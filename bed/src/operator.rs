//! The operator on the bed: its chart, installed as its users do.

use std::path::{Path, PathBuf};

use crate::{Bed, infra::Error, parts::operator_image::REPOSITORY};

/// The release, and the namespace it is installed into.
pub const NAME: &str = "birdwatch";
/// The token the operator gets for the Slack stand-in, and the one that takes.
pub const SLACK_TOKEN: &str = "xoxb-bed";

/// The top of the source tree this was built from.
#[must_use]
pub fn root() -> &'static Path {
    let bed = Path::new(env!("CARGO_MANIFEST_DIR"));
    bed.parent().unwrap_or(bed)
}

/// The chart's directory.
#[must_use]
pub fn chart() -> PathBuf {
    root().join("charts/birdwatch")
}

impl Bed {
    /// Installs or upgrades the chart with the bed's settings (scrape interval 1 s, propagation delay 2 s, Slack to the
    /// stand-in), then with `more` arguments for helm, such as `--set` and `replicas=1`. Returns when the operator's
    /// Deployment is available.
    pub async fn install_operator(&self, more: &[&str]) -> Result<(), Error> {
        let chart = chart();
        let chart = chart.to_string_lossy();
        let values = [
            format!("image.repository={REPOSITORY}"),
            "image.tag=bed".into(),
            format!("slackToken={SLACK_TOKEN}"),
            format!("slackUrl={}", self.slack.api_url()),
            format!("prometheusUrl={}", self.prometheus_url()),
            "scrapeInterval=1s".into(),
            "propagationDelay=2s".into(),
        ];
        let mut args = vec![
            "upgrade",
            "--install",
            NAME,
            &chart,
            "--namespace",
            NAME,
            "--create-namespace",
        ];
        for value in &values {
            args.extend(["--set-string", value]);
        }
        args.extend(more);
        self.helm(args).await?;
        let wait = [
            "wait",
            "deployment",
            "--all",
            "--for=condition=Available",
            "--timeout=60s",
            "--namespace",
            NAME,
        ];
        self.kubectl(wait).await?;
        Ok(())
    }
}
