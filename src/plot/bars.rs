//! Horizontal bars with their names on the left and their numbers at their ends.

use super::axis::Axis;
use super::svg::Svg;
use super::{LEFT, RIGHT};

/// One bar.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bar {
    /// What it is about, a few words.
    pub name: String,
    /// Its length; what is no number has none.
    pub value: f64,
    /// An interval about its end, drawn as a whisker.
    pub interval: Option<(f64, f64)>,
    /// What is written at its end.
    pub text: String,
    /// Which colour, from 0; they repeat after 7.
    pub colour: usize,
}

/// A chart of bars.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// The axis below.
    pub axis: Axis,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

const ROW: f64 = 30.0;
const THICK: f64 = 18.0;
const BELOW: f64 = 52.0;
/// Names need more room than the numbers of an axis.
const START: f64 = LEFT + 70.0;

impl Bars {
    /// Draws the chart below `top` and says where it ends.
    pub(super) fn draw(&self, svg: &mut Svg, top: f64) -> f64 {
        let ends = |bar: &Bar| [bar.value, bar.interval.map_or(bar.value, |(_, high)| high)];
        let ruler = self.axis.ruler(self.bars.iter().flat_map(ends));
        let at = |value: f64| START + ruler.place(value) * (RIGHT - START);
        let first = top + 10.0;
        let bottom = self.bars.iter().fold(first, |y, _| y + ROW);
        for (value, text) in ruler.ticks() {
            svg.line("grid", (at(value), first), (at(value), bottom));
            svg.text("small mid", at(value), bottom + 19.0, &text);
        }
        let mut y = first + (ROW - THICK) / 2.0;
        for bar in &self.bars {
            svg.text("end", START - 8.0, y + 13.5, &bar.name);
            svg.bar(bar.colour, (START, y), at(bar.value) - START, THICK);
            let mut end = at(bar.value);
            if let Some((low, high)) = bar.interval {
                let middle = y + THICK / 2.0;
                svg.line("axis", (at(low), middle), (at(high), middle));
                for edge in [at(low), at(high)] {
                    svg.line("axis", (edge, middle - 4.0), (edge, middle + 4.0));
                }
                end = end.max(at(high));
            }
            svg.text("small", end + 6.0, y + 13.5, &bar.text);
            y += ROW;
        }
        svg.line("axis", (START, first), (START, bottom));
        svg.line("axis", (START, bottom), (RIGHT, bottom));
        svg.text(
            "mid",
            f64::midpoint(START, RIGHT),
            bottom + 40.0,
            &self.axis.label,
        );
        bottom + BELOW
    }
}
