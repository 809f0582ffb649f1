//! What a release stored stays what it stored: the SHA-256 of every file of a released folder is in one file beside them, as
//! `sha256sum -c` reads it.

use std::collections::BTreeMap;
use std::path::Path;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

use super::fixtures;

const PINS: &str = "SHA256SUMS";

/// Hashes by file, as `0.1.0/birdwatches.yaml`.
type Hashes = BTreeMap<String, String>;

fn sha256(bytes: &[u8]) -> String {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let hash = suite.common.hash_provider.hash(bytes);
    let digits: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn pins() -> Hashes {
    let text = std::fs::read_to_string(fixtures().join(PINS)).unwrap();
    let lines = text.lines().map(|line| line.split_once("  ").unwrap());
    lines
        .map(|(hash, file)| (file.to_owned(), hash.to_owned()))
        .collect()
}

fn files(folder: &Path) -> Hashes {
    let mut found = Hashes::new();
    let release = folder.file_name().unwrap().to_str().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        found.insert(
            format!("{release}/{name}"),
            sha256(&std::fs::read(&path).unwrap()),
        );
    }
    found
}

fn is_of(file: &str, release: &str) -> bool {
    file.split_once('/').is_some_and(|(folder, _)| folder == release)
}

/// Whether a release is out: none of its files may change.
pub(crate) fn is_pinned(release: &str) -> bool {
    pins().keys().any(|file| is_of(file, release))
}

/// What differs between the pins and what is there. `at_hand`, the version under work, may have no pins yet.
fn differences(pins: &Hashes, there: &Hashes, at_hand: &str) -> Vec<String> {
    let is_under_work = !pins.keys().any(|file| is_of(file, at_hand));
    let mut found = Vec::new();
    for (file, hash) in there {
        match pins.get(file) {
            Some(pinned) if pinned == hash => {}
            Some(_) => found.push(format!("{file} has changed since its release")),
            None if is_under_work && is_of(file, at_hand) => {}
            None => found.push(format!("{file} has no pin: a released folder gets no new file")),
        }
    }
    let gone = pins.keys().filter(|file| !there.contains_key(*file));
    found.extend(gone.map(|file| format!("{file} is gone")));
    found
}

#[test]
fn no_fixture_of_a_release_has_changed() {
    let entries = std::fs::read_dir(fixtures()).unwrap();
    let folders = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    let there: Hashes = folders.flat_map(|folder| files(&folder)).collect();
    let at_hand = env!("CARGO_PKG_VERSION");
    if std::env::var("PIN").is_ok_and(|release| release == at_hand) {
        assert!(!is_pinned(at_hand), "{at_hand} is pinned already");
        let lines = there.iter().map(|(file, hash)| format!("{hash}  {file}"));
        let all = lines.collect::<Vec<_>>().join("\n") + "\n";
        std::fs::write(fixtures().join(PINS), all).unwrap();
    }
    let found = differences(&pins(), &there, at_hand);
    assert!(found.is_empty(), "{found:#?}");
    assert!(!pins().is_empty(), "nothing is pinned");
}

#[test]
fn a_change_of_a_released_file_is_found_and_the_version_at_hand_is_free_until_its_release() {
    let hashes = |all: &[(&str, &str)]| -> Hashes {
        let pairs = all
            .iter()
            .map(|(file, hash)| ((*file).to_owned(), (*hash).to_owned()));
        pairs.collect()
    };
    let released = hashes(&[("1.0.0/a", "x"), ("1.0.0/b", "y")]);
    let mut there = released.clone();
    there.insert("1.1.0/a".to_owned(), "z".to_owned());
    assert_eq!(differences(&released, &there, "1.1.0"), Vec::<String>::new());
    assert_eq!(
        differences(&released, &there, "1.2.0").len(),
        1,
        "1.1.0 is out, and has no pin"
    );
    there.insert("1.0.0/a".to_owned(), "other".to_owned());
    there.remove("1.0.0/b");
    there.insert("1.0.0/c".to_owned(), "new".to_owned());
    assert_eq!(
        differences(&released, &there, "1.1.0"),
        [
            "1.0.0/a has changed since its release",
            "1.0.0/c has no pin: a released folder gets no new file",
            "1.0.0/b is gone"
        ]
    );
    assert_eq!(
        differences(&released, &hashes(&[("1.0.0/a", "x")]), "1.0.0"),
        ["1.0.0/b is gone"]
    );
    assert_eq!(
        sha256(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
