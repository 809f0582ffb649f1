//! A leader is stopped between its look at the lease and the arrival of its write, which reaches the server long after
//! another leads: of raises at most one stands for a moment, and everything else is refused.

use birdwatch::api::status::Phase;
use birdwatch_bed::clock;
use birdwatch_bed::parts::proxy::Call;
use birdwatch_bed::process::Signal;
use futures::join;
use jiff::{SignedDuration, Timestamp};

use crate::book::weight;
use crate::door::Catch;
use crate::ground::{Ground, on_ground};
use crate::replica::Replica;
use crate::stage::Stage;

/// How long a busy machine may take from a watch event to the write that follows it.
const SOON: SignedDuration = SignedDuration::from_secs(2);

fn first_raise(call: &Call) -> bool {
    weight(call) == Some(20)
}

fn second_raise(call: &Call) -> bool {
    weight(call) == Some(50)
}

fn status_of_second_raise(call: &Call) -> bool {
    call.kind() == "update birdwatches/status" && call.json()["status"]["rollout"]["intended"] == 50
}

fn label_of_production(call: &Call) -> bool {
    let changes_production = |body: &str| body.contains("/spec/subsets/0/labels");
    call.kind() == "patch destinationrules" && std::str::from_utf8(&call.body).is_ok_and(changes_production)
}

/// A write on its way whose sender stands still, and a stage on which another leads meanwhile.
struct Late<'a> {
    stage: &'a Stage,
    old: &'a Replica,
    catch: Catch,
    kept_at: Timestamp,
    lines: Vec<String>,
}

impl<'a> Late<'a> {
    /// Releases v2 and waits until such a write is on its way.
    async fn keep(stage: &'a Stage, catches: fn(&Call) -> bool) -> Self {
        let old = stage.leader().await;
        let mut catch = old.catch(catches);
        stage.release().await;
        catch.caught().await;
        let mut late = Self {
            stage,
            old,
            catch,
            kept_at: clock::now(),
            lines: Vec::new(),
        };
        late.note(
            late.kept_at,
            &format!("{} is stopped, its write on its way", old.name),
        );
        late
    }

    fn note(&mut self, at: Timestamp, what: &str) {
        let after = at.duration_since(self.kept_at).as_secs_f64();
        self.lines.push(format!("  {after:>7.3} s  {what}"));
    }

    /// Waits for the next leader.
    async fn taken_over(&mut self) -> String {
        let term = self.stage.successor(self.old, self.kept_at).await;
        self.note(term.from, &format!("{} takes the lease", term.replica));
        term.replica
    }

    /// The write goes on to the server; then its sender goes on as well, and ends without writing anything more.
    async fn arrives(self, what: &str) -> Timestamp {
        let Self {
            stage,
            old,
            catch,
            kept_at,
            mut lines,
        } = self;
        let freed = clock::now();
        catch.free();
        let after = freed.duration_since(kept_at).as_secs_f64();
        lines.push(format!("  {after:>7.3} s  the write of {} goes on", old.name));
        let arrived = || {
            let all = stage.book.all();
            all.iter().any(|sent| sent.held && sent.at >= freed)
        };
        stage.until("the write has arrived", arrived).await;
        println!("{what}\n{}", lines.join("\n"));
        freed
    }
}

/// The old leader notices as soon as it goes on, and has written nothing but what was on its way.
async fn continues(stage: &Stage, old: &Replica) {
    let continued = clock::now();
    old.signal(Signal::CONT);
    old.ended_since(continued).await;
    let written = stage.book.writes(&old.name, continued);
    assert!(written.iter().all(|sent| sent.held), "{written:?}");
}

/// Nothing of the attempt is left when its first raise arrives: the server takes it, and it is lowered.
async fn first_raise_after_the_end(ground: &'static Ground) {
    let stage = Stage::set(ground, 2).await;
    let mut late = Late::keep(&stage, first_raise).await;
    let old = late.old;
    stage.verb("rollback/1").await;
    let new = late.taken_over().await;
    stage.phase(Phase::RolledBack).await;
    late.note(clock::now(), "the attempt has ended; the canary has 0 %");
    assert_eq!(stage.path(), [0]);
    let freed = late
        .arrives("a first raise that arrives after the end of its attempt")
        .await;
    stage
        .until("it is lowered again", || stage.path().len() >= 3)
        .await;
    let seen = stage.weights.all();
    let shown: Vec<_> = seen
        .iter()
        .map(|(at, weights)| format!("{weights:?} {:+.3} s", at.duration_since(freed).as_secs_f64()))
        .collect();
    println!("  seen of the VirtualService, from there: {}", shown.join(", "));
    let weights: Vec<_> = seen.iter().map(|(_, weights)| weights.canary).collect();
    assert_eq!(
        weights,
        [0, 20, 0],
        "one event shows it, the next one the lowering"
    );
    let stood = seen[2].0.duration_since(seen[1].0);
    assert!(stood < SOON, "it stood for {stood:?}");
    let weights = stage.book.writes(&new, freed).into_iter();
    let weights: Vec<_> = weights.filter_map(|sent| sent.weight).collect();
    assert_eq!(weights, [0], "what {new} gave the canary");
    println!(
        "  it stood for {:.3} s, and {new} lowered it",
        stood.as_secs_f64()
    );
    continues(&stage, old).await;
    assert_eq!(stage.path(), [0, 20, 0]);
    stage.check("a late first raise");
}

/// Another has written meanwhile: what arrives is refused, and nobody sees any of it.
async fn refused(ground: &'static Ground, what: &str, catches: fn(&Call) -> bool) {
    let stage = Stage::set(ground, 2).await;
    let mut late = Late::keep(&stage, catches).await;
    let old = late.old;
    late.taken_over().await;
    // All of them were sent after 50 % was decided, or after all of it: the next leader does what they were to do.
    stage.phase(Phase::Promoted).await;
    stage
        .until("the end", || stage.path() == [0, 20, 50, 100, 0])
        .await;
    late.note(
        clock::now(),
        "the next leader has done it, and all that comes after it",
    );
    stage.settled().await;
    let (path, status) = (stage.path(), stage.status());
    let mark = ground.audit().mark().unwrap();
    late.arrives(what).await;
    let answer = || {
        let entries = ground.audit().since(mark).unwrap().into_iter();
        let mut writes = entries.filter(|entry| {
            let done = entry.stage == "ResponseComplete" && entry.namespace == stage.namespace;
            done && entry.resource != "leases" && ["patch", "update"].contains(&&*entry.verb)
        });
        writes.next()
    };
    stage
        .until("the server has answered", || answer().is_some())
        .await;
    let answer = answer().unwrap();
    println!("  refused: {} {}: {}", answer.verb, answer.resource, answer.code);
    assert!([409, 422].contains(&answer.code), "{answer:?}");
    continues(&stage, old).await;
    assert_eq!((stage.path(), stage.status()), (path, status));
    stage.check(what);
}

/// The status of a raise is written, and its sender stopped before it hears of that: when it goes on, the raise would be
/// next, and its lease is too old.
async fn heard_too_late(ground: &'static Ground) {
    let stage = Stage::set(ground, 2).await;
    let late = Late::keep(&stage, status_of_second_raise).await;
    let old = late.old;
    let (catch, kept_at) = (late.catch, late.kept_at);
    catch.free();
    let new = stage.successor(old, kept_at).await.replica;
    stage
        .until("the next leader has raised", || stage.path().contains(&50))
        .await;
    continues(&stage, old).await;
    stage.phase(Phase::Promoted).await;
    stage
        .until("the end", || stage.path() == [0, 20, 50, 100, 0])
        .await;
    stage.check("an answer that is heard too late");
    println!(
        "an answer heard too late: {} wrote nothing more, {new} led on",
        old.name
    );
}

#[test]
fn what_a_stopped_leader_had_sent_is_refused_or_lowered_at_once() {
    on_ground(async |ground| {
        join!(
            first_raise_after_the_end(ground),
            heard_too_late(ground),
            heard_too_late(ground),
            refused(ground, "a second raise", second_raise),
            refused(ground, "the status of a second raise", status_of_second_raise),
            refused(ground, "production's label", label_of_production),
        );
        println!("proved: of 6 leaders stopped at a write, it was refused, not sent, or lowered at once");
    });
}
