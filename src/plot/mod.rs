//! Plots as SVG text, and reports as one HTML file. Pure: data in, text out, and the same data always give the same text,
//! byte by byte. Nothing is fetched by what is made: no script, no font, no picture from elsewhere.

mod axis;
mod bars;
mod lines;
pub mod page;
mod svg;

pub use axis::{Axis, Scale, Unit};
pub use bars::{Bar, Bars};
pub use lines::{Level, Lines, Moment, Series, Shape};

use svg::Svg;

/// Width of every figure, in pixels.
const WIDTH: f64 = 880.0;
/// Where the plotted area begins and ends, in pixels from the left; right of it is the legend.
const LEFT: f64 = 86.0;
const RIGHT: f64 = 690.0;

/// A picture: a title, a sentence below it, and charts one below the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Under which assumptions; may be empty.
    pub subtitle: String,
    /// From top to bottom.
    pub charts: Vec<Chart>,
}

/// One pair of axes with what is drawn in them.
#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    /// Lines and steps over a common axis.
    Lines(Lines),
    /// Horizontal bars with names.
    Bars(Bars),
}

impl Figure {
    /// The picture as a complete SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = Svg::default();
        let mut top = 58.0;
        if self.subtitle.is_empty() {
            top = 40.0;
        } else {
            svg.text("sub", 16.0, 46.0, &self.subtitle);
        }
        svg.text("head", 16.0, 26.0, &self.title);
        for chart in &self.charts {
            top = match chart {
                Chart::Lines(lines) => lines.draw(&mut svg, top),
                Chart::Bars(bars) => bars.draw(&mut svg, top),
            };
        }
        svg.finish(&self.title, &self.subtitle, WIDTH, top)
    }
}

#[cfg(test)]
mod tests;
