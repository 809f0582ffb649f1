//! A policy replayed over what the bed's own Prometheus has recorded.

use std::process::{Command, Output};
use std::time::Duration;

use birdwatch_bed::Bed;
use serde_json::{Value, json};

use crate::support::{Service, on_bed, program};

/// As long as traffic is recorded.
const RECORDED: Duration = Duration::from_mins(5);

fn backtest(bed: &Bed, arguments: &[&str]) -> Output {
    Command::new(program())
        .arg("backtest")
        .args(arguments)
        .args(["--prometheus", &bed.prometheus_url()])
        .env("KUBECONFIG", bed.kubeconfig())
        .output()
        .unwrap()
}

#[test]
fn faults_are_found_in_a_few_minutes_of_recorded_traffic() {
    on_bed(async |bed| {
        let service = Service::silent(bed, "replayed").await.with_traffic(50.0);
        service.behave("v1", 0.002).await;
        let step = |weight: u32| json!({"weight": weight, "hold": "15s"});
        let spec = json!({"steps": [step(20), step(50)], "maxWeight": 50, "checkInterval": "2s"});
        service.watch_seen(spec).await;
        tokio::time::sleep(RECORDED).await;
        // Named as in the cluster: production is what the DestinationRule says.
        let arguments = [
            "replayed/replayed",
            "--since",
            "5m",
            "--starts",
            "20",
            "--faults",
            "5%,20%",
        ];
        let with = |more: &[&'static str]| [&arguments[..], more].concat();
        let output = backtest(bed, &with(&["--no-search", "--output", "json"]));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let file = report["policies"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["name"] == "file");
        let file = file.unwrap();
        assert_eq!(report["production"], "v1");
        assert_eq!(file["healthy"]["runs"], 20, "{report:#}");
        assert!(file["healthy"]["rolledBack"].as_u64() <= Some(1), "{file:#}");
        let worst = &file["faults"][1];
        assert!(worst["rolledBack"].as_u64() >= Some(19), "{worst:#}");
        assert!(worst["seconds"]["median"].as_f64() < Some(30.0), "{worst:#}");
        let rate = report["traffic"]["requestsPerSecond"].as_f64().unwrap();
        assert!((25.0..75.0).contains(&rate), "{rate}");

        let output = backtest(bed, &with(&["--no-search"]));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("The policy in the file"),
            "{text}"
        );
        let output = backtest(bed, &["replayed/nobody", "--since", "3m"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("BirdWatch replayed/nobody"), "{told}");
    });
}
