//! Every crash point and every fault: a sample of them at every `make test`, all of them at `make prove`.

use crate::end::End;
use crate::fault::{Fault, Injection, LATE, Spot};
use crate::ground::on_ground;
use crate::series::{Measure, Results};
use crate::support::dice::Dice;

#[test]
fn killed_or_disturbed_at_a_sample_of_its_calls_every_rollout_ends_the_same() {
    on_ground(async |ground| {
        let mut dice = Dice::new();
        let mut below = |limit: usize| usize::try_from(dice.below(limit as u64)).unwrap();
        let first = below(End::ALL.len());
        let second = (first + 1 + below(End::ALL.len() - 1)) % End::ALL.len();
        let ends = [End::ALL[first], End::ALL[second]];
        let measures = Measure::all(ground, &ends).await;
        let mut planned = Vec::new();
        for measure in &measures {
            let kills = measure.of_calls().filter(|injection| injection.fault.kills());
            // Before one call, after another: an odd step through pairs.
            planned.extend(
                kills
                    .skip(below(3))
                    .step_by(5)
                    .map(|injection| (measure, injection)),
            );
        }
        let others = Fault::OF_CALLS.into_iter().chain(Fault::OF_PHASES);
        for fault in others.filter(|fault| !fault.kills() || *fault == Fault::StaleStart) {
            let measure = &measures[below(measures.len())];
            let all: Vec<Injection> = measure
                .of_calls()
                .chain(measure.of_phases())
                .filter(|injection| injection.fault == fault && injection.lasts() <= LATE)
                .collect();
            if !all.is_empty() {
                planned.push((measure, all[below(all.len())].clone()));
            }
        }
        longest_first(&mut planned);
        Results::of(ground, planned).await.check();
    });
}

/// The others take what these leave.
fn longest_first(planned: &mut [(&Measure, Injection)]) {
    planned.sort_by_key(|(_, injection)| std::cmp::Reverse(injection.lasts()));
}

#[test]
#[ignore = "long: `make prove` runs it"]
fn killed_or_disturbed_at_any_call_every_rollout_ends_the_same() {
    on_ground(async |ground| {
        let of = |name: &str| std::env::var(name).unwrap_or_default();
        let (ends, faults) = (of("BIRDWATCH_ENDS"), of("BIRDWATCH_FAULTS"));
        let wanted = |list: &str, name: &str| list.is_empty() || list.split(',').any(|one| one == name);
        let chosen: Vec<End> = End::ALL
            .into_iter()
            .filter(|end| wanted(&ends, end.name()))
            .collect();
        let measures = Measure::all(ground, &chosen).await;
        for measure in &measures {
            println!(
                "{}: {} calls, {:?}",
                measure.end.name(),
                measure.places.len(),
                measure.phases
            );
        }
        let mut planned: Vec<_> = measures
            .iter()
            .flat_map(|measure| {
                let all = measure.of_phases().chain(measure.of_calls());
                all.map(move |injection| (measure, injection))
            })
            .filter(|(_, injection)| wanted(&faults, injection.fault.name()))
            .collect();
        longest_first(&mut planned);
        Results::of(ground, planned).await.check();
    });
}

/// A promotion, once for each raise: the status that announces it is said to be stored, and is not.
#[test]
fn an_operator_that_acts_before_its_intent_is_stored_is_found() {
    on_ground(async |ground| {
        let measures = Measure::all(ground, &[End::Promote]).await;
        let raises = [20, 50, 100];
        let lies = raises.map(|percent| {
            let (fault, spot) = (Fault::Lie, Spot::Announcement(percent));
            (&measures[0], Injection { fault, spot })
        });
        let found = Results::of(ground, lies.to_vec()).await.broken;
        assert_eq!(found.len(), raises.len(), "{found:?}");
    });
}
