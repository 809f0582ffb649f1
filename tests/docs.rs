//! The documentation is true where a program can tell: links lead somewhere, manifests resolve, and what is quoted of
//! the operator is what the operator says. It starts nothing but a shell.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use birdwatch::api::BirdWatch;
use birdwatch::core::{plan, verbs};
use birdwatch::runtime::metrics::{Direction, Metrics, NoticeResult, WriteResult};
use birdwatch_bed::parts::slack::{Manner, Mode};
use serde_json::Value;

#[test]
fn every_relative_link_leads_to_a_file_and_to_a_heading_in_it() {
    let pages = pages();
    for (page, text) in &pages {
        for link in links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                beside(page, file)
            };
            assert!(root().join(&target).exists(), "{page}: {link} leads nowhere");
            if !anchor.is_empty() {
                let headings = pages.get(&target).map(|text| headings(text));
                let headings = headings.unwrap_or_else(|| panic!("{page}: {link} leads into no page"));
                assert!(
                    headings.contains(anchor),
                    "{page}: {link} is none of {headings:?}"
                );
            }
        }
    }
}

#[test]
fn limits_of_an_answer_are_documented_as_they_are_told() {
    use birdwatch::clients::prometheus::{Failure, MAX_ANSWER, MAX_SAMPLES, MOST_SAMPLES};
    let operations = &pages()["docs/operations.md"];
    for told in [
        Failure::TooLarge(MAX_SAMPLES),
        Failure::TooManySamples,
        Failure::SamplesTooLarge,
        Failure::NoRoom,
        Failure::Waited(std::time::Duration::from_secs(5)),
    ] {
        assert!(operations.contains(&format!("| `{told}`")), "{told}");
    }
    let (small, large) = (MAX_ANSWER >> 20, MAX_SAMPLES >> 20);
    let limits = format!("an answer of up to {small} MiB is read");
    assert!(operations.contains(&limits), "{limits}");
    let limits =
        format!("up to {large} MiB, and of one check, all its metrics together,\n{MOST_SAMPLES} samples");
    assert!(operations.contains(&limits), "{limits}");
}

#[test]
fn limits_of_the_api_servers_answers_are_documented() {
    use birdwatch::clients::size::{MAX_OBJECT, MAX_PAGE, PAGE};
    let text = page("docs/security.md").replace("\n  ", " ");
    let (object, list) = (MAX_OBJECT >> 20, MAX_PAGE >> 20);
    let limits = format!(
        "{object} MiB of an object, of one event of a watch and of anything else, {list} MiB of a list, which is asked for in pages of {PAGE} objects"
    );
    assert!(text.contains(&limits), "{limits}");
}

#[test]
fn every_page_and_picture_is_reached_from_the_readme() {
    let pages = pages();
    let mut reached = BTreeSet::new();
    let mut next = vec!["README.md".to_owned()];
    while let Some(page) = next.pop() {
        if let Some(text) = pages.get(&page).filter(|_| reached.insert(page.clone())) {
            let targets = links(text)
                .into_iter()
                .map(|link| beside(&page, link.split('#').next().unwrap_or_default()));
            next.extend(targets);
        } else {
            reached.insert(page);
        }
    }
    for file in files(&root().join("docs"), "") {
        let file = relative(&file);
        assert!(reached.contains(&file), "nothing leads to {file}");
    }
}

#[test]
fn every_birdwatch_in_the_docs_resolves_to_a_plan() {
    let mut seen = 0;
    for (page, text) in pages() {
        for document in fences(&text, "yaml")
            .iter()
            .flat_map(|block| block.split("\n---\n"))
        {
            if !document.lines().any(|line| line == "kind: BirdWatch") {
                continue;
            }
            let value: Value =
                serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{page}: {e}\n{document}"));
            let read: BirdWatch =
                serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{page}: {e}"));
            let written = serde_json::to_value(&read).expect("JSON");
            for field in value["spec"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(field, _)| field)
            {
                assert!(
                    !written["spec"][field].is_null(),
                    "{page}: spec.{field} is no field"
                );
            }
            plan::resolve(&read.spec).unwrap_or_else(|problems| panic!("{page}: {problems:?}"));
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} were found");
}

#[test]
fn the_first_release_of_the_readme_is_the_example() {
    let text = page("README.md");
    let block = fences(&text, "yaml")
        .into_iter()
        .find(|b| b.contains("kind: DestinationRule"))
        .expect("manifests");
    let example = read(&root().join("examples/shop.yaml"));
    let of_kind = |text: &str, kind: &str| -> Value {
        let line = format!("kind: {kind}");
        let found = text
            .split("\n---\n")
            .find(|document| document.lines().any(|l| l == line));
        serde_saphyr::from_str(found.unwrap_or_else(|| panic!("no {kind}"))).expect("YAML")
    };
    for kind in ["DestinationRule", "VirtualService"] {
        assert_eq!(of_kind(&block, kind), of_kind(&example, kind));
    }
    assert_eq!(
        of_kind(&block, "BirdWatch")["spec"]["steps"],
        of_kind(&example, "BirdWatch")["spec"]["steps"]
    );
}

#[test]
fn the_table_of_verbs_is_the_operators_own() {
    assert!(
        page("docs/steering.md").contains(&verbs::table()),
        "paste this:\n{}",
        verbs::table()
    );
}

#[test]
fn every_metric_is_documented_and_every_one_documented_is_there() {
    let metrics = Metrics::new();
    metrics.reconciled("ok", Duration::ZERO);
    metrics.queried("default", "ok", Duration::ZERO);
    metrics.prometheus_at_start("default", None);
    metrics.rollouts(&[("Idle", 1)]);
    metrics.weights_written(Direction::Up, WriteResult::Success);
    metrics.notices(NoticeResult::Delivered, 1);
    metrics.may_decide("promoted");
    let text = metrics.text().expect("metrics");
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let there: BTreeSet<String> = types
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let operations = page("docs/operations.md");
    let rows = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `birdwatch_")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| format!("birdwatch_{name}")).collect();
    assert_eq!(documented, there);
}

#[test]
fn every_way_the_stand_in_for_slack_can_misbehave_is_documented() {
    let text = page("docs/testbed.md");
    let refusal = serde_json::from_str::<Manner>("\"no such\"").expect_err("no such manner");
    let manners: Vec<_> = refusal
        .to_string()
        .split('`')
        .skip(3)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(
        manners.contains(&"ok".to_owned()) && manners.len() > 4,
        "{refusal}"
    );
    for manner in manners {
        assert!(text.contains(&format!("| `{manner}` |")), "{manner}");
    }
    let mode = serde_json::to_value(Mode::of(Manner::TooMany).times(3)).expect("JSON");
    for (field, value) in mode.as_object().expect("an object") {
        assert!(
            text.contains(&format!("\"{field}\": {value}")),
            "{field}: {value}"
        );
    }
}

#[test]
fn the_versions_tested_with_are_those_the_bed_is_pinned_to() {
    let operations = page("docs/operations.md");
    for (name, file, before) in [
        ("Kubernetes", "bed/tools/kube/go.mod", "k8s.io/kubernetes v"),
        ("Helm", "bed/tools/helm/go.mod", "helm.sh/helm/v4 v"),
        ("Istio", "bed/src/mesh.rs", "VERSION: &str = \""),
        ("Prometheus", "bed/tools/prometheus/go.mod", "// indirect; "),
    ] {
        let pins = page(file);
        let (_, version) = pins
            .split_once(before)
            .unwrap_or_else(|| panic!("{file}: no {before}"));
        let minor: Vec<_> = version.split('.').take(2).collect();
        let said = format!("{name} {}", minor.join("."));
        assert!(
            operations.contains(&said),
            "docs/operations.md does not say {said}"
        );
    }
}

#[test]
fn the_time_to_build_the_bed_is_the_same_wherever_it_is_said() {
    for name in ["README.md", "docs/testbed.md"] {
        assert!(page(name).contains("under 20 minutes on two"), "{name}");
    }
}

#[test]
fn every_test_named_in_the_architecture_exists() {
    let sources = sources(&["src", "tests", "bed"]);
    let text = page("docs/architecture.md");
    let (_, promises) = text.split_once("## Promises").expect("the chapter");
    let names: BTreeSet<&str> = promises
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| !name.contains('/'))
        .collect();
    assert!(names.len() > 30, "only {} are named", names.len());
    for name in names {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
    }
}

/// There, a name of five words or more is a test's.
#[test]
fn every_test_named_on_the_pages_on_security_and_proof_exists() {
    let sources = sources(&["src", "tests", "bed"]);
    let text = page("docs/security.md") + &page("docs/proof.md");
    let is_test = |name: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(is_part) && name.matches('_').count() >= 4
    };
    let names: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(names.len() > 60, "only {} are named", names.len());
    for name in names {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
    }
}

/// Of each message in the first column of the chapter on troubleshooting, and of those shown in the page on deciding,
/// four words in a row must stand in the sources, one of which may be a value there.
#[test]
fn every_message_explained_in_operations_is_one_the_operator_says() {
    let said = words(&sources(&["src"]));
    let text = page("docs/operations.md");
    let (_, chapter) = text.split_once("## Troubleshooting").expect("the chapter");
    let cells = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let messages: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(messages.len() > 40, "only {} are explained", messages.len());
    let unknown = messages.into_iter().filter(|message| {
        let words = words(message);
        !words.windows(words.len().min(4)).any(|run| {
            let reads_like = |there: &&[String]| {
                let values = there.iter().filter(|word| word.starts_with('{')).count();
                let same = run.iter().zip(*there).filter(|(a, b)| a == b).count();
                values <= 1 && same + values >= run.len()
            };
            said.windows(run.len()).any(|there| reads_like(&there))
        })
    });
    assert_eq!(
        unknown.collect::<Vec<_>>(),
        Vec::<&str>::new(),
        "nothing in the sources reads like these"
    );
}

#[test]
fn the_script_for_pipelines_tells_the_ends_apart() {
    let deployment = "4|4|2";
    let script = fences(&page("docs/pipelines.md"), "sh")
        .into_iter()
        .next()
        .expect("a script");
    let cases = [
        (
            "Promoted|v2|shop-v2|2|v2|Promoted|v2 is production now",
            deployment,
            0,
        ),
        (
            "RolledBack|v2|shop-v2|2|v2|RolledBack|errors | is 3",
            deployment,
            1,
        ),
        (
            "RolledBack|v2|shop-v2|2|v2|RolledBack|its Deployment is gone",
            "",
            1,
        ),
        (
            "Progressing|v3|shop-v3|1|v2|Superseded|v3 is newer",
            deployment,
            1,
        ),
        ("Frozen|v2|shop-v2|2|||frozen at 25 %", deployment, 2),
        (
            "RolledBack|v2|shop-v2|1|v2|RolledBack|that was the revision before",
            deployment,
            3,
        ),
        (
            "RolledBack|v2|shop-v2|2|v2|RolledBack|its controller has not looked yet",
            "5|4|2",
            3,
        ),
        (
            "Progressing|v2|shop-v2|2|v2|Superseded|the same version, changed",
            deployment,
            3,
        ),
        ("Promoted|v1|shop-v1|1|v1|Promoted|the one before", deployment, 3),
        ("||||||", "", 3),
    ];
    std::thread::scope(|scope| {
        for (state, deployment, code) in cases {
            let script = &script;
            // Only what stays undecided has to wait for its time to be over.
            let seconds = if code == 3 { "1" } else { "60" };
            scope.spawn(move || {
                let ended = wait_for_v2(script, state, deployment, seconds);
                assert_eq!(ended, Some(code), "{state}");
            });
        }
    });
}

/// Runs the script with a kubectl that knows one state, until its time is over.
fn wait_for_v2(script: &str, state: &str, deployment: &str, seconds: &str) -> Option<i32> {
    let kubectl =
        "kubectl() { case $2 in birdwatch) echo \"$STATE\" ;; deployment) echo \"$DEPLOYMENT\" ;; esac; }";
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{kubectl}\n{script}"))
        .args(["birdwatch-wait", "shop", "v2", seconds]);
    shell
        .env("STATE", state)
        .env("DEPLOYMENT", deployment)
        .env("BIRDWATCH_WAIT_EVERY", "0.1");
    shell.output().expect("sh").status.code()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn page(name: &str) -> String {
    read(&root().join(name))
}

/// The pages by name, from the top of the tree.
fn pages() -> BTreeMap<String, String> {
    let docs = files(&root().join("docs"), "md");
    let all = docs.into_iter().chain([root().join("README.md")]);
    all.map(|file| (relative(&file), read(&file))).collect()
}

/// All files below, with that ending.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The file that a link of `page` names, from the top of the tree.
fn beside(page: &str, file: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Targets of links and pictures that stay in the tree.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// Headings as links name them.
fn headings(text: &str) -> BTreeSet<String> {
    let slug = |line: &str| -> String {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(slug)
        .collect()
}

/// Fenced blocks of a language.
fn fences(text: &str, language: &str) -> Vec<String> {
    let start = format!("\n```{language}\n");
    text.split(&start)
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```"))
        .map(|(block, _)| format!("{block}\n"))
        .collect()
}

/// All Rust sources below these directories.
fn sources(dirs: &[&str]) -> String {
    let all = dirs.iter().flat_map(|dir| files(&root().join(dir), ".rs"));
    all.map(|file| read(&file)).collect()
}

/// The words of a text without what stands around them; a value to be filled in is one that begins with a brace.
fn words(text: &str) -> Vec<String> {
    let around = |c: char| !c.is_alphanumeric() && !matches!(c, '{' | '}');
    let between = |c: char| c.is_whitespace() || matches!(c, '"' | '(' | ')' | '\\');
    text.split(between)
        .map(|word| word.trim_matches(around).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}
