//! What a simulation is asked for: checked, complete.

use std::path::PathBuf;

use super::args::SimulateArgs;
use crate::api::Span;
use crate::cli::given::{Given, SettingsError};
use crate::core::sequential::planner::Traffic;
use crate::core::sequential::policy::Timing;
use crate::simulate::picture::Plot;

/// Everything `birdwatch simulate` needs to know besides the file's content.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateSettings {
    /// Where the manifest is; `-` is standard input.
    pub file: String,
    /// Which `BirdWatch` of the file; None: the only one.
    pub name: Option<String>,
    /// What is assumed.
    pub traffic: Traffic,
    /// Bad shares of canaries to try besides production's own and the edge of tolerance, 0 to 1.
    pub canary_bad: Vec<f64>,
    /// r, 1 to 100; None: as the file says.
    pub tolerance: Option<f64>,
    /// alpha, 0.000001 to 0.2; None: as the file says.
    pub false_alarm: Option<f64>,
    /// C, 0 to 100.
    pub confirmations: u32,
    /// phi, 1 to 1000.
    pub dispersion: f64,
    /// How often Prometheus scrapes, 100 ms to 1 h, and how long weights take to spread, 100 ms to 10 min.
    pub timing: Timing,
    /// Rollouts for each canary, 1 to 1,000,000.
    pub runs: u32,
    /// Where random numbers begin.
    pub seed: u64,
    /// What to write.
    pub output: Output,
    /// Where to; None: standard output.
    pub out: Option<PathBuf>,
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A table for people.
    Text,
    /// Everything, for programs.
    Json,
    /// One page with every plot.
    Html,
    /// One plot.
    Svg(Plot),
}

/// More canaries than this are more than anyone compares.
const MOST_CANARIES: usize = 20;

const PLOTS: [(&str, Plot); 4] = [
    ("detection", Plot::Detection),
    ("evidence", Plot::Evidence),
    ("sight", Plot::Sight),
    ("errors", Plot::Errors),
];

impl SimulateSettings {
    /// Checks what was typed.
    ///
    /// # Errors
    /// The first flag whose value cannot be used.
    pub fn new(args: SimulateArgs) -> Result<Self, SettingsError> {
        let SimulateArgs {
            file,
            name,
            rps,
            production_bad,
            canary_bad,
            tolerance,
            false_alarm,
            confirmations,
            dispersion,
            scrape_interval,
            propagation_delay,
            runs,
            seed,
            output,
            plot,
            out,
        } = args;
        let given = |flag, value| Given::new(flag, "", value);
        let production_bad = given("--production-bad", production_bad)
            .share()?
            .unwrap_or(0.001);
        let asked = given("--canary-bad", canary_bad);
        let canary_bad = asked.shares(&[0.002, 0.005, 0.02, 0.2])?;
        if canary_bad.len() > MOST_CANARIES {
            return Err(asked.error("holds too many shares", "write at most 20"));
        }
        let asked = given("--false-alarm", false_alarm);
        let false_alarm = asked.share()?;
        if false_alarm.is_some_and(|share| !(1e-6..=0.2).contains(&share)) {
            return Err(asked.error("is out of range", "write 0.000001 to 0.2, or percent as in 1%"));
        }
        Ok(Self {
            file,
            name: given("--name", name).text(),
            traffic: Traffic {
                requests_per_second: given("--rps", rps).real(0.0..=1e7)?.unwrap_or(10.0),
                production_bad,
            },
            canary_bad,
            tolerance: given("--tolerance", tolerance).real(1.0..=100.0)?,
            false_alarm,
            confirmations: given("--confirmations", confirmations).number(0, 0..=100)?.into(),
            dispersion: given("--dispersion", dispersion)
                .real(1.0..=1000.0)?
                .unwrap_or(1.0),
            // As the operator's own flags, with the same defaults.
            timing: Timing {
                scrape_interval: span(&given("--scrape-interval", scrape_interval), 15_000, 3_600_000)?,
                propagation_delay: span(&given("--propagation-delay", propagation_delay), 5_000, 600_000)?,
            },
            runs: given("--runs", runs).whole(2000, 1..=1_000_000)?,
            seed: given("--seed", seed).whole(1, 0..=u64::MAX)?,
            output: format(&given("--output", output), &given("--plot", plot))?,
            out: given("--out", out).text().map(PathBuf::from),
        })
    }
}

/// A time up to so many milliseconds.
fn span(given: &Given, default: u64, most: u64) -> Result<Span, SettingsError> {
    let time = given.duration(default, 100..=most)?;
    Ok(Span::millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
}

/// What to write, of which plots are one.
fn format(output: &Given, plot: &Given) -> Result<Output, SettingsError> {
    let chosen = plot.choice(None, &PLOTS.map(|(name, plot)| (name, Some(plot))))?;
    let picture = Output::Svg(chosen.unwrap_or(Plot::Detection));
    let formats = [
        ("text", Output::Text),
        ("json", Output::Json),
        ("html", Output::Html),
        ("svg", picture),
    ];
    let output = output.choice(Output::Text, &formats)?;
    if chosen.is_some() && output != picture {
        let remedy = "add it, or leave --plot out; html has every plot";
        return Err(plot.error("is for --output svg", remedy));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> SimulateArgs {
        SimulateArgs {
            file: "-".to_owned(),
            ..SimulateArgs::default()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the fields are optional")]
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn without_flags_the_defaults_hold() {
        let settings = SimulateSettings::new(args()).unwrap();
        assert_eq!(settings.canary_bad, [0.002, 0.005, 0.02, 0.2]);
        assert_eq!((settings.runs, settings.seed), (2000, 1));
        assert_eq!(settings.output, Output::Text);
        assert_eq!((settings.tolerance, settings.false_alarm), (None, None));
        assert_eq!((settings.confirmations, settings.dispersion), (0, 1.0));
        let Timing {
            scrape_interval,
            propagation_delay,
        } = settings.timing;
        assert_eq!(
            (scrape_interval, propagation_delay),
            (Span::secs(15), Span::secs(5))
        );
    }

    #[test]
    fn shares_may_be_written_in_percent() {
        let settings = SimulateSettings::new(SimulateArgs {
            production_bad: some("0%"),
            canary_bad: some("2%, 0.5 %,0.02"),
            ..args()
        });
        let settings = settings.unwrap();
        assert_eq!(settings.canary_bad, [0.02, 0.005, 0.02]);
        assert_eq!(settings.traffic.production_bad.to_bits(), 0.0_f64.to_bits());
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn nonsense_is_refused_with_its_flag_and_a_remedy() {
        let refused = |args| SimulateSettings::new(args).unwrap_err().to_string();
        for (args, words) in [
            (
                SimulateArgs {
                    rps: some("-1"),
                    ..args()
                },
                "--rps: \"-1\" is not a number in range; write a number from 0 to 10000000",
            ),
            (
                SimulateArgs {
                    rps: some("NaN"),
                    ..args()
                },
                "--rps: \"NaN\" is not",
            ),
            (
                SimulateArgs {
                    production_bad: some("5"),
                    ..args()
                },
                "--production-bad: \"5\" is not a share; write 0 to 1, or percent as in 0.1%",
            ),
            (
                SimulateArgs {
                    canary_bad: some("0.1,x"),
                    ..args()
                },
                "--canary-bad: \"0.1,x\" holds \"x\"",
            ),
            (
                SimulateArgs {
                    tolerance: some("0.5"),
                    ..args()
                },
                "--tolerance",
            ),
            (
                SimulateArgs {
                    false_alarm: some("0"),
                    ..args()
                },
                "--false-alarm",
            ),
            (
                SimulateArgs {
                    false_alarm: some("100%"),
                    ..args()
                },
                "--false-alarm",
            ),
            (
                SimulateArgs {
                    runs: some("0"),
                    ..args()
                },
                "--runs: \"0\" is not a whole number",
            ),
            (
                SimulateArgs {
                    seed: some("-3"),
                    ..args()
                },
                "--seed",
            ),
            (
                SimulateArgs {
                    output: some("pdf"),
                    ..args()
                },
                "write text or json or html or svg",
            ),
            (
                SimulateArgs {
                    plot: some("evidence"),
                    ..args()
                },
                "--plot: \"evidence\" is for --output svg",
            ),
        ] {
            let told = refused(args);
            assert!(told.contains(words), "{told}");
        }
    }
}
