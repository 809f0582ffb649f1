//! What the operator is made of: licences, sources and bans as deny.toml has them, no dependency that nothing uses, and
//! the bill of materials of the image. Asks cargo alone, so that it works where no tool can be installed and no
//! database be reached; `make audit` asks cargo-deny besides.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
const BILL: &str = "sbom.cdx.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Every crate that takes part in building for our targets.
fn packages() -> Vec<Value> {
    let platforms = TARGETS.map(|target| format!("--filter-platform={target}"));
    let arguments = [
        "metadata",
        "--format-version=1",
        "--locked",
        &platforms[0],
        &platforms[1],
    ];
    let metadata: Value = serde_json::from_str(&cargo(&arguments)).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn named(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// The texts of a list in deny.toml, of which each entry has a line of its own.
fn denied(list: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let rest = text
        .split(&format!("\n{list} = [\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("no {list}"));
    let lines = rest.split("\n]").next().unwrap().lines();
    lines
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect()
}

/// Whether a licence expression can be met by the licences allowed.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let text = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    // `WITH` belongs to the name before it.
    let text = text.replace(" WITH ", "\u{0}");
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.replace('\u{0}', " WITH "))
        .collect();
    let mut words = words.iter().map(String::as_str).peekable();
    let met = either(&mut words, allowed);
    met && words.next().is_none()
}

fn either<'a, I: Iterator<Item = &'a str>>(words: &mut std::iter::Peekable<I>, allowed: &[String]) -> bool {
    let mut met = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= both(words, allowed);
    }
    met
}

fn both<'a, I: Iterator<Item = &'a str>>(words: &mut std::iter::Peekable<I>, allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one<'a, I: Iterator<Item = &'a str>>(words: &mut std::iter::Peekable<I>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => {
            let met = either(words, allowed);
            words.next_if_eq(&")").is_some() && met
        }
        Some(name) => allowed.iter().any(|allowed| allowed == name),
        None => false,
    }
}

#[test]
fn licences_sources_and_bans_are_as_deny_toml_has_them() {
    let (allowed, banned) = (denied("allow"), denied("deny"));
    assert!(
        allowed.len() > 3 && banned.contains(&"openssl-sys".to_owned()),
        "{allowed:?} {banned:?}"
    );
    let mut problems = Vec::new();
    for package in packages() {
        let name = named(&package);
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_met(licence, &allowed) {
            problems.push(format!("{name}: licence {licence}"));
        }
        if banned.iter().any(|banned| banned == name) {
            problems.push(format!("{name} is banned"));
        }
        let is_ours = package["source"].is_null();
        if !is_ours && package["source"] != REGISTRY {
            problems.push(format!("{name} comes from {}", package["source"]));
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            if is_ours && dependency["req"] == "*" && dependency["path"].is_null() {
                problems.push(format!("{name} takes any version of {}", dependency["name"]));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// What deny.toml asks for besides its lists `allow` and `deny`, and who sees to it where cargo-deny is not.
const ENFORCED: [&str; 9] = [
    // TARGETS has the same.
    "graph: targets = [\"x86_64-unknown-linux-gnu\", \"aarch64-unknown-linux-gnu\"]",
    "licenses: allow = [",
    // Of texts, which are read where a crate names no licence: here it fails.
    "licenses: confidence-threshold = 0.93",
    "bans: multiple-versions = \"allow\"",
    // crates.io takes none that asks for any version of another; of ours none does.
    "bans: wildcards = \"deny\"",
    "bans: allow-wildcard-paths = true",
    "bans: deny = [",
    // There is one registry, and nothing from git.
    "sources: unknown-registry = \"deny\"",
    "sources: unknown-git = \"deny\"",
];

/// What only cargo-deny would look at is looked at nowhere, as it is not there where the tests are run.
#[test]
fn deny_toml_asks_for_nothing_that_is_not_looked_at_here() {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let (mut section, mut asked) = ("", Vec::new());
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if line.starts_with(char::is_alphabetic) {
            asked.push(format!("{section}: {line}"));
        }
    }
    assert_eq!(asked, ENFORCED);
    let targets = format!("graph: targets = {TARGETS:?}");
    assert_eq!(targets, ENFORCED[0]);
    for entry in denied("deny") {
        let line = format!("{{ crate = \"{entry}\", reason = ");
        assert!(text.contains(&line), "{entry}: by its name, of every version");
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned(), "A WITH x".to_owned()];
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "A WITH x OR GPL-3.0",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND GPL-3.0",
        "A",
        "none",
        "",
        "MIT ISC",
        "(MIT",
    ] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// What cargo-machete does: a crate whose name no source says is not used.
#[test]
fn every_dependency_is_used_by_the_code_that_asks_for_it() {
    let mut unused = Vec::new();
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap();
        let text_of = |folders: &[&str]| {
            let mut text = String::new();
            for name in folders {
                sources(&folder.join(name), &mut text);
            }
            text
        };
        let (code, all) = (text_of(&["src"]), text_of(&["src", "tests", "benches"]));
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["rename"]
                .as_str()
                .unwrap_or(named(dependency))
                .replace('-', "_");
            let text = if dependency["kind"] == "dev" { &all } else { &code };
            let is_said = text.match_indices(&name).any(|(at, _)| {
                let after = &text[at + name.len()..];
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                !text[..at].ends_with(is_word)
                    && (after.starts_with("::") || after.starts_with(" as ") || after.starts_with(';'))
            });
            if !is_said {
                unused.push(format!("{}: {name}", named(package)));
            }
        }
    }
    assert!(unused.is_empty(), "nothing uses {unused:?}");
}

/// Name and version of every crate that is linked into the binary for one of our targets, by cargo's own account.
fn linked() -> BTreeSet<(String, String)> {
    let mut linked = BTreeSet::new();
    for target in TARGETS {
        let tree = [
            "tree",
            "--locked",
            "--package=birdwatch",
            "--edges=normal,no-proc-macro",
            "--prefix=none",
            "--format={p}",
            "--target",
            target,
        ];
        for line in cargo(&tree).lines() {
            let mut words = line.split_whitespace();
            let (name, version) = (words.next().unwrap(), words.next().unwrap());
            linked.insert((name.to_owned(), version.trim_start_matches('v').to_owned()));
        }
    }
    linked
}

/// Each crate more is one more to trust, to build and to keep up with: whoever adds one says so here.
#[test]
fn no_more_crates_are_linked_than_there_were() {
    const MOST: usize = 200;
    let linked = linked().len();
    assert!(
        linked <= MOST,
        "{linked} crates are linked: for which is it worth it?"
    );
}

/// Checksums of Cargo.lock by name and version.
fn checksums() -> BTreeMap<(String, String), String> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut found = BTreeMap::new();
    for package in text.split("[[package]]\n").skip(1) {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            let line = package
                .lines()
                .find_map(|line| line.strip_prefix(start.as_str()))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

fn component(name: &str, version: &str, licence: &str, checksum: Option<&String>) -> Value {
    let mut component = json!({
        "type": if checksum.is_some() { "library" } else { "application" },
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
        "licenses": [{"expression": licence.replace('/', " OR ").replace("  OR  ", " OR ")}],
    });
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// The bill of materials in `CycloneDX` 1.6. It says nothing of time or machine: the same tree gives the same text.
fn bill() -> String {
    let (packages, checksums) = (packages(), checksums());
    let licence = |name: &str, version: &str| {
        let of = packages
            .iter()
            .find(|p| named(p) == name && p["version"] == version);
        of.and_then(|p| p["license"].as_str())
            .unwrap_or("NOASSERTION")
            .to_owned()
    };
    let mut own = Value::Null;
    let mut libraries = Vec::new();
    for (name, version) in linked() {
        let checksum = checksums.get(&(name.clone(), version.clone()));
        let component = component(&name, &version, &licence(&name, &version), checksum);
        if name == "birdwatch" {
            own = component;
        } else {
            libraries.push(component);
        }
    }
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": own}, "components": libraries,
    });
    serde_json::to_string_pretty(&bill).unwrap() + "\n"
}

#[test]
fn the_bill_of_materials_lists_every_crate_that_is_linked() {
    let file = root().join(BILL);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, bill()).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap();
    let read: Value = serde_json::from_str(&committed).unwrap();
    let listed: BTreeSet<(String, String)> = read["components"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&read["metadata"]["component"]])
        .map(|c| (named(c).to_owned(), c["version"].as_str().unwrap().to_owned()))
        .collect();
    let linked = linked();
    let missing: Vec<_> = linked.difference(&listed).collect();
    let too_many: Vec<_> = listed.difference(&linked).collect();
    assert!(
        missing.is_empty() && too_many.is_empty(),
        "run make generate; missing {missing:?}, gone {too_many:?}"
    );
    assert!(
        committed == bill(),
        "run make generate: licences or checksums differ"
    );
    assert!(
        linked.len() > 100 && listed.iter().any(|(name, _)| name == "rustls"),
        "{}",
        linked.len()
    );
    for component in read["components"].as_array().unwrap() {
        assert_eq!(
            component["hashes"][0]["content"].as_str().map(str::len),
            Some(64),
            "{component}"
        );
    }
}

#[test]
fn the_image_holds_its_bill_of_materials() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let last = dockerfile.split("\nFROM scratch").nth(1).unwrap();
    assert!(last.contains(BILL), "the last stage copies no {BILL}");
    let kept = fs::read_to_string(root().join(".dockerignore")).unwrap();
    assert!(
        kept.lines().any(|line| line == format!("!{BILL}")),
        "{BILL} does not reach the build"
    );
}
