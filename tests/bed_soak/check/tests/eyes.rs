//! Those who look on, and what they see of the operator besides its releases.

use super::*;

#[test]
fn an_eye_that_saw_nothing_is_found() {
    assert_says(
        &found(|e| e.retain(|(_, what)| !matches!(what, What::Request { .. }))),
        "the load told nothing",
    );
    assert_says(
        &found(|e| e.retain(|(_, what)| !matches!(what, What::Told(_)))),
        "Slack told nothing",
    );
    assert_says(
        &found(|e| e.retain(|(_, what)| !matches!(what, What::Envoy { .. }))),
        "Envoy told nothing",
    );
    let mut unread = history(as_it_should_be());
    unread.writes = 0;
    assert_eq!(broken(&unread), ["the audit log told nothing"]);
}

#[test]
fn memory_that_grows_and_a_trespass_are_found() {
    let mut history = history(as_it_should_be());
    let grows = |pid: u32, kib: fn(u64) -> u64| {
        (0..60_i64).map(move |n| Rss {
            pid,
            at: at(10 * n),
            kib: kib(u64::try_from(n).unwrap()),
        })
    };
    history
        .memory
        .extend(grows(1, |n| if n < 6 { 20_000 + 5000 * n } else { 50_000 + n }));
    assert_eq!(broken(&history), [""; 0]);
    history.memory.extend(grows(2, |n| 50_000 + 1000 * n));
    assert_says(&broken(&history).join("\n"), "process 2 grew from");
    history.trespasses.push("the operator did delete pods".into());
    assert_says(&broken(&history).join("\n"), "the operator did delete pods");
}

#[test]
fn a_long_soak_that_left_something_out_is_found() {
    let left_out = |spoil: fn(&mut History)| {
        let mut history = history(as_it_should_be());
        history.is_long = true;
        history.faults.push(fault(Part::Slack, 1, 2));
        spoil(&mut history);
        broken(&history).join("\n")
    };
    // Nobody's memory was looked at.
    assert_eq!(left_out(|_| ()), "no process lived 2m: nobody saw its memory");
    let unseen = left_out(|history| {
        let at_50 = |event: &Event| {
            matches!(event.what, What::Envoy { .. }) && (at(117)..at(127)).contains(&event.at)
        };
        history.events.retain(|event| !at_50(event));
    });
    assert_says(&unseen, "no look at Envoy could be judged at 50 %");
    // One that had no time to learn of it says nothing either.
    let never_sure = left_out(|history| history.faults.push(fault(Part::ApiServer, 115, 130)));
    assert_says(&never_sure, "no look at Envoy could be judged at 50 %");
    let all_well = left_out(|history| {
        history
            .events
            .retain(|event| !matches!(event.what, What::Sick { .. }));
    });
    assert_says(&all_well, "no bad canary had traffic");
    assert_says(
        &left_out(|history| history.faults.clear()),
        "nothing was disturbed",
    );
}
