//! What the core says is explained: each text of four words or more in its sources is in the tables of docs/operations.md,
//! or stands below with the reason why not. From the tables to cases on a real API server goes `tests/bed_symptoms`, and
//! from them to the sources `tests/docs.rs`.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot read")]

use std::fs;
use std::path::{Path, PathBuf};

/// Where no text is one that people have to look up: the beginning of a path below src/core, and why.
const PARTS: [(&str, &str); 13] = [
    (
        "preflight",
        "findings of `birdwatch check`, which docs/check.md has by their codes; tests/check.rs",
    ),
    (
        "plan",
        "what is wrong with a spec, by the name of the field: tests/bad_specs",
    ),
    ("query/template.rs", "the same, of a query's variables"),
    ("query.rs", "the same, of a query"),
    ("questions.rs", "the same, of a query; and queries"),
    ("preset.rs", "queries"),
    (
        "verbs.rs",
        "the table of verbs on docs/steering.md, and what is wrong with a verb, which is told at once",
    ),
    (
        "counting/words.rs",
        "what was measured and counted: docs/how-it-decides.md",
    ),
    (
        "counting/sight.rs",
        "what a rollout could find: docs/how-it-decides.md",
    ),
    ("scenarios", "tests"),
    ("promises.rs", "tests"),
    ("world", "tests"),
    (
        "sequential",
        "mathematics, without a word to anybody but in its tests",
    ),
];

/// Texts that no table has, by what they have in common. Each begins as it stands in the sources.
const TEXTS: [(&str, &[&str]); 6] = [
    (
        "what is done, and nothing to be done about it",
        &[
            "releasing {} instead of {}, in steps of {shown} %",
            " (assumed: no traffic yet, and every name of the query is known)",
            "weight {} % (step {} of {}), held {}",
            "the metrics have changed: recording the baseline again",
            "waiting to point subset {} at {}",
            "raising the weight from {} % to {} %",
            "the baseline waits until {first:.0}: before that the queries see what a canary did with weight",
            "{} has served 100 % for its whole hold",
            "giving subset {} all traffic",
            "going on at weight {} %",
            "{to} is production now, instead of {from}",
            "{to} given up at weight 0: {why}",
        ],
    ),
    (
        "what waits for the next check, or for the next look of a Deployment's controller",
        &[
            "the raise to {} % waits for a new healthy check",
            "production's label waits for a healthy check",
            "Deployment {} was not yet observed by its controller",
            "was in production before",
        ],
    ),
    (
        "what somebody asked for, a moment ago and by name",
        &[
            "spec.paused is true: no raise, and the hold stands still",
            "paused before production's label is written",
            "the BirdWatch is being deleted",
            "the operator is being removed",
            "the spec names other objects now",
            "version {} (Deployment {}) is newer",
            "somebody lowered the weight: it is not raised again in this attempt; use retry",
            "{why}: it is not raised again in this attempt",
        ],
    ),
    (
        "the reason within a text that is explained, and what to do",
        &[
            "before any traffic has moved it is beyond {bounds}",
            "use $(version) in the query, so that production gives the baseline, or give min",
            "send production some requests, or give min",
            "the query has no result before there is traffic, and with direction decrease or both",
            "production is scraped every {every}, and the operator is told of {scrape}",
            "Istio counts no request of production: has the service traffic, and its pods a sidecar?",
            "no series named {}: it is misspelt, or has to be exported from the start, with 0",
            "no bound of the histogram is {milliseconds} ms or more",
            "it selects {asked}, and only series with {only} may be read",
            "info() reads series beside those it is given",
            "it cannot be written anew with {0} in each selector: write it more simply",
            "{}{more}; `birdwatch check` says what to do",
        ],
    ),
    (
        "another question of the same check had no answer, and its reason follows, as in the table of what is not known",
        &[
            "the request rate is unknown: {why}",
            "the query has no result, and the traffic is unknown: {why}",
            "the selector has no series, and its names could not be looked up: {why}",
            "production, asked at the same moment: {why}",
            "production's reading is not a number",
            "the query answered {} series; at most {MOST_SERIES} are judged",
        ],
    ),
    (
        "what no cluster and no Prometheus brings about: the core says something all the same",
        &[
            "the query was not asked",
            "the query answered nothing",
            "the pods of Deployment {} have no version label",
            "no route holds both subsets",
        ],
    ),
];

/// A beginning that is longer is that of a certain text.
const SOME: usize = 12;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Sources of the core by their names below src/core, without their tests.
fn sources() -> Vec<(String, String)> {
    let top = root().join("src/core");
    let mut found = Vec::new();
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                found.push((name(&top, &path), code.to_owned()));
            }
        }
    }
    found
}

fn name(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap().to_string_lossy().into_owned()
}

/// The texts of a source, as they are when lines that go on are joined.
fn texts(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|c| *c == '\n');
            }
            // A quotation mark as a character, or a lifetime.
            '\'' if chars.next_if_eq(&'\\').is_some() || chars.peek() == Some(&'"') => drop(chars.next()),
            '"' => found.push(text(&mut chars)),
            _ => {}
        }
    }
    found
}

/// What follows a quotation mark, up to the next one.
fn text(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => text.push(' '),
                other => text.extend(other),
            },
            _ => text.push(c),
        }
    }
    text
}

/// What stands between the values that are filled in.
fn fixed(text: &str) -> Vec<&str> {
    let parts = text.split('{').enumerate();
    let parts = parts.map(|(at, part)| match part.split_once('}') {
        Some((_, after)) if at > 0 => after,
        _ => part,
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// A sentence, or most of one.
fn is_said(text: &str) -> bool {
    let is_word = |word: &&str| word.chars().any(char::is_alphabetic);
    fixed(text)
        .iter()
        .flat_map(|part| part.split_whitespace())
        .filter(is_word)
        .count()
        >= 4
}

/// Whether a row has all that is fixed in a text, in its order. A row that ends in `…` leaves out the rest.
fn explains(row: &str, text: &str) -> bool {
    let (mut rest, is_cut) = row
        .strip_suffix('…')
        .map_or((row, false), |row| (row.trim_end(), true));
    for part in fixed(text) {
        let Some(at) = rest.find(part) else {
            let begun = |(at, _)| rest.len() - at > SOME && part.starts_with(&rest[at..]);
            return is_cut && rest.char_indices().any(begun);
        };
        rest = &rest[at + part.len()..];
    }
    true
}

/// The messages in the first column of the tables of symptoms.
fn rows() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, chapter) = page.split_once("## Troubleshooting").unwrap();
    let cells = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Texts of the core that people may be shown, with their files.
fn said() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (file, code) in sources() {
        if PARTS.iter().any(|(part, _)| file.starts_with(part)) {
            continue;
        }
        let texts = texts(&code).into_iter().filter(|text| is_said(text));
        found.extend(texts.map(|text| (file.clone(), text)));
    }
    found
}

#[test]
fn every_message_of_the_core_is_explained_or_stands_here_with_the_reason() {
    let (said, rows) = (said(), rows());
    assert!(said.len() > 60, "only {} are found", said.len());
    let listed = |text: &str| {
        TEXTS
            .iter()
            .flat_map(|(_, texts)| *texts)
            .any(|one| text.starts_with(one))
    };
    let explained = |text: &str| rows.iter().any(|row| explains(row, text));
    let unknown = said.iter().filter(|(_, text)| !explained(text) && !listed(text));
    let unknown: Vec<_> = unknown.collect();
    assert!(
        unknown.is_empty(),
        "no row of docs/operations.md has {unknown:#?}"
    );
}

#[test]
fn what_stands_here_is_said_and_nowhere_explained() {
    let (said, rows) = (said(), rows());
    for text in TEXTS.iter().flat_map(|(_, texts)| *texts) {
        let found: Vec<_> = said.iter().filter(|(_, one)| one.starts_with(text)).collect();
        assert!(!found.is_empty(), "nobody says {text:?}");
        for (_, text) in found {
            assert!(!rows.iter().any(|row| explains(row, text)), "a row has {text:?}");
        }
    }
    let files = sources();
    for (part, _) in PARTS {
        assert!(
            files.iter().any(|(file, _)| file.starts_with(part)),
            "there is no {part}"
        );
    }
}

#[test]
fn a_text_is_told_from_what_stands_beside_it() {
    let code = "let a = 'x'; // \"no text\"\n f('\"', '\\'', \"one {two} \\\"three\\\" \\\n      four\"); g::<'a>(\"five\")";
    assert_eq!(texts(code), ["one {two} \"three\" four", "five"]);
    assert!(is_said("{} waits for {why} of the others") && !is_said("{} waits for {why}"));
    let row = "v1 waits: shop/http[#0] gives the canary 5 of 100 while nothing is released";
    assert!(explains(row, "{} waits: {} gives the canary {} of {} while"));
    assert!(!explains(row, "{} waits: {} gives the canary nothing"));
    let cut = "v1 has no available pod: traffic stays at 25 % until one is back; …";
    assert!(explains(
        cut,
        "{} has no available pod: traffic stays at {} % until one is back; the verb"
    ));
    assert!(!explains(
        cut,
        "{} has no available pod: traffic stays at {} % for ever"
    ));
    assert!(!explains(cut, "it is something else"));
}
