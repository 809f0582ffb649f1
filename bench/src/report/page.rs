//! A page with marks, and what stands between them. Text in, text out.

/// The page with this text between the marks of that name; None where it does not have both in their order.
pub(super) fn filled(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- bench: {name} -->"),
        format!("<!-- bench: end of {name} -->"),
    );
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

/// A table; the first column to the left, the others as they are.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "Not measured.".to_owned();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let mut text = line(&head);
    text.push_str(&"|---".repeat(head.len()));
    text.push_str("|\n");
    for row in rows {
        text.push_str(&line(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let page = "a\n<!-- bench: x -->\nold\n<!-- bench: end of x -->\nb\n";
        let expected = "a\n<!-- bench: x -->\n\nnew\n\n<!-- bench: end of x -->\nb\n";
        assert_eq!(filled(page, "x", "new\n"), Some(expected.into()));
        assert_eq!(filled(expected, "x", "new"), Some(expected.into()));
        assert_eq!(filled(page, "y", "new"), None);
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(table(&["a"], &[]), "Not measured.");
        let text = table(&["a", "b"], &[vec!["1".into(), "2".into()]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
