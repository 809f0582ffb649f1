//! JSON that is nested too deeply, made flatter as it comes. A machine over bytes: no I/O, nothing decoded, nothing kept.
//!
//! Readers of JSON stop at some depth (serde's at 128), and a list is read whole: one object beyond it would hide all
//! others. So what lies deeper than anybody reads is replaced by a text that says so.

use std::borrow::Cow;

/// Arrays and objects within one another that are let through, those of a list or an event about an object included.
pub const MOST: usize = 100;

/// What stands where something deeper was. It is told from `null`, so that nobody takes it for what was stored.
pub const INSTEAD: &str = "(nested too deeply to be read)";

/// Whether `JSON` is one document, with any white space, or a stream with one in each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    Document,
    /// One in each line; a broken line leaves the others as they are.
    Lines,
}

/// Replaces every array and object deeper than [`MOST`] in what passes, piece by piece.
#[derive(Clone, Debug)]
pub struct Flatter {
    shape: Shape,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Flatter {
    /// Before the first piece.
    #[must_use]
    pub const fn new(shape: Shape) -> Self {
        Self {
            shape,
            depth: 0,
            in_text: false,
            is_escaped: false,
        }
    }

    /// What is to be read instead of the next piece: the same, where nothing in it is too deep. Pieces may end anywhere.
    pub fn pass<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        let mut made: Option<Vec<u8>> = self.is_too_deep().then(Vec::new);
        // From here on nothing is copied yet.
        let mut rest = 0;
        for (at, byte) in piece.iter().enumerate() {
            let was_too_deep = self.is_too_deep();
            self.step(*byte);
            match (was_too_deep, self.is_too_deep()) {
                (false, true) => {
                    let made = made.get_or_insert_default();
                    made.extend(piece.get(rest..at).unwrap_or_default());
                    made.extend(format!("\"{INSTEAD}\"").bytes());
                }
                // A line that ends within it keeps its end.
                (true, false) => rest = if *byte == b'\n' { at } else { at + 1 },
                _ => {}
            }
        }
        let Some(mut made) = made else {
            return Cow::Borrowed(piece);
        };
        if !self.is_too_deep() {
            made.extend(piece.get(rest..).unwrap_or_default());
        }
        Cow::Owned(made)
    }

    const fn is_too_deep(&self) -> bool {
        self.depth > MOST
    }

    fn step(&mut self, byte: u8) {
        if byte == b'\n' && self.shape == Shape::Lines {
            *self = Self::new(self.shape);
        } else if self.is_escaped {
            self.is_escaped = false;
        } else if self.in_text {
            match byte {
                b'\\' => self.is_escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_text = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Passes it in pieces of these lengths, the last one as often as needed.
    fn passed(shape: Shape, text: &[u8], lengths: &[usize]) -> Vec<u8> {
        let (mut flatter, mut rest, mut out) = (Flatter::new(shape), text, Vec::new());
        let mut lengths = lengths.iter().copied();
        while !rest.is_empty() {
            let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
            let (piece, later) = rest.split_at(length);
            out.extend(flatter.pass(piece).iter());
            rest = later;
        }
        out
    }

    fn whole(text: &str) -> String {
        String::from_utf8(passed(Shape::Document, text.as_bytes(), &[])).unwrap()
    }

    /// So many arrays and objects within one another, in turn.
    fn nested(levels: usize, inner: &str) -> String {
        let open = ["[", "{\"a\":"];
        let close = ["]", "}"];
        let opened: String = (0..levels).map(|n| open[n % 2]).collect();
        let closed: String = (0..levels).rev().map(|n| close[n % 2]).collect();
        format!("{opened}{inner}{closed}")
    }

    /// What is to come out, by another way: of what was decoded.
    fn flat(value: &Value, depth: usize) -> Value {
        match value {
            Value::Array(_) | Value::Object(_) if depth == MOST => json!(INSTEAD),
            Value::Array(entries) => entries.iter().map(|entry| flat(entry, depth + 1)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter();
                Value::Object(fields.map(|(k, v)| (k.clone(), flat(v, depth + 1))).collect())
            }
            other => other.clone(),
        }
    }

    #[test]
    fn a_hundred_levels_pass_and_the_next_is_replaced_by_a_text_that_says_so() {
        let allowed = nested(MOST, "1");
        assert_eq!(whole(&allowed), allowed);
        for deeper in [1, 2, 900, 100_000] {
            let text = format!("[{},2]", nested(MOST - 1 + deeper, "{\"b\":\"]}\\\"[\"}"));
            let read: Value = serde_json::from_str(&whole(&text)).unwrap();
            assert_eq!(read[1], 2);
            assert!(read.to_string().contains(INSTEAD));
        }
    }

    #[test]
    fn brackets_in_texts_count_for_nothing() {
        let brackets = "[{".repeat(200);
        let text = json!({"[": brackets, "quoted": format!("\"{brackets}\\"), "end": "\\\\\""}).to_string();
        assert_eq!(whole(&text), text);
    }

    #[test]
    fn white_space_between_lines_of_one_document_changes_nothing() {
        let deep = nested(MOST + 50, "1").replace('[', "[\n").replace('}', "\n}");
        let read: Value = serde_json::from_str(&whole(&format!("{{\"a\":{deep}\n,\"b\":3}}"))).unwrap();
        assert_eq!(read["b"], 3);
    }

    #[test]
    fn a_broken_line_of_a_stream_leaves_the_next_as_it_is() {
        for broken in [
            "[".repeat(300),
            "{\"a".to_owned(),
            "\"\\".to_owned(),
            "]]]".to_owned(),
        ] {
            let lines = format!("{broken}\n{{\"type\":\"ADDED\"}}\n");
            let passed = passed(Shape::Lines, lines.as_bytes(), &[]);
            let text = String::from_utf8(passed).unwrap();
            assert_eq!(text.lines().nth(1), Some("{\"type\":\"ADDED\"}"), "{text}");
        }
    }

    /// Any JSON, with as many levels about each part as make it too deep now and then.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[\\[\\]{}\"\\\\a\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[\\[{\"\\\\a]{0,3}", inner.clone(), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
                (inner, 1..70_usize).prop_map(|(inner, levels)| {
                    (0..levels).fold(inner, |inner, n| {
                        if n % 2 == 0 {
                            json!([inner])
                        } else {
                            json!({"k": inner})
                        }
                    })
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_came_in_but_for_what_is_too_deep(
            value in any_json(), lengths in prop::collection::vec(1..40_usize, 0..200), lines in any::<bool>(),
        ) {
            let shape = if lines { Shape::Lines } else { Shape::Document };
            let text = value.to_string();
            let passed = passed(shape, text.as_bytes(), &lengths);
            let expected = flat(&value, 0);
            // Byte by byte, so that nothing of what is shallow is written in another way.
            prop_assert_eq!(String::from_utf8(passed).unwrap(), expected.to_string());
        }

        #[test]
        fn where_pieces_end_changes_nothing_of_any_bytes(
            bytes in prop::collection::vec(prop::sample::select(b"[[[[{{}]\"\\\n,a".to_vec()), 0..400),
            deep in 0..150_usize, lengths in prop::collection::vec(1..9_usize, 0..400), lines in any::<bool>(),
        ) {
            let shape = if lines { Shape::Lines } else { Shape::Document };
            let bytes = ["[".repeat(deep).into_bytes(), bytes].concat();
            prop_assert_eq!(passed(shape, &bytes, &lengths), passed(shape, &bytes, &[]));
        }
    }
}
