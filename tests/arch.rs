//! The shape of the crate: what each part may use, and how large a file may be.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot read")]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no source below {folder}");
    found
}

/// The file without comments and without its tests.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    before_tests
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first two names of every path in the code: `std::time`, `crate::api`, `jiff::Timestamp`, `super::query`.
fn paths(code: &str) -> Vec<(&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = &code[..at];
        let start = before.rfind(|c| !is_word(c)).map_or(0, |i| i + 1);
        // Only the beginning of a path is looked at.
        if before[..start].ends_with("::") {
            continue;
        }
        let after = &code[at + 2..];
        let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        // `parse::<u8>` is a call, not a path.
        if end > 0 {
            paths.push((&before[start..], &after[..end]));
        }
    }
    paths
}

/// Files that hold tests and nothing else.
const TESTS: &[&str] = &[
    "tests.rs",
    "scenarios.rs",
    "promises.rs",
    "chaos.rs",
    "world.rs",
    "test_support.rs",
];

/// Whether a file holds tests and nothing else, by its name or its folder.
fn holds_tests(path: &Path) -> bool {
    TESTS.iter().any(|name| path.ends_with(name)) || path.components().any(|c| c.as_os_str() == "scenarios")
}

/// What pure code may use of the standard library: data, and spans of time that are handed in.
const STD: &[&str] = &[
    "borrow",
    "cmp",
    "collections",
    "f64",
    "fmt",
    "iter",
    "mem",
    "net",
    "ops",
    "panic",
    "slice",
    "str",
    "sync",
    "time",
];
/// Within those: what is no data, and how pure code never looks.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Timestamp::now",
    "Zoned::now",
];

/// Fails when pure code below `folder` begins a path with anything but the standard library's data, a type of its
/// own, a crate in `crates`, or a module of ours in `ours`.
fn pure(folder: &str, crates: &[&str], ours: &[&str]) {
    for (path, text) in sources(folder).into_iter().filter(|(path, _)| !holds_tests(path)) {
        let code = code(&text);
        for word in IMPURE {
            assert!(!code.contains(word), "{} must not use {word}", path.display());
        }
        for (first, second) in paths(&code) {
            let is_type = first.is_empty() || first.starts_with(char::is_uppercase) || is_primitive(first);
            let is_allowed = match first {
                "std" => STD.contains(&second),
                "crate" => ours.contains(&second),
                "super" | "self" | "clippy" => true,
                _ => is_type || crates.contains(&first) || is_imported(&code, first),
            };
            assert!(is_allowed, "{} must not use {first}::{second}", path.display());
        }
    }
}

fn is_primitive(name: &str) -> bool {
    let numbers = [
        "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "i128", "f64", "char", "str",
    ];
    numbers.contains(&name)
}

/// Whether a module is declared here, or `use …::name;` brings it in, whose own path is looked at where it stands.
fn is_imported(code: &str, name: &str) -> bool {
    let brings_in = |s: &&str| s.contains("mod ") || (s.contains("use ") && s.contains("::"));
    let statements = code.split(';').filter(brings_in);
    statements
        .flat_map(|statement| statement.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .any(|word| word == name)
}

#[test]
fn the_core_has_no_async_no_io_no_clock_and_no_client() {
    let crates = [
        "jiff",
        "promql_parser",
        "proptest",
        "serde",
        "serde_json",
        "thiserror",
    ];
    pure("src/core", &crates, &["api", "core"]);
}

/// Who gathers an inventory, and who shows the findings, is not known where they are judged.
#[test]
fn a_preflight_is_plain_data_in_and_plain_data_out() {
    pure("src/core/preflight", &["jiff", "serde_json"], &["api", "core"]);
    let folder = sources("src/core/preflight").into_iter();
    for (path, text) in folder.filter(|(path, _)| !path.ends_with("tests.rs")) {
        let code = code(&text);
        for word in [
            "kube::",
            "crate::istio",
            "crate::cli",
            "println!",
            "tracing",
            "dyn ",
        ] {
            assert!(!code.contains(word), "{} must not use {word}", path.display());
        }
    }
}

#[test]
fn istio_edits_json_and_nothing_else() {
    let crates = [
        "jiff",
        "json_patch",
        "jsonptr",
        "k8s_openapi",
        "kube",
        "proptest",
        "serde",
        "serde_json",
        "thiserror",
    ];
    pure("src/istio", &crates, &["api", "core", "istio"]);
    forbid_clients("src/istio");
}

#[test]
fn plots_are_text_made_of_data() {
    pure("src/plot", &[], &["plot"]);
}

/// It draws from a seed that it is given; no other source of chance may be used.
#[test]
fn a_simulation_depends_on_its_seed_alone() {
    let crates = ["rand", "rand_distr", "serde", "thiserror"];
    pure("src/simulate", &crates, &["api", "core", "plot", "simulate"]);
    for (path, text) in sources("src/simulate") {
        for word in ["rand::rng", "rand::random", "SysRng", "from_os_rng", "make_rng"] {
            assert!(!text.contains(word), "{} must not use {word}", path.display());
        }
    }
}

/// The past comes in, outcomes go out: nothing is fetched, no clock read, and chance comes from a seed.
#[test]
fn a_backtest_depends_on_past_and_seed_alone() {
    let crates = ["jiff", "rand", "rand_distr", "serde", "thiserror"];
    pure(
        "src/backtest",
        &crates,
        &["api", "backtest", "core", "plot", "simulate"],
    );
    for (path, text) in sources("src/backtest") {
        for word in ["rand::rng()", "rand::random", "SysRng", "from_os_rng", "make_rng"] {
            assert!(!text.contains(word), "{} must not use {word}", path.display());
        }
    }
}

#[test]
fn the_resource_is_data() {
    let crates = [
        "jiff",
        "k8s_openapi",
        "kube",
        "schemars",
        "serde",
        "serde_json",
        "thiserror",
    ];
    pure("src/api", &crates, &["api"]);
    forbid_clients("src/api");
}

/// kube's types are data; its client is not.
fn forbid_clients(folder: &str) {
    for (path, text) in sources(folder) {
        for word in [
            "kube::Client",
            "kube::Api;",
            "kube::client",
            "kube::runtime",
            "Api::namespaced",
        ] {
            assert!(
                !code(&text).contains(word),
                "{} must not use {word}",
                path.display()
            );
        }
    }
}

#[test]
fn the_guard_sees_what_it_must_not_let_pass() {
    let code = "use std::fs;\nlet x = rand::random();\nstd::process::exit(1);\nsuper::query::parse()";
    let expected = [
        ("std", "fs"),
        ("rand", "random"),
        ("std", "process"),
        ("super", "query"),
    ];
    assert_eq!(paths(code), expected);
}

#[test]
fn what_runs_in_production_is_no_test_by_its_name() {
    for file in [
        "src/core/sequential/evidence.rs",
        "src/core/decide.rs",
        "src/core/query.rs",
    ] {
        assert!(!holds_tests(Path::new(file)), "{file}");
    }
    for file in [
        "src/core/scenarios/evidence.rs",
        "src/core/scenarios/judging/always.rs",
        "src/core/world.rs",
    ] {
        assert!(holds_tests(Path::new(file)), "{file}");
    }
}

#[test]
fn files_stay_small() {
    for folder in ["src", "bed/src", "bench/src"] {
        for (path, text) in sources(folder) {
            let lines = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default()
                .lines()
                .count();
            assert!(
                lines <= 450 || holds_tests(&path),
                "{} has {lines} lines before its tests",
                path.display()
            );
        }
    }
}
