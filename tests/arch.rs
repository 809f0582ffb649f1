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

fn forbid(folder: &str, words: &[&str]) {
    for (path, text) in sources(folder)
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
    {
        let code = code(&text);
        for word in words {
            assert!(!code.contains(word), "{} must not use {word}", path.display());
        }
    }
}

const SHELL: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "reqwest",
    "axum",
    "std::env",
    "std::fs",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "Timestamp::now",
    "Instant",
    "SystemTime",
    "tracing",
];

#[test]
fn the_core_has_no_async_no_io_no_clock_and_no_client() {
    forbid("src/core", SHELL);
    forbid(
        "src/core",
        &[
            "kube::",
            "k8s_openapi",
            "crate::clients",
            "crate::controller",
            "crate::runtime",
            "crate::cli",
            "crate::istio",
        ],
    );
}

#[test]
fn istio_edits_json_and_nothing_else() {
    forbid("src/istio", SHELL);
    forbid(
        "src/istio",
        &[
            "crate::clients",
            "crate::controller",
            "crate::runtime",
            "crate::cli",
            "kube::Client",
            "Api::namespaced",
        ],
    );
}

#[test]
fn the_resource_is_data() {
    forbid("src/api", SHELL);
    forbid(
        "src/api",
        &[
            "crate::core",
            "crate::clients",
            "crate::controller",
            "crate::runtime",
            "crate::cli",
            "kube::Client",
        ],
    );
}

#[test]
fn files_stay_small() {
    for folder in ["src", "bed/src"] {
        for (path, text) in sources(folder) {
            let lines = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default()
                .lines()
                .count();
            let only_tests =
                text.starts_with("//!") && text.contains("use proptest") || path.ends_with("scenarios.rs");
            assert!(
                lines <= 450 || only_tests,
                "{} has {lines} lines before its tests",
                path.display()
            );
        }
    }
}
