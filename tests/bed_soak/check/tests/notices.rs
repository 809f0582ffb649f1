//! What people are told, and what not.

use super::*;

#[test]
fn a_notice_that_is_lost_or_told_twice_without_a_reason_is_found() {
    let words = "v2 is production now, instead of v1";
    assert_says(&found(|e| e.retain(|(at, _)| *at != 141)), "nobody was told that");
    let again = |e: &mut Vec<(i64, What)>| e.push((150, What::Told(words.into())));
    assert_says(&found(again), "told 2 times, with 0 excuses");
    assert_eq!(found_with(fault(Part::Operator, 140, 142), again), "");
    assert_says(
        &found_with(fault(Part::Slack, 140, 142), again),
        "told 2 times, with 0 excuses",
    );
    let thrice = |e: &mut Vec<(i64, What)>| {
        again(e);
        again(e);
    };
    assert_says(
        &found_with(fault(Part::Operator, 140, 152), thrice),
        "told 3 times, with 1 excuses",
    );
    let notice = json!({"id": 1, "rollout": "r", "kind": "Step", "text": "", "at": "2026-11-21T00:00:00Z"});
    for (notices, words) in [
        (json!({"lost": 2}), "2 notices were lost"),
        (json!({"pending": [notice]}), "1 notices still wait"),
    ] {
        let left = |e: &mut Vec<(i64, What)>| {
            for (_, what) in e.iter_mut().filter(|(at, _)| *at == 216) {
                if let What::Status(status) = what {
                    status.notices = serde_json::from_value(notices.clone()).unwrap();
                }
            }
        };
        assert_says(&found(left), words);
    }
    // A process that came again is an excuse, one that was there all the time is none.
    let mut events = as_it_should_be();
    again(&mut events);
    let mut history = history(events);
    let alive = |pid: u32, second: i64| Rss {
        pid,
        at: at(second),
        kib: 50_000,
    };
    history.memory = vec![alive(1, 0), alive(1, 148)];
    assert_says(&broken(&history).join("\n"), "told 2 times, with 0 excuses");
    history.memory.push(alive(2, 148));
    assert_eq!(broken(&history), [""; 0]);
}
