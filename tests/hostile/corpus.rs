//! Inputs that once failed, or stand for many that could: `corpus/KIND/what_it_is.json`, each tried before those by chance
//! and in the same way. What fails is written to a file, which only needs a name to be one more of them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// The kinds of which inputs are kept.
pub(crate) const KINDS: [&str; 5] = ["prometheus", "routes", "slack", "specs", "statuses"];

/// What is kept of a kind, in the order of the names.
pub(crate) fn kept(kind: &str) -> Vec<Value> {
    assert!(KINDS.contains(&kind), "{kind}");
    let files = entries(&folder().join(kind));
    assert!(!files.is_empty(), "nothing is kept of {kind}");
    println!("{kind}: {} inputs are kept", files.len());
    let read = |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).unwrap());
    files
        .iter()
        .map(|path| written_out(read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))))
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// `{"$long": 3}` stands for three characters, `{"$deep": 3}` for three levels: files stay short.
fn written_out(value: Value) -> Value {
    let short = |name: &str| usize::try_from(value.get(name)?.as_u64()?).ok();
    if let Some(length) = short("$long") {
        return json!("x".repeat(length));
    }
    if let Some(levels) = short("$deep") {
        return nested(levels);
    }
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(name, inner)| (name, written_out(inner))).collect())
        }
        Value::Array(entries) => entries.into_iter().map(written_out).collect(),
        other => other,
    }
}

/// So many levels, of lists and objects by turns.
pub(crate) fn nested(levels: usize) -> Value {
    (0..levels).fold(json!("inmost"), |inner, level| {
        if level % 2 == 0 {
            json!([inner])
        } else {
            Value::Object(Map::from_iter([("deep".to_owned(), inner)]))
        }
    })
}

/// While it stands, an input is being tried: a test that fails meanwhile leaves it in a file.
pub(crate) struct Trying<'a> {
    pub(crate) kind: &'a str,
    pub(crate) input: &'a Value,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let text = serde_json::to_string_pretty(self.input).unwrap_or_default();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{}.json", self.kind));
        let kept = match std::fs::write(&file, &text) {
            Ok(()) => file.display().to_string(),
            Err(why) => why.to_string(),
        };
        println!(
            "FAILED on this input; move it to tests/hostile/corpus/{}/ under a name that says what it is: {kept}\n{text:.3000}",
            self.kind
        );
    }
}

#[test]
fn every_folder_of_the_corpus_is_tried() {
    let names: Vec<_> = entries(&folder())
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, KINDS);
    for kind in KINDS {
        let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        assert!(entries(&folder().join(kind)).iter().all(is_json), "{kind}");
    }
}

#[test]
fn what_fails_is_left_in_a_file_that_can_be_kept() {
    let input = json!({"service": "left-behind"});
    let failing = std::panic::catch_unwind(|| {
        let _trying = Trying {
            kind: "trial",
            input: &input,
        };
        panic!("as it should");
    });
    assert!(failing.is_err());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-trial.json");
    let left: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(left, input);
}

#[test]
fn what_stands_for_more_is_written_out() {
    let short = json!({"a": {"$long": 3}, "b": [{"$deep": 2}], "c": {"$long": "x"}});
    let long = json!({"a": "xxx", "b": [{"deep": ["inmost"]}], "c": {"$long": "x"}});
    assert_eq!(written_out(short), long);
}
