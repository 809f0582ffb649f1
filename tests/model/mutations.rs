//! Is the model worth anything? Each of these makes the core worse in one way, in a copy of the tree, and the quick
//! configuration that is meant for it has to find it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::configurations;
use super::exploring::LIVENESS;
use super::mutants::{MUTATIONS, Mutation};
use super::promises::PROMISES;

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

/// `only`: of that configuration, and of all quick ones where there is none.
fn verdict(tree: &Path, only: Option<&str>) -> Verdict {
    // Its own: cargo cannot tell what is built of a mutant from what is built of the tree itself.
    let target = tree.join("target");
    let mut run = Command::new(env!("CARGO"));
    // What cargo says to this process it must not hear again: some crates are built anew for it.
    let said = std::env::vars().map(|(name, _)| name);
    for name in said.filter(|name| name.starts_with("CARGO_") && name != "CARGO_HOME") {
        run.env_remove(name);
    }
    if let Some(only) = only {
        run.env("ONLY", only);
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
    let tells = |line: &&str| telling.iter().any(|words| line.contains(words));
    let lines: BTreeSet<&str> = text.lines().filter(tells).map(str::trim).collect();
    if !lines.is_empty() {
        return Verdict::Broken(Vec::from_iter(lines).join("; "));
    }
    assert!(
        text.contains("is never reached"),
        "it failed for another reason:\n{text}"
    );
    Verdict::Vacuous
}

#[test]
fn every_mutation_can_still_be_made() {
    let told = fs::read_to_string(root().join("docs/proof.md")).unwrap();
    for Mutation {
        what, by, changes, ..
    } in &MUTATIONS
    {
        let row = told.lines().find(|line| line.starts_with(&format!("| {what} |")));
        assert!(row.is_some_and(|row| row.contains(by)), "{what} in docs/proof.md");
        for (file, text, instead) in *changes {
            let whole = fs::read_to_string(root().join(file)).unwrap();
            assert_eq!(whole.matches(text).count(), 1, "{what}: {file} has changed");
            assert_ne!(text, instead, "{what}");
        }
    }
}

#[test]
fn every_rule_and_both_sides_of_liveness_have_a_mutation_that_breaks_them() {
    let rules = PROMISES.map(|(_, rule)| rule);
    let rules: Vec<_> = rules.into_iter().chain(LIVENESS).collect();
    for rule in &rules {
        let breaks = |mutation: &Mutation| rule.contains(mutation.by);
        assert!(
            MUTATIONS.iter().any(breaks),
            "nothing shows that this can fail: {rule}"
        );
    }
    let quick = configurations::quick();
    let is_quick = |name: &str| quick.iter().any(|configuration| configuration.name == name);
    for Mutation {
        what, by, found_in, ..
    } in &MUTATIONS
    {
        assert!(
            is_quick(found_in),
            "{what}: no quick configuration is called {found_in}"
        );
        let meant = rules.iter().filter(|rule| rule.contains(by)).count();
        assert_eq!(meant, 1, "{what}: {by} are not the words of one rule");
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
                if worker == 0 {
                    assert_eq!(verdict(&tree, None), Verdict::Kept, "the tree itself");
                }
                while let Some((number, mutation)) = next() {
                    let what = mutation.what;
                    let said = tried(&tree, mutation);
                    println!("{number:>2} {what:<50} {said:?}");
                    // What is found must be what is wrong.
                    if !matches!(said, Verdict::Broken(how) if how.contains(mutation.by)) {
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
    for (file, text, instead) in mutation.changes {
        let path = tree.join(file);
        let whole = fs::read_to_string(&path).unwrap();
        let what = mutation.what;
        assert_eq!(whole.matches(text).count(), 1, "{what}: {file} has changed");
        fs::write(&path, whole.replacen(text, instead, 1)).unwrap();
    }
    let verdict = verdict(tree, Some(mutation.found_in));
    for (file, ..) in mutation.changes {
        fs::copy(root().join(file), tree.join(file)).unwrap();
    }
    verdict
}
