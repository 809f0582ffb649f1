//! From values to places: scales, round numbers to write beside them, and how they are written.

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal differences take equal room.
    #[default]
    Linear,
    /// Equal factors take equal room; values of 0 and below lie at the lower end.
    Log,
}

/// How the numbers of an axis are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// As they are.
    #[default]
    Plain,
    /// A share of 0 to 1 in percent.
    Percent,
}

/// One axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// How values are laid out.
    pub scale: Scale,
    /// How numbers are written.
    pub unit: Unit,
    /// The least and the largest value shown; absent: what the data need. Values outside are drawn at the edge.
    pub range: Option<(f64, f64)>,
}

/// An axis with its ends settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruler {
    scale: Scale,
    unit: Unit,
    low: f64,
    high: f64,
}

/// Below this a logarithmic axis shows nothing, and beyond its inverse neither.
const LEAST: f64 = 1e-12;

impl Axis {
    /// The axis for these values; those that are no numbers are passed over.
    pub(super) fn ruler(&self, values: impl Iterator<Item = f64>) -> Ruler {
        let proper = |v: &f64| v.is_finite() && (self.scale == Scale::Linear || *v > 0.0);
        let (mut low, mut high) = self
            .range
            .filter(|(a, b)| proper(a) && proper(b))
            .unwrap_or_else(|| {
                values
                    .filter(proper)
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
                        (a.min(v), b.max(v))
                    })
            });
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match self.scale {
            Scale::Log => {
                (low, high) = (low.clamp(LEAST, 1.0 / LEAST), high.clamp(LEAST, 1.0 / LEAST));
                if high / low < 1.5 {
                    (low, high) = (low / 3.0, high * 3.0);
                }
            }
            Scale::Linear => {
                if self.range.is_none() && low > 0.0 {
                    low = 0.0;
                }
                if high - low <= f64::EPSILON * high.abs().max(1.0) {
                    high = low + 1.0;
                }
            }
        }
        Ruler {
            scale: self.scale,
            unit: self.unit,
            low,
            high,
        }
    }
}

impl Ruler {
    /// Where a value lies between the ends, 0 to 1; what is outside lies at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(LEAST) / self.low).ln() / (self.high / self.low).ln(),
        };
        if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) }
    }

    /// Round numbers within the ends, at most eight or so, each with its text.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let ticks = match self.scale {
            Scale::Linear => even(self.low, self.high),
            Scale::Log => powers(self.low, self.high),
        };
        ticks.into_iter().map(|v| (v, self.written(v))).collect()
    }

    fn written(&self, value: f64) -> String {
        match self.unit {
            Unit::Percent => format!("{} %", plain(value * 100.0)),
            Unit::Plain => plain(value),
        }
    }
}

fn even(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 7.0;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    (0..=20)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|v| *v <= high + step * 1e-9)
        .collect()
}

/// Powers of ten, thinned out over many decades, and 2 and 5 times them over few.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let (from, to) = (low.log10().floor(), high.log10().ceil());
    let decades = to - from;
    let stride = (decades / 8.0).ceil().max(1.0);
    let within: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut ticks = Vec::new();
    let mut power = (from / stride).floor() * stride;
    while power <= to {
        // 10^-3 as 1/1000, which is what people write.
        let ten = if power < 0.0 {
            1.0 / 10.0_f64.powf(-power)
        } else {
            10.0_f64.powf(power)
        };
        ticks.extend(within.iter().map(|m| m * ten));
        power += stride;
    }
    ticks.retain(|v| *v >= low * 0.999 && *v <= high * 1.001);
    ticks
}

/// A number as people read it: up to four digits, powers of ten where there would be many zeros.
pub(super) fn plain(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{}", value + 0.0);
    }
    let power = value.abs().log10();
    if (power - power.round()).abs() < 1e-9 && !(-3.5..4.5).contains(&power) {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}10{}", raised(power.round()));
    }
    let digits = 10.0_f64.powf(3.0 - power.floor());
    let short = (value * digits).round() / digits;
    format!("{short}")
}

fn raised(power: f64) -> String {
    let digit = |c| match c {
        '-' => '\u{207b}',
        '1' => '\u{b9}',
        '2' => '\u{b2}',
        '3' => '\u{b3}',
        c => c
            .to_digit(10)
            .and_then(|d| char::from_u32(0x2070 + d))
            .unwrap_or(c),
    };
    format!("{power:.0}").chars().map(digit).collect()
}
