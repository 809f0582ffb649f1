//! The messages that docs/operations.md explains, and how one is told from another.

use birdwatch_bed::operator::root;

/// Every text in the first column of the tables of symptoms; `none, …` as it stands.
pub(crate) fn rows() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, troubles) = page.split_once("## Troubleshooting").unwrap();
    let cells = troubles
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells
        .filter(|cell| cell.contains('`') || cell.starts_with("none"))
        .flat_map(texts)
        .collect()
}

fn texts(cell: &str) -> Vec<String> {
    if !cell.contains('`') {
        return vec![cell.to_owned()];
    }
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Every source of a test.
pub(crate) fn sources() -> String {
    let mut found = String::new();
    for dir in ["src", "tests"] {
        read(&root().join(dir), &mut found);
    }
    found
}

fn read(dir: &std::path::Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether `shown` holds the documented `text`, whatever its numbers are and whatever stands for `…`.
pub(crate) fn is_shown(text: &str, shown: &str) -> bool {
    let (text, shown) = (without_numbers(text), without_numbers(shown));
    let mut rest = shown.as_str();
    text.split('…').map(str::trim).all(|part| {
        rest.find(part)
            .map(|at| rest = &rest[at + part.len()..])
            .is_some()
    })
}

/// Numbers and spans of time are all one; the number of a version or a route is its name, and what a server answered or the
/// most that is read is what is documented.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let in_a_name = out.ends_with(|before: char| before.is_alphanumeric());
        if !c.is_ascii_digit() || in_a_name {
            out.push(c);
            continue;
        }
        let counts = ["answered ", "more than ", "larger than "]
            .iter()
            .any(|before| out.ends_with(before));
        if counts {
            // What stands before the number keeps it from being taken for a span as well.
            out.push('#');
            out.push(c);
            continue;
        }
        let is_more = |rest: &str| {
            let digit = |at: usize| rest[at..].starts_with(|c: char| c.is_ascii_digit());
            digit(0) || rest.starts_with('.') && digit(1)
        };
        while is_more(chars.as_str()) {
            chars.next();
        }
        out.push('0');
    }
    for unit in ["ms", "s", "m", "h"] {
        out = spans(&out, unit);
    }
    // A span of several units.
    while out.contains("<span> <span>") || out.contains("<span><span>") {
        out = out
            .replace("<span> <span>", "<span>")
            .replace("<span><span>", "<span>");
    }
    out
}

fn spans(text: &str, unit: &str) -> String {
    let number = format!("0{unit}");
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(&number) {
        let after = &rest[at + number.len()..];
        out.push_str(&rest[..at]);
        let is_a_unit = !after.starts_with(char::is_alphabetic);
        out.push_str(if is_a_unit { "<span>" } else { &number });
        rest = after;
    }
    out + rest
}

#[test]
fn texts_are_compared_but_for_their_numbers() {
    assert!(is_shown(
        "holding 10 % for 45s (45s instead of 5s: until then …)",
        "holding 20 % for 1m 30s (41s instead of 500ms: until then it waits)"
    ));
    assert!(is_shown(
        "…: errors is 0.019, limit 0.014",
        "v2: errors is 1, limit 2"
    ));
    assert!(!is_shown("v2 was rolled back to v1", "v1 was rolled back to v2"));
    assert!(!is_shown("holding 10 % for 45s", "holding 10 % for 45 shops"));
    assert!(!is_shown("a … b", "b then a"));
    assert!(is_shown(
        "Prometheus answered 422",
        "errors: Prometheus answered 422: many-to-many"
    ));
    assert!(!is_shown(
        "Prometheus answered 422",
        "errors: Prometheus answered 401"
    ));
    assert!(!is_shown("larger than 24 MiB", "larger than 1 MiB"));
    assert!(!is_shown(
        "250 series, more than 100: aggregate",
        "7 series, more than 10: aggregate"
    ));
    assert!(is_shown(
        "more than the 25 % of this",
        "more than the 40 % of this"
    ));
}
