//! Is the model worth anything? Each of these makes the core worse in one way, in a copy of the tree, and the quick
//! configurations have to find it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A way in which the core could be wrong.
struct Mutation {
    what: &'static str,
    file: &'static str,
    text: &'static str,
    instead: &'static str,
}

const fn mutation(
    what: &'static str,
    file: &'static str,
    text: &'static str,
    instead: &'static str,
) -> Mutation {
    Mutation {
        what,
        file,
        text,
        instead,
    }
}

const MUTATIONS: [Mutation; 21] = [
    mutation(
        "an unhealthy check is not heard",
        "src/core/guards.rs",
        "(verdict == Verdict::Unhealthy).then(|| {",
        "(verdict == Verdict::Unhealthy && rollout.step > 99).then(|| {",
    ),
    mutation(
        "a rollback waits for the next pass to lower",
        "src/core/end.rs",
        "        turn.effect(Effect::Lower { percent: 0 });\n        return;",
        "        turn.wake_at(turn.now);\n        return;",
    ),
    mutation(
        "a rollback does not look for production's pods",
        "src/core/end.rs",
        "if reason.spares_traffic() && production_is_gone(turn, rollout) {",
        "if reason.spares_traffic() && turn.seen.draining && production_is_gone(turn, rollout) {",
    ),
    mutation(
        "a route that somebody lowered is not noticed",
        "src/core/guards.rs",
        "    if rollout.confirmed == 0 {\n        return false;\n    }\n    let Some(route)",
        "    if rollout.confirmed <= 100 {\n        return false;\n    }\n    let Some(route)",
    ),
    mutation(
        "a raise skips a step",
        "src/core/progress.rs",
        ".find(|weight| *weight > rollout.confirmed)",
        ".filter(|weight| *weight > rollout.confirmed)\n            .last()",
    ),
    mutation(
        "a new step goes on with the old clock",
        "src/core/progress.rs",
        "    rollout.clock = HoldClock::started(turn.now);\n    rollout.verdict = None;",
        "    rollout.clock.run(turn.now);\n    rollout.verdict = None;",
    ),
    mutation(
        "no hold is served",
        "src/core/progress.rs",
        ".is_some_and(|at| rollout.clock.served_at(at) >= hold)",
        ".is_some_and(|at| rollout.clock.served_at(at) <= hold.plus(hold))",
    ),
    mutation(
        "a pause keeps nothing from rising",
        "src/core/progress.rs",
        "    if is_paused(turn) {\n        return block(\"Paused\", paused_at(rollout), false);\n    }\n",
        "",
    ),
    mutation(
        "capacity is not asked for",
        "src/core/progress.rs",
        "(f64::from(pods) < needed).then(|| Block {",
        "(f64::from(pods) < needed - 1.0).then(|| Block {",
    ),
    mutation(
        "the clock runs on while nothing is known",
        "src/core/progress.rs",
        "if heed_pause(turn, rollout) || rollout.verdict == Some(Verdict::Unknown) {",
        "if heed_pause(turn, rollout) {",
    ),
    mutation(
        "a pause leaves the clock running",
        "src/core/progress.rs",
        "if heed_pause(turn, rollout) || rollout.verdict == Some(Verdict::Unknown) {",
        "let _ = heed_pause(turn, rollout);\n    if rollout.verdict == Some(Verdict::Unknown) {",
    ),
    mutation(
        "time without an operator counts",
        "src/core/decide.rs",
        "        running.clock.skip(&gaps);\n",
        "",
    ),
    mutation(
        "unknown is good",
        "src/core/verdict.rs",
        "                Verdict::Unhealthy\n            } else {\n                Verdict::Unknown\n            }",
        "                Verdict::Unhealthy\n            } else {\n                Verdict::Good\n            }",
    ),
    mutation(
        "unknown is unhealthy",
        "src/core/verdict.rs",
        "(Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,",
        "(Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unhealthy,",
    ),
    mutation(
        "a canary that was changed is the same",
        "src/core/candidates.rs",
        "a.version == b.version && a.uid == b.uid && (a.revision == b.revision || matches_any(a) || matches_any(b))",
        "a.version == b.version && a.uid == b.uid",
    ),
    mutation(
        "a wake-up is forgotten",
        "src/core/turn.rs",
        "        if at > self.now {\n            self.wake_at(at);\n        }\n",
        "",
    ),
    mutation(
        "a promotion leaves the weights as they are",
        "src/core/promote.rs",
        "        rollout.intended = 0;\n        turn.effect(Effect::Lower { percent: 0 });",
        "        rollout.intended = 0;",
    ),
    mutation(
        "the younger BirdWatch acts as well",
        "src/core/rest.rs",
        "if let Some(other) = &turn.seen.conflict {",
        "if let Some(other) = turn.seen.conflict.as_ref().filter(|_| turn.seen.draining) {",
    ),
    mutation(
        "an answer is forgotten once it was looked at",
        "src/controller/memory.rs",
        "self.check.take_if(|check| check.asked_at > now || is_over(check));\n        self.check.clone()",
        "let _ = is_over;\n        self.check.take().filter(|check| check.asked_at <= now)",
    ),
    mutation(
        "a late raise is taken back whoever wrote it",
        "src/core/rest.rs",
        "(late, turn.seen.routes_writer.as_deref())",
        "(late, turn.seen.routes_writer.as_ref().map(|_| OURSELVES))",
    ),
    mutation(
        "a late raise stays",
        "src/core/rest.rs",
        "last.ended.is_none() || !last.raised",
        "last.ended.is_none() || last.raised",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Copies that are worked on at the same time.
const AT_ONCE: usize = 2;

/// A copy of every file that git does not ignore.
fn copy(number: usize) -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutants-{number}"));
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    for file in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        let to = scratch.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let text = fs::read(root().join(file)).unwrap();
        // What is the same is not built again.
        if fs::read(&to).ok().as_ref() != Some(&text) {
            fs::write(&to, text).unwrap();
        }
    }
    scratch
}

/// What the model says of a tree.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It finds nothing.
    Kept,
    /// A promise is broken, or no end is reached.
    Broken(String),
    /// A search goes nowhere: that is found, but not what is wrong.
    Vacuous,
}

fn verdict(tree: &Path) -> Verdict {
    // Its own: cargo cannot tell what is built of a mutant from what is built of the tree itself.
    let target = tree.join("target");
    let mut run = Command::new(env!("CARGO"));
    // What cargo says to this process it must not hear again: some crates are built anew for it.
    let said = std::env::vars().map(|(name, _)| name);
    for name in said.filter(|name| name.starts_with("CARGO_") && name != "CARGO_HOME") {
        run.env_remove(name);
    }
    let run = run
        .args([
            "test",
            "--locked",
            "--test",
            "model",
            "--",
            "every_promise_is_kept_in_every",
        ])
        .env("CARGO_TARGET_DIR", target)
        // Nobody looks into a mutant with a debugger.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .current_dir(tree)
        .output()
        .unwrap();
    if run.status.success() {
        return Verdict::Kept;
    }
    let text = [run.stdout, run.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains("could not compile"), "{text}");
    let telling = ["promise ", "no decided end", "keeps its traffic"];
    let line = text
        .lines()
        .rfind(|line| telling.iter().any(|words| line.contains(words)));
    if let Some(line) = line {
        return Verdict::Broken(line.trim().to_owned());
    }
    assert!(
        text.contains("is never reached"),
        "it failed for another reason:\n{text}"
    );
    Verdict::Vacuous
}

#[test]
fn every_mutation_can_still_be_made() {
    for Mutation {
        what,
        file,
        text,
        instead,
    } in &MUTATIONS
    {
        let whole = fs::read_to_string(root().join(file)).unwrap();
        assert_eq!(whole.matches(text).count(), 1, "{what}: {file} has changed");
        assert_ne!(text, instead, "{what}");
    }
}

#[test]
#[ignore = "builds the crate once for each mutation: docs/proof.md"]
fn every_mutation_of_the_core_is_caught() {
    // One or two of them, to look into.
    let only = std::env::var("MUTATION").unwrap_or_default();
    let wanted = (1..).zip(&MUTATIONS);
    let wanted: Vec<_> = wanted
        .filter(|(_, mutation)| mutation.what.contains(&only))
        .collect();
    assert!(!wanted.is_empty(), "no mutation is called {only:?}");
    let (left, missed) = (Mutex::new(wanted.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (next, missed) = (&next, &missed);
            scope.spawn(move || {
                let tree = copy(worker);
                assert_eq!(verdict(&tree), Verdict::Kept, "the tree itself");
                while let Some((number, mutation)) = next() {
                    let what = mutation.what;
                    if let Verdict::Broken(how) = tried(&tree, mutation) {
                        println!("{number:>2} {what:<50} {how}");
                    } else {
                        println!("{number:>2} {what:<50} MISSED");
                        missed.lock().unwrap().push(what);
                    }
                }
            });
        }
    });
    let (tried, missed) = (wanted.len(), missed.into_inner().unwrap());
    println!(
        "proved: {} of {tried} mutations of the core are caught, and nothing is found without one",
        tried - missed.len()
    );
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

fn tried(tree: &Path, mutation: &Mutation) -> Verdict {
    let Mutation {
        what,
        file,
        text,
        instead,
    } = mutation;
    let path = tree.join(file);
    let whole = fs::read_to_string(&path).unwrap();
    assert_eq!(whole.matches(text).count(), 1, "{what}: {file} has changed");
    fs::write(&path, whole.replacen(text, instead, 1)).unwrap();
    let verdict = verdict(tree);
    fs::write(&path, whole).unwrap();
    verdict
}
