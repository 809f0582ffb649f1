//! Text as Slack wants it.

/// The most characters of a message that are sent; Slack itself cuts at 40,000.
pub const MAX_TEXT: usize = 3_000;

/// Text for Slack: at most [`MAX_TEXT`] characters (a cut is shown by `…`), and the three characters by which
/// Slack knows links, mentions and entities made harmless.
#[must_use]
pub fn prepare(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT * 4) + 16);
    let cut = text.chars().nth(MAX_TEXT).is_some();
    let kept = if cut { MAX_TEXT - 1 } else { MAX_TEXT };
    for c in text.chars().take(kept) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    if cut {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_and_links_become_plain_text() {
        assert_eq!(
            prepare("<!channel> a & b > c"),
            "&lt;!channel&gt; a &amp; b &gt; c"
        );
        assert_eq!(prepare("&amp;"), "&amp;amp;");
        assert_eq!(prepare("*bold* `code` ü"), "*bold* `code` ü");
    }

    #[test]
    fn long_text_is_cut_between_characters_and_shows_it() {
        let exact = "é".repeat(MAX_TEXT);
        assert_eq!(prepare(&exact), exact);
        let cut = prepare(&"é".repeat(MAX_TEXT + 1));
        assert_eq!(cut.chars().count(), MAX_TEXT);
        assert!(cut.ends_with("é…"));
    }

    #[test]
    fn an_entity_is_never_cut_in_two_and_the_limit_of_slack_is_kept() {
        let cut = prepare(&"&".repeat(MAX_TEXT + 1));
        assert!(cut.ends_with("&amp;…"));
        assert!(cut.chars().count() < 40_000);
    }
}
