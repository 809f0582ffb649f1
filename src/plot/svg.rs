//! The SVG text itself: elements, escaped text, and numbers that read the same on every machine.

use std::fmt::Write as _;

/// Colours that stay apart for the colour-blind (Okabe and Ito), on white; then they repeat, with other dashes.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444",
];
const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

const STYLE: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#333}\
.head{font-size:16px;font-weight:600;fill:#111}.sub{fill:#555}.small{font-size:11.5px;fill:#555}\
.mid{text-anchor:middle}.end{text-anchor:end}.axis{stroke:#777;fill:none}.grid{stroke:#e3e3e3;fill:none}\
.mark{stroke:#999;stroke-dasharray:4 4;fill:none}.level{stroke:#111;stroke-dasharray:6 4;fill:none}\
.data{fill:none;stroke-width:2.2;stroke-linejoin:round}.faint{stroke-width:1;stroke-opacity:.55}";

/// A picture being drawn.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let (x, y, text) = (n(x), n(y), escape(text));
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"
        ));
    }

    /// Text that runs upwards, centred on the point.
    pub(super) fn upwards(&mut self, x: f64, y: f64, text: &str) {
        let (x, y, text) = (n(x), n(y), escape(text));
        self.put(format_args!(
            "<text class=\"mid\" x=\"{x}\" y=\"{y}\" transform=\"rotate(-90 {x} {y})\">{text}</text>"
        ));
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.put(format_args!(
            "<path class=\"{class}\" d=\"M{} {}L{} {}\"/>",
            n(from.0),
            n(from.1),
            n(to.0),
            n(to.1)
        ));
    }

    /// A line through points, in one of the colours.
    pub(super) fn data(&mut self, colour: usize, faint: bool, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (x, y) in points {
            path.push(if path.is_empty() { 'M' } else { 'L' });
            path.push_str(&n(*x));
            path.push(' ');
            path.push_str(&n(*y));
        }
        let stroke = colour_of(colour);
        let (class, dash) = if faint {
            ("data faint", String::new())
        } else {
            ("data", dash_of(colour))
        };
        self.put(format_args!(
            "<path class=\"{class}\" stroke=\"{stroke}\"{dash} d=\"{path}\"/>"
        ));
    }

    pub(super) fn bar(&mut self, colour: usize, from: (f64, f64), width: f64, height: f64) {
        self.put(format_args!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
            n(from.0),
            n(from.1),
            n(width.max(0.0)),
            n(height),
            colour_of(colour)
        ));
    }

    pub(super) fn finish(self, title: &str, description: &str, width: f64, height: f64) -> String {
        let (w, h) = (n(width), n(height));
        let (title, description) = (escape(title), escape(description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\">\n\
             <title>{title}</title>\n<desc>{description}</desc>\n<style>{STYLE}</style>\n\
             <rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n{}</svg>\n",
            self.0
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{element}");
    }
}

fn colour_of(index: usize) -> &'static str {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or("#000")
}

fn dash_of(index: usize) -> String {
    // Neighbours differ in their dashes too, for prints in grey.
    match DASHES.get(index % DASHES.len()) {
        Some(dash) if !dash.is_empty() => format!(" stroke-dasharray=\"{dash}\""),
        _ => String::new(),
    }
}

/// A length in pixels: a tenth is enough, and hides what machines round differently.
fn n(value: f64) -> String {
    let tenths = if value.is_finite() {
        (value * 10.0).round() / 10.0
    } else {
        0.0
    };
    // No "-0".
    format!("{}", tenths + 0.0)
}

/// Text as XML and HTML take it, in content and in attributes; what XML forbids becomes a question mark.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}
