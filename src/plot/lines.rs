//! Lines and steps over a common axis, with moments marked by upright lines and levels by level ones.

use super::axis::{Axis, Ruler};
use super::svg::Svg;
use super::{LEFT, RIGHT};

/// How the points of a series are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// By straight lines.
    #[default]
    Line,
    /// Each value holds until the next point.
    Step,
}

/// Points that belong together, in the order of x. Points that are no numbers are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend; series of one name and colour are named once, an empty name not at all.
    pub name: String,
    /// How the points are joined.
    pub shape: Shape,
    /// Which colour, from 0; they repeat after 7.
    pub colour: usize,
    /// Thin and pale, for one of many.
    pub faint: bool,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// A value of x at which something begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Where.
    pub at: f64,
    /// What begins; may be empty.
    pub label: String,
}

/// A value of y to compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Where.
    pub at: f64,
    /// What it means; may be empty.
    pub label: String,
}

/// A chart of lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lines {
    /// The axis below.
    pub x: Axis,
    /// The axis on the left.
    pub y: Axis,
    /// What is drawn, the last on top.
    pub series: Vec<Series>,
    /// Upright marks.
    pub moments: Vec<Moment>,
    /// Level marks.
    pub levels: Vec<Level>,
    /// Height of the plotted area in pixels, 40 to 2000; what is outside is brought in.
    pub height: f64,
}

/// Room above the area for the names of moments, and below it for the axis.
const ABOVE: f64 = 22.0;
const BELOW: f64 = 52.0;

/// An area with its two rulers.
struct Area {
    x: Ruler,
    y: Ruler,
    top: f64,
    bottom: f64,
}

impl Area {
    fn at(&self, point: (f64, f64)) -> (f64, f64) {
        let x = LEFT + self.x.place(point.0) * (RIGHT - LEFT);
        (x, self.bottom - self.y.place(point.1) * (self.bottom - self.top))
    }
}

impl Lines {
    /// Draws the chart below `top` and says where it ends.
    pub(super) fn draw(&self, svg: &mut Svg, top: f64) -> f64 {
        let points = || self.series.iter().flat_map(|s| s.points.iter().copied());
        let height = if self.height.is_finite() {
            self.height.clamp(40.0, 2000.0)
        } else {
            240.0
        };
        let levels = self.levels.iter().map(|level| level.at);
        let area = Area {
            x: self.x.ruler(points().map(|p| p.0)),
            y: self.y.ruler(points().map(|p| p.1).chain(levels)),
            top: top + ABOVE,
            bottom: top + ABOVE + height,
        };
        self.axes(svg, &area);
        for moment in &self.moments {
            let (x, _) = area.at((moment.at, 0.0));
            svg.line("mark", (x, area.top), (x, area.bottom));
            svg.text("small", x + 3.0, area.top - 5.0, &moment.label);
        }
        for series in &self.series {
            svg.data(series.colour, series.faint, &joined(series, &area));
        }
        for level in &self.levels {
            let (_, y) = area.at((0.0, level.at));
            svg.line("level", (LEFT, y), (RIGHT, y));
            svg.text("small", RIGHT + 6.0, y + 4.0, &level.label);
        }
        self.legend(svg, &area);
        area.bottom + BELOW
    }

    fn axes(&self, svg: &mut Svg, area: &Area) {
        for (value, text) in area.y.ticks() {
            let y = area.bottom - area.y.place(value) * (area.bottom - area.top);
            svg.line("grid", (LEFT, y), (RIGHT, y));
            svg.text("small end", LEFT - 8.0, y + 4.0, &text);
        }
        for (value, text) in area.x.ticks() {
            let x = LEFT + area.x.place(value) * (RIGHT - LEFT);
            svg.line("axis", (x, area.bottom), (x, area.bottom + 5.0));
            svg.text("small mid", x, area.bottom + 19.0, &text);
        }
        svg.line("axis", (LEFT, area.top), (LEFT, area.bottom));
        svg.line("axis", (LEFT, area.bottom), (RIGHT, area.bottom));
        svg.text(
            "mid",
            f64::midpoint(LEFT, RIGHT),
            area.bottom + 40.0,
            &self.x.label,
        );
        svg.upwards(20.0, f64::midpoint(area.top, area.bottom), &self.y.label);
    }

    fn legend(&self, svg: &mut Svg, area: &Area) {
        let mut named: Vec<(&str, usize)> = Vec::new();
        for series in self.series.iter().filter(|s| !s.name.is_empty()) {
            let entry = (series.name.as_str(), series.colour);
            if !named.contains(&entry) {
                named.push(entry);
            }
        }
        let mut y = area.top + 10.0;
        // A level's own words stand at the same side.
        let taken: Vec<f64> = self
            .levels
            .iter()
            .map(|level| area.at((0.0, level.at)).1)
            .collect();
        for (name, colour) in named {
            while taken.iter().any(|at| (at - y).abs() < 15.0) {
                y += 5.0;
            }
            svg.data(colour, false, &[(RIGHT + 14.0, y), (RIGHT + 42.0, y)]);
            svg.text("legend", RIGHT + 50.0, y + 4.0, name);
            y += 20.0;
        }
    }
}

/// The points in place, with the corners of steps between them.
fn joined(series: &Series, area: &Area) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for point in series.points.iter().filter(|p| p.0.is_finite() && !p.1.is_nan()) {
        let here = area.at(*point);
        if let Some(last) = out.last().filter(|_| series.shape == Shape::Step) {
            let corner = (here.0, last.1);
            out.push(corner);
        }
        out.push(here);
    }
    out
}
