//! How much of an answer of the API server is read: more than any honest one has. A machine over bytes: no I/O, nothing kept.
//!
//! etcd stores objects of up to 1.5 MiB unless it is told otherwise, and the API server takes no request above 3 MiB. It adds
//! fields, and writes in JSON what it stores more tightly, so an object's bound is far above that. A list has none but what its
//! objects have together, so lists are asked for in small pages.

use std::fmt;

use super::depth::Shape;

/// Objects in one page of a list.
pub const PAGE: u32 = 50;

/// The most that is read of one object: got, patched, or in one line of a watch. So it is for whatever else is no list.
pub const MAX_OBJECT: usize = 16 << 20;

/// The most that is read of a page: all its objects as large as etcd takes them, and a little more.
pub const MAX_PAGE: usize = 80 << 20;

/// What a request is answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An object, or a `Status`, or what the server is able to do.
    Object,
    /// One event about an object in each line.
    Watch,
    /// Objects, of which the request says how many.
    Page,
}

impl Answer {
    /// By the query of the request. A list that was asked for without a limit is none that this program asks for.
    #[must_use]
    pub fn of(query: &str) -> Self {
        let has = |wanted: fn(&str) -> bool| query.split('&').any(wanted);
        if has(|part| matches!(part, "watch=true" | "watch=1")) {
            Self::Watch
        } else if has(|part| part.starts_with("limit=")) {
            Self::Page
        } else {
            Self::Object
        }
    }

    /// How its JSON is written.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::Watch => Shape::Lines,
            Self::Object | Self::Page => Shape::Document,
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Object | Self::Watch => MAX_OBJECT,
            Self::Page => MAX_PAGE,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object => f.write_str("one object"),
            Self::Watch => f.write_str("one event"),
            Self::Page => write!(f, "a list of {PAGE} objects"),
        }
    }
}

/// An answer goes on beyond what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server's answer is larger than {most} MiB, the most that is read of {0}", most = .0.most() >> 20)]
pub struct TooLarge(Answer);

/// Counts what passes.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    answer: Answer,
    seen: usize,
}

impl Meter {
    /// Before the first piece.
    #[must_use]
    pub const fn new(answer: Answer) -> Self {
        Self { answer, seen: 0 }
    }

    /// Takes note of the next piece, which may end anywhere.
    ///
    /// # Errors
    /// With it the answer, or a line of a watch, is too large.
    pub fn pass(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        if self.answer != Answer::Watch {
            return self.add(piece.len());
        }
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            self.add(line.len())?;
            if line.ends_with(b"\n") {
                self.seen = 0;
            }
        }
        Ok(())
    }

    const fn add(&mut self, length: usize) -> Result<(), TooLarge> {
        self.seen = self.seen.saturating_add(length);
        if self.seen > self.answer.most() {
            return Err(TooLarge(self.answer));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_the_query_that_asks_for_it() {
        for (query, answer) in [
            ("watch=true&timeoutSeconds=290", Answer::Watch),
            ("limit=50&watch=1", Answer::Watch),
            ("&limit=50&fieldSelector=watch", Answer::Page),
            ("fieldManager=limit", Answer::Object),
            ("", Answer::Object),
        ] {
            assert_eq!(Answer::of(query), answer, "{query}");
        }
    }

    #[test]
    fn the_last_byte_allowed_passes_and_the_next_does_not_wherever_pieces_end() {
        for answer in [Answer::Object, Answer::Page, Answer::Watch] {
            for piece in [1 << 10, (1 << 20) + 7, answer.most()] {
                let mut meter = Meter::new(answer);
                let mut left = answer.most();
                let bytes = vec![b' '; piece];
                while left > 0 {
                    let next = &bytes[..piece.min(left)];
                    meter.pass(next).unwrap();
                    left -= next.len();
                }
                assert_eq!(meter.pass(b" "), Err(TooLarge(answer)), "{answer:?} by {piece}");
            }
        }
    }

    #[test]
    fn each_line_of_a_watch_counts_for_itself() {
        let mut meter = Meter::new(Answer::Watch);
        let line = [vec![b' '; MAX_OBJECT - 1], b"\n".to_vec()].concat();
        for _ in 0..3 {
            meter.pass(&line).unwrap();
            meter.pass(b"\n{}\n{").unwrap();
            meter.pass(b"}\n").unwrap();
        }
        let longer = [b"{}\n ".to_vec(), line].concat();
        assert_eq!(meter.pass(&longer), Err(TooLarge(Answer::Watch)));
    }

    #[test]
    fn a_page_has_room_for_objects_as_large_as_etcd_takes_them() {
        let of_etcd = 3 << 19;
        let page = usize::try_from(PAGE).unwrap() * of_etcd;
        assert!(MAX_PAGE > page && MAX_OBJECT > 3 * of_etcd);
    }

    #[test]
    fn the_error_names_the_limit() {
        let said = [Answer::Object, Answer::Watch, Answer::Page].map(|answer| TooLarge(answer).to_string());
        assert_eq!(
            said,
            [
                "the API server's answer is larger than 16 MiB, the most that is read of one object",
                "the API server's answer is larger than 16 MiB, the most that is read of one event",
                "the API server's answer is larger than 80 MiB, the most that is read of a list of 50 objects",
            ]
        );
    }
}
