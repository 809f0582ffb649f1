//! How many instructions the hot paths take, counted by callgrind, held to what is stored: the same each time, unlike seconds.
//! Counted in the build that tests are made with, so that nothing is built for it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Goes that are counted, beside the same number less this that are taken off: the start of the program.
const GOES: u64 = 20;
const FEW: u64 = 5;

/// How much more than stored is too much, in percent. Random seeds of hash tables move a count by less than one.
const TOLERATED: u64 = 3;

const PATHS: [&str; 5] = ["decide", "decode", "encode", "lower", "sequential"];

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

#[test]
fn no_hot_path_takes_more_instructions_than_it_did() {
    let counted: BTreeMap<_, _> = PATHS.map(|path| (path.to_owned(), per_go(path))).into();
    if std::env::var_os("BLESS").is_some() {
        let text = serde_json::to_string_pretty(&counted).unwrap();
        std::fs::write(stored(), text + "\n").unwrap();
        return;
    }
    let text = std::fs::read_to_string(stored()).unwrap();
    let limits: BTreeMap<String, u64> = serde_json::from_str(&text).unwrap();
    assert!(limits.keys().eq(counted.keys()), "{limits:?}");
    let grown: Vec<_> = counted
        .iter()
        .filter(|(path, count)| **count > limits[*path] * (100 + TOLERATED) / 100)
        .map(|(path, count)| format!("{path}: {count} instead of {}", limits[path]))
        .collect();
    assert!(
        grown.is_empty(),
        "{grown:?}; if it is worth it: BLESS=1 cargo test --locked --package birdwatch-bench --test instructions"
    );
}

/// What one go takes.
fn per_go(path: &str) -> u64 {
    (count(path, FEW + GOES) - count(path, FEW)) / GOES
}

/// All instructions of a process.
fn count(path: &str, times: u64) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_hot_paths"))
        .args([path, &times.to_string()])
        .output();
    let run = run.unwrap_or_else(|error| {
        panic!("valgrind, which counts, cannot be run: {error}; apt-get install valgrind")
    });
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .unwrap_or_else(|| panic!("{said}"))
        .1
        .trim()
        .parse()
        .unwrap()
}
