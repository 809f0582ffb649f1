//! The operator is killed again and again in the middle of rollouts: they end as if it had not been (behaviour i).

use std::time::Duration;

use birdwatch::api::status::Phase;
use birdwatch::api::{BirdWatch, Span};
use birdwatch_bed::Bed;
use birdwatch_bed::clock;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde_json::json;

use crate::replicas::{Between, Replicas, alone_with_operator};
use crate::support::dice::Dice;
use crate::support::watched::Watched;
use crate::support::{ERRORS, Service};

const KILLS: usize = 10;
/// How long all rollouts may take, kills included.
const LONG: Duration = Duration::from_mins(5);
/// Few and long: what the bounds below forgive must be less than a hold, or one held twice would pass.
const STEPS: [i64; 3] = [20, 60, 100];
const HOLD: SignedDuration = SignedDuration::from_secs(12);
/// Where those that are not to be promoted fall sick.
const AILING: i64 = STEPS[1];
const CHECK: SignedDuration = SignedDuration::from_secs(1);
/// Between the last hold and the weight of promotion lies the label, which the mesh must learn of first.
const PROMOTION: SignedDuration = SignedDuration::from_secs(3);
/// What a busy machine may add to a step.
const MARGIN: SignedDuration = SignedDuration::from_secs(2);
/// What a new leader may need before it goes on counting.
const START: SignedDuration = SignedDuration::from_millis(500);
/// How late or early a watch may see a change.
const SEEN: SignedDuration = SignedDuration::from_millis(700);

/// What status says of the step that is held.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    confirmed: i64,
    hold: Option<Span>,
    /// The clock stands: paused, or nothing is known.
    stands: bool,
}

/// A rollout, and all that became of its weight.
struct Story {
    service: Service,
    weight: Watched<i64>,
    held: Watched<Held>,
    end: Phase,
}

impl Story {
    /// Sets the stage; v2 is not there yet.
    async fn new(bed: &'static Bed, name: &str, end: Phase) -> Self {
        let service = Service::silent(bed, name).await.with_traffic(10.0);
        let if_unhealthy = if end == Phase::Frozen {
            "freeze"
        } else {
            "rollback"
        };
        let weight = Watched::new(
            service.dynamic("networking.istio.io/v1", "VirtualService"),
            name,
            canary_weight,
        );
        service
            .watch_with(json!({
                "service": name,
                "metrics": [{"name": "errors", "query": ERRORS.replace("[5s]", "[3s]"), "deviation": 0.5}],
                "steps": STEPS.map(|weight| json!({"weight": weight, "hold": HOLD.as_secs()})),
                "checkInterval": "1s",
                "ifUnhealthy": if_unhealthy,
            }))
            .await;
        service.is_seen().await;
        let held = Watched::new(service.birdwatches(), name, held);
        Self {
            service,
            weight,
            held,
            end,
        }
    }

    /// Releases v2 once `first` has begun, so that each kill finds rollouts at different points. It falls sick at
    /// [`AILING`] percent unless it is to be promoted. Returns at its end.
    async fn play(&self, first: Option<&Self>) {
        if let Some(first) = first {
            let begun = |status: &birdwatch::api::BirdWatchStatus| status.weight > Some(0);
            first.service.until("begun", LONG, begun).await;
        }
        self.service.deploy("v2", &[]).await;
        if self.end != Phase::Promoted {
            let there =
                |status: &birdwatch::api::BirdWatchStatus| status.weight.map(i64::from) >= Some(AILING);
            self.service.until("where it falls sick", LONG, there).await;
            self.service.behave("v2", 0.9).await;
        }
        self.service.phase(self.end, LONG).await;
    }

    fn name(&self) -> &str {
        &self.service.app.name
    }

    /// The weights came in the order of the plan, each once.
    async fn check_path(&self) {
        let path: Vec<_> = self.weight.all().into_iter().map(|(_, weight)| weight).collect();
        let risen = path.iter().skip(1).take_while(|weight| **weight > 0).count();
        assert_eq!(path[0], 0);
        assert_eq!(path[1..=risen], STEPS[..risen], "{}: {path:?}", self.name());
        let rest = &path[1 + risen..];
        match self.end {
            Phase::Promoted => assert_eq!(
                (risen, rest),
                (STEPS.len(), &[0][..]),
                "{}: {path:?}",
                self.name()
            ),
            Phase::Frozen => assert!(risen >= 2 && rest.is_empty(), "{}: {path:?}", self.name()),
            _ => assert!(risen >= 2 && rest == [0], "{}: {path:?}", self.name()),
        }
        let canary = *path.last().unwrap();
        assert_eq!(self.service.weights().await, (100 - canary, canary));
        let production = if self.end == Phase::Promoted { "v2" } else { "v1" };
        let labels = (Some(production.to_owned()), Some("v2".to_owned()));
        assert_eq!(self.service.labels().await, labels, "{}", self.name());
    }

    /// No hold was cut short, nor longer than the time without an operator and one check allow.
    fn check_holds(&self, absences: &[Between]) {
        for pair in self.weight.all().windows(2) {
            let ((from, weight), (to, next)) = (pair[0], pair[1]);
            let promoted = (weight, next) == (100, 0);
            if weight == 0 || (next < weight && !promoted) {
                continue;
            }
            let step = Between { from, to };
            let standing = self.standing();
            let held = Served::new(step, self.hold_at(weight), absences, &standing, promoted);
            let what = format!("{}: {weight} %: {held:?}", self.name());
            println!("{what}");
            assert!(held.took <= held.most(), "{what}: longer than {:?}", held.most());
            assert!(held.took >= held.least(), "{what}: less than {:?}", held.least());
        }
    }

    /// The hold that status resolved for the step of a weight.
    fn hold_at(&self, weight: i64) -> SignedDuration {
        let seen = self.held.all();
        let step = seen.iter().rfind(|(_, held)| held.confirmed == weight);
        let hold = step.and_then(|(_, held)| held.hold).expect("a resolved hold");
        hold.signed()
    }

    /// When the clock stood.
    fn standing(&self) -> Vec<Between> {
        let seen = self.held.all();
        let until = seen.iter().skip(1).map(|(at, _)| *at).chain([Timestamp::MAX]);
        let spans = seen.iter().zip(until).filter(|((_, held), _)| held.stands);
        spans.map(|((from, _), to)| Between { from: *from, to }).collect()
    }
}

/// How a step was held, and by what it may be measured.
#[derive(Debug)]
struct Served {
    hold: SignedDuration,
    took: SignedDuration,
    /// Without an operator.
    away: SignedDuration,
    /// Part of `away`, in which an operator still lived that had not renewed its lease since: as far as a stop of the
    /// clock or the end of the step tells of it.
    alive: SignedDuration,
    /// How often an operator came within the step.
    starts: i32,
    /// With a clock that stood.
    stood: SignedDuration,
    promoted: bool,
}

impl Served {
    fn new(
        step: Between,
        hold: SignedDuration,
        absences: &[Between],
        standing: &[Between],
        promoted: bool,
    ) -> Self {
        let within: Vec<_> = absences.iter().map(|absence| absence.within(&step)).collect();
        let alive = absences.iter().map(|absence| {
            let decided = standing.iter().map(|stand| stand.from).chain([step.to]);
            let to = decided.filter(|at| (absence.from..absence.to).contains(at)).max();
            to.map_or(SignedDuration::ZERO, |to| {
                Between { to, ..*absence }.within(&step)
            })
        });
        Self {
            hold,
            took: step.to.duration_since(step.from),
            away: within.iter().sum(),
            alive: alive.sum(),
            starts: i32::try_from(within.iter().filter(|missed| missed.is_positive()).count()).unwrap(),
            stood: standing.iter().map(|stand| stand.within(&step)).sum(),
            promoted,
        }
    }

    /// What may be added to the hold and to the time in which nobody counted.
    fn forgiven(&self) -> SignedDuration {
        let promotion = if self.promoted {
            PROMOTION
        } else {
            SignedDuration::ZERO
        };
        CHECK + promotion + MARGIN + START * self.starts
    }

    fn most(&self) -> SignedDuration {
        self.hold + self.away + self.stood + self.forgiven()
    }

    fn least(&self) -> SignedDuration {
        self.hold + self.away - self.alive - SEEN
    }
}

/// The canary's weight; with production's it is always 100.
fn canary_weight(object: &DynamicObject) -> i64 {
    let route = &object.data["spec"]["http"][0]["route"];
    let weight = |index: usize| route[index]["weight"].as_i64().unwrap();
    assert_eq!(weight(0) + weight(1), 100, "{route}");
    weight(1)
}

fn held(object: &BirdWatch) -> Held {
    let rollout = object.status.as_ref().and_then(|status| status.rollout.as_ref());
    Held {
        confirmed: rollout.map_or(0, |rollout| rollout.confirmed.into()),
        hold: rollout.and_then(|rollout| rollout.hold),
        stands: rollout.is_some_and(|rollout| rollout.clock.since.is_none()),
    }
}

/// Kills whoever leads, at times everybody, at random moments; each time only once somebody leads again.
async fn kill(replicas: &Replicas) {
    let mut dice = Dice::new();
    let mut last = Timestamp::MIN;
    for _ in 0..KILLS {
        replicas.leader(last).await;
        tokio::time::sleep(Duration::from_millis(dice.below(5000))).await;
        let all = dice.below(4) == 0;
        let leader = replicas.leader(last).await.holder.unwrap();
        let victims = if all {
            replicas.running().await
        } else {
            vec![leader]
        };
        for victim in victims {
            last = replicas.crash(&victim);
        }
    }
}

#[test]
fn i_killed_at_ten_random_moments_rollouts_end_the_same_with_no_step_skipped_repeated_or_held_longer() {
    alone_with_operator(async |bed| {
        let ends = [
            ("i-one", Phase::Promoted),
            ("i-two", Phase::Promoted),
            ("i-three", Phase::Promoted),
            ("i-sick", Phase::RolledBack),
            ("i-frozen", Phase::Frozen),
        ];
        let stories = join_all(ends.map(|(name, end)| Story::new(bed, name, end))).await;
        let replicas = Replicas::new(bed);
        replicas.mended().await;
        let firsts =
            [None, Some(0), Some(1), None, Some(0)].map(|first| first.map(|index: usize| &stories[index]));
        let plays = stories.iter().zip(firsts).map(|(story, first)| story.play(first));
        let kills = async {
            kill(&replicas).await;
            clock::now()
        };
        let (_, killed) = tokio::join!(join_all(plays), kills);
        let absences = replicas.absences();
        assert!(absences.len() >= KILLS / 2, "{absences:?}");
        let under_way = stories.iter().any(|story| {
            let (ended, _) = *story.weight.all().last().unwrap();
            ended > killed
        });
        assert!(under_way, "the last kill came after all was over");
        for story in &stories {
            story.check_path().await;
            story.check_holds(&absences);
        }
        replicas.mended().await;
    });
}

#[test]
fn i_a_hold_that_is_served_twice_or_not_to_its_end_is_found_however_often_the_operator_was_killed() {
    let at = |seconds: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
    let absences: Vec<_> = (0..5)
        .map(|n| Between {
            from: at(2 + 8 * n),
            to: at(8 + 8 * n),
        })
        .collect();
    // Five kills, six seconds each without an operator.
    let away = SignedDuration::from_secs(30);
    let served = |took: SignedDuration, promoted| {
        let step = Between {
            from: at(0),
            to: at(0) + took,
        };
        Served::new(step, HOLD, &absences, &[], promoted)
    };
    for promoted in [false, true] {
        let once = served(HOLD + away, promoted);
        assert!((once.least()..=once.most()).contains(&once.took), "{once:?}");
        let twice = served(HOLD * 2 + away, promoted);
        assert!(twice.took > twice.most(), "{twice:?}");
        let cut = served(HOLD - SEEN * 2 + away, promoted);
        assert!(cut.took < cut.least(), "{cut:?}");
    }
}

#[test]
fn i_what_a_killed_operator_counted_until_it_stopped_the_clock_is_served() {
    let at = |seconds: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
    let between = |from, to| Between {
        from: at(from),
        to: at(to),
    };
    // It renewed its lease at 4, stopped the clock at 5 and was killed; the next one let it run at 12.
    let served = Served::new(between(0, 19), HOLD, &[between(4, 10)], &[between(5, 12)], false);
    assert_eq!(served.alive, SignedDuration::from_secs(1));
    assert!(
        (served.least()..=served.most()).contains(&served.took),
        "{served:?}"
    );
}
