//! What the metrics show in the life of a rollout, on the fake API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod controller_kit;

use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::runtime::lease::Leadership;
use controller_kit::fake_api::{Fault, Request};
use controller_kit::{BIRD_WATCHES, Kit, NS, Operator, bird_watch, is_status_write};
use serde_json::json;

/// The lines of metrics whose names begin so.
fn lines(operator: &Operator, name: &str) -> Vec<String> {
    let text = operator.metrics.text().unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(str::to_owned).collect()
}

/// An operator whose elector has told the metrics that it leads.
fn leading(kit: &Kit, name: &str) -> Operator {
    let operator = kit.operator(name);
    operator.metrics.leadership(true, "birdwatch", name);
    operator
}

fn weight(percent: u8) -> String {
    let labels = "watched_namespace=\"shop\",birdwatch=\"aleph\",production=\"v1\",canary=\"v2\"";
    format!("birdwatch_rollout_weight_percent{{{labels}}} {percent}")
}

fn decided(decision: &str) -> String {
    format!("birdwatch_decisions_total{{decision=\"{decision}\"}} ")
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_shown_while_it_is_under_way_and_its_decisions_are_counted() {
    let kit = Kit::new();
    let held = bird_watch("aleph", &json!({"interval": "30s"}));
    kit.api.put(BIRD_WATCHES, held);
    let operator = leading(&kit, "one");
    kit.until_weight(50).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(lines(&operator, "birdwatch_rollout_weight"), [weight(50)]);
    for family in ["reading{", "compared_with{", "limit{"] {
        assert_eq!(
            lines(&operator, &format!("birdwatch_rollout_{family}")).len(),
            1,
            "{family}"
        );
    }
    kit.until_phase(Phase::Promoted).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lines(&operator, "birdwatch_rollout_"), Vec::<String>::new());
    let id = kit.status("aleph").rollout.unwrap().id;
    for (decision, count) in [("step_raised", 2), ("promoted", 1)] {
        let line = lines(&operator, &decided(decision)).remove(0);
        let expected = format!("{}{count} # {{rollout=\"{id}\"}} 1.0 ", decided(decision));
        assert!(line.starts_with(&expected), "{line}");
    }
    for decision in ["rolled_back", "frozen", "superseded"] {
        assert_eq!(lines(&operator, &decided(decision)), [decided(decision) + "0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_without_an_answer_is_counted_once() {
    let kit = Kit::new();
    kit.bird_watch();
    let ends = |request: &Request| is_status_write(request) && request.body["status"]["phase"] == "Promoted";
    kit.api.inject(Fault::CutAfter, 1, ends);
    let operator = leading(&kit, "one");
    kit.until_phase(Phase::Promoted).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(kit.calls().iter().any(ends));
    for (decision, count) in [("step_raised", 2), ("promoted", 1)] {
        let line = lines(&operator, &decided(decision)).remove(0);
        assert!(
            line.starts_with(&format!("{}{count} # ", decided(decision))),
            "{line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_who_leads_shows_a_rollout_and_who_takes_over_shows_it_at_once() {
    let kit = Kit::new();
    let held = bird_watch("aleph", &json!({"interval": "1h"}));
    kit.api.put(BIRD_WATCHES, held);
    let first = leading(&kit, "one");
    kit.until_weight(50).await;
    first.leadership.send_replace(Leadership::Standby);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        lines(&first, "birdwatch_rollout_"),
        Vec::<String>::new(),
        "it is forgotten, whatever the elector says"
    );
    let second = leading(&kit, "two");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lines(&second, "birdwatch_rollout_weight"), [weight(50)]);
    assert_eq!(
        lines(&second, &decided("step_raised")),
        [decided("step_raised") + "0"],
        "what another decided is not counted twice"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_shown_no_more() {
    let kit = Kit::new();
    kit.bird_watch();
    let operator = leading(&kit, "one");
    kit.until_weight(50).await;
    kit.api.delete(BIRD_WATCHES, (NS, "aleph"));
    kit.until_gone().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lines(&operator, "birdwatch_rollout_"), Vec::<String>::new());
    let line = lines(&operator, &decided("rolled_back")).remove(0);
    assert!(line.starts_with(&(decided("rolled_back") + "1 # ")), "{line}");
}
