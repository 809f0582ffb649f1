//! A report as one HTML file that needs nothing else: text, tables, pictures.

use std::fmt::Write as _;

use super::Figure;
use super::svg::escape;

/// A page, from top to bottom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// Title of the window and first heading.
    pub title: String,
    /// What follows.
    pub parts: Vec<Part>,
}

/// One part of a page. All text is text: markup in it is shown, not obeyed.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A heading below the title.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Text as it stands, every character of the same width.
    Code(String),
    /// A table.
    Table {
        /// Names of the columns.
        head: Vec<String>,
        /// Rows of cells.
        rows: Vec<Vec<String>>,
    },
    /// A picture.
    Figure(Figure),
}

const STYLE: &str = "body{font:16px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;color:#222;\
background:#fff;max-width:920px;margin:2em auto;padding:0 1em}h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}\
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}\
th,td{padding:.35em .8em;border-bottom:1px solid #ddd;text-align:right}th:first-child,td:first-child{text-align:left}\
th{border-bottom:2px solid #999}pre{background:#f6f6f6;padding:.8em;overflow-x:auto;font-size:13px}\
svg{max-width:100%;height:auto}";

impl Page {
    /// The page as a complete HTML file.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <h1>{title}</h1>\n"
        );
        for part in &self.parts {
            part.write(&mut out);
        }
        out.push_str("</html>\n");
        out
    }
}

impl Part {
    fn write(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Heading(text) => writeln!(out, "<h2>{}</h2>", escape(text)),
            Self::Text(text) => writeln!(out, "<p>{}</p>", escape(text)),
            Self::Code(text) => {
                let lines: Vec<String> = text.lines().map(escape).collect();
                writeln!(out, "<pre>{}</pre>", lines.join("\n"))
            }
            Self::Table { head, rows } => {
                let row = |cells: &[String], tag: &str| -> String {
                    let cells = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c)));
                    format!("<tr>{}</tr>\n", cells.collect::<String>())
                };
                let body: String = rows.iter().map(|cells| row(cells, "td")).collect();
                writeln!(out, "<table>\n{}{body}</table>", row(head, "th"))
            }
            Self::Figure(figure) => writeln!(out, "<figure>\n{}</figure>", figure.svg()),
        };
    }
}
