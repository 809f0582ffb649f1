//! Documents changed by chance: parts go, come twice, become something else, grow very long or very deep.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

/// Texts that somebody, somewhere, takes for more than text.
const TEXTS: [&str; 18] = [
    "",
    " ",
    "\u{0}",
    "a\r\nb\tc\u{1b}[31m",
    "<!channel> <@U1> <https://evil.example|click>",
    "*_~`&lt;>",
    "\u{202e}txt.exe",
    "🙂\u{fe0f}\u{200d}",
    "é\u{301}",
    "../../etc/passwd",
    "$(version)",
    "{{.Values}} %s %n ${HOME}",
    "\"}) or vector(1) #",
    "NaN",
    "-1",
    "1e999",
    "0x7f",
    "payroll/shop",
];

/// Numbers at the ends of what types can hold.
fn numbers() -> [Value; 12] {
    [
        json!(0),
        json!(-1),
        json!(101),
        json!(0.5),
        json!(-0.0),
        json!(1e308),
        json!(-1e308),
        json!(5e-324),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(2_147_483_648_i64),
    ]
}

pub(crate) struct Mutator {
    rng: StdRng,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Another one, that draws otherwise.
    #[allow(dead_code, reason = "each test binary uses its own part of it")]
    pub(crate) fn another(&mut self) -> Self {
        Self::new(self.rng.random())
    }

    /// One of several.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.rng.random_range(0..all.len())]
    }

    /// A document with one change, or with up to four.
    pub(crate) fn json(&mut self, from: &Value) -> Value {
        let mut changed = from.clone();
        let most = *self.one_of(&[1, 1, 4]);
        for _ in 0..self.rng.random_range(1..=most) {
            self.change(&mut changed);
        }
        changed
    }

    /// A document with changes, written, and one time in four broken as text as well.
    pub(crate) fn text(&mut self, from: &Value) -> Vec<u8> {
        let mut text = self.json(from).to_string().into_bytes();
        if self.rng.random_range(0..4) == 0 {
            let at = self.rng.random_range(0..=text.len());
            match self.rng.random_range(0..4) {
                0 => text.truncate(at),
                1 => text.insert(at, self.rng.random()),
                2 => text = b"\xef\xbb\xbf".iter().copied().chain(text).collect(),
                _ => {
                    let again = text[at..].to_vec();
                    text.extend(again);
                }
            }
        }
        text
    }

    fn change(&mut self, document: &mut Value) {
        let mut places = Vec::new();
        collect(document, String::new(), &mut places);
        let place = self.one_of(&places).clone();
        let other = self.one_of(&places).clone();
        let other = document.pointer(&other).cloned().unwrap_or_default();
        let Some(target) = document.pointer_mut(&place) else {
            return;
        };
        match self.rng.random_range(0..12) {
            0 => *target = Value::Null,
            1 => *target = json!(self.rng.random_range(0..2) == 0),
            2 => *target = self.one_of(&numbers()).clone(),
            3 => *target = json!(self.one_of(&TEXTS)),
            4 => *target = json!("x".repeat(self.rng.random_range(1..40_000))),
            5 => *target = other,
            6 => *target = json!([target.take()]),
            7 => *target = json!({"value": target.take()}),
            8 => *target = deep(self.rng.random_range(1..60)),
            9 => self.take_away(target),
            10 => self.add(target),
            _ => *target = json!(self.rng.random_range(-1000..1000)),
        }
    }

    fn take_away(&mut self, from: &mut Value) {
        match from {
            Value::Object(fields) if !fields.is_empty() => {
                let names: Vec<String> = fields.keys().cloned().collect();
                fields.remove(self.one_of(&names));
            }
            Value::Array(entries) if !entries.is_empty() => {
                entries.remove(self.rng.random_range(0..entries.len()));
            }
            _ => {}
        }
    }

    fn add(&mut self, to: &mut Value) {
        match to {
            Value::Object(fields) => {
                let name = (*self.one_of(&TEXTS)).to_owned();
                fields.insert(name, json!(self.one_of(&TEXTS)));
            }
            Value::Array(entries) if !entries.is_empty() => {
                let one = self.one_of(entries).clone();
                let times = self.rng.random_range(1..200);
                entries.extend(std::iter::repeat_n(one, times));
            }
            _ => {}
        }
    }
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("deep"), |inner, level| {
        if level % 2 == 0 {
            json!([inner])
        } else {
            Value::Object(Map::from_iter([("in".to_owned(), inner)]))
        }
    })
}

/// The pointer of every part.
fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(inner, format!("{at}/{name}"), places);
            }
        }
        // Of a long list some entries stand for the others.
        Value::Array(entries) => {
            for (i, inner) in entries.iter().enumerate().take(20) {
                collect(inner, format!("{at}/{i}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}
