//! Text from outside (queries, labels of series, names of routes, what servers say) made fit for people.

use std::borrow::Cow;

/// The most characters of a message: no text of a tenant's makes a status too large to be written.
pub(super) const LONGEST: usize = 2_000;

/// The same text where it is a line of at most `max` characters, else tidied.
#[must_use]
pub(super) fn fit(text: &str, max: usize) -> Cow<'_, str> {
    // Said anew at each look, and nearly always plain.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if text.len() <= max && (is_plain || !text.contains(is_unseen)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(tidy(text, max))
}

/// What changes how others are seen: control characters, and those that turn the direction of a line.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Text from outside on one line, without control characters, at most `max` characters; the cut is shown by `…`.
#[must_use]
pub fn tidy(text: &str, max: usize) -> String {
    let mut line = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || is_unseen(c))
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        // No more than shows whether a cut is needed: a body may be megabytes without a blank.
        line.extend(word.chars().take(max + 1));
        if line.chars().nth(max).is_some() {
            return line.chars().take(max.saturating_sub(1)).chain(['…']).collect();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_becomes_one_bounded_line() {
        assert_eq!(tidy("a\r\n  b\tc\u{1b}[31m ", 20), "a b c [31m");
        assert_eq!(tidy("", 5), "");
        assert_eq!(tidy("abcde", 5), "abcde");
        assert_eq!(tidy("abcdef", 5), "abcd…");
        assert_eq!(tidy("ab cdef", 5), "ab c…");
        assert_eq!(tidy("ab cd ef", 5), "ab c…");
        for max in 1..30 {
            assert!(
                tidy("é è ê ë €uro and some more words", max).chars().count() <= max,
                "{max}"
            );
        }
    }

    #[test]
    fn what_is_fit_already_stays_as_it_is() {
        assert_eq!(fit("two  blanks, a tail ", 50), "two  blanks, a tail ");
        assert_eq!(fit("two  lines\n*here*\u{1b}[2J", 50), "two lines *here* [2J");
        assert_eq!(fit("gnp.\u{202e}elif", 50), "gnp. elif");
        assert_eq!(fit("éé", 2), "éé");
        assert_eq!(fit("ééé", 2), "é…");
    }
}
