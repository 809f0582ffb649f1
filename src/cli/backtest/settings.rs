//! What a backtest is asked for: checked, complete.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::args::BacktestArgs;
use crate::api::Span;
use crate::backtest::search::Bounds;
use crate::backtest::trial::Canary;
use crate::cli::given::{Given, SettingsError};

/// Everything `birdwatch backtest` needs to know besides spec and past.
#[derive(Clone, Debug, PartialEq)]
pub struct BacktestSettings {
    /// A file, `-`, or the name of a `BirdWatch`.
    pub what: String,
    /// Which `BirdWatch` of a file; None: the only one.
    pub name: Option<String>,
    /// The namespace; None: as the file says.
    pub namespace: Option<String>,
    /// URL of the Prometheus.
    pub prometheus: Option<String>,
    /// List of servers in its place.
    pub servers_file: Option<PathBuf>,
    /// The version in production; None: as the `DestinationRule` says.
    pub production: Option<String>,
    /// How far to look back, 1 min to 400 days.
    pub since: Duration,
    /// Where the past ends; None: now.
    pub until: Option<Timestamp>,
    /// Rollouts for each policy and fault, 1 to 10,000.
    pub starts: u32,
    /// Where random numbers begin.
    pub seed: u64,
    /// Who plays the canary.
    pub canary: Canary,
    /// Faults to try, rising, each once, above 0 and up to 1.
    pub faults: Vec<f64>,
    /// Whether to compare with what a service name alone asks for.
    pub default: bool,
    /// Where to look for a better policy; None: nowhere.
    pub bounds: Option<Bounds>,
    /// How often Prometheus scrapes; None: as its samples show.
    pub scrape: Option<Duration>,
    /// Queries under way at the same time, 1 to 64.
    pub max_queries: usize,
    /// Longest time that one query may take, 1 s to 10 min.
    pub query_timeout: Duration,
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
}

const FAULTS: [f64; 5] = [0.002, 0.005, 0.01, 0.05, 0.2];
const MOST_FAULTS: usize = 20;
const DAY: u64 = 86_400_000;

impl BacktestSettings {
    /// Checks what was typed.
    ///
    /// # Errors
    /// The first flag whose value cannot be used.
    pub fn new(args: BacktestArgs) -> Result<Self, SettingsError> {
        let bounds = bounds(&args)?;
        let given = |flag, value| Given::new(flag, "", value);
        let until = given("--until", args.until);
        let out = given("--out", args.out).text();
        let output = format(&given("--output", args.output), out.as_deref())?;
        let prometheus = Given::new("--prometheus", "PROMETHEUS_URL", args.prometheus);
        prometheus.url("http://prometheus.istio-system:9090")?;
        let players = [("share", Canary::Share), ("pod", Canary::Pod)];
        let timeout = given("--query-timeout", args.query_timeout);
        let queries = given("--max-queries", args.max_queries);
        let scrape = given("--scrape-interval", args.scrape_interval);
        let asked = scrape.duration(0, 1000..=3_600_000)?;
        Ok(Self {
            what: args.what,
            name: given("--name", args.name).text(),
            namespace: match given("--namespace", args.namespace) {
                none if none.list().is_empty() => None,
                given => Some(given.namespace("default")?),
            },
            prometheus: prometheus.text(),
            servers_file: given("--prometheus-servers-file", args.prometheus_servers_file)
                .text()
                .map(PathBuf::from),
            production: given("--production", args.production).text(),
            since: since(args.since)?,
            until: moment(&until)?,
            starts: given("--starts", args.starts).whole(200, 1..=10_000)?,
            seed: given("--seed", args.seed).whole(1, 0..=u64::MAX)?,
            canary: given("--canary", args.canary).choice(Canary::Share, &players)?,
            faults: faults(&given("--faults", args.faults))?,
            default: !args.no_default,
            bounds: (!args.no_search).then_some(bounds),
            scrape: (!asked.is_zero()).then_some(asked),
            max_queries: usize::from(queries.number(4, 1..=64)?),
            query_timeout: timeout.duration(60_000, 1000..=600_000)?,
            output,
            out: out.map(PathBuf::from),
        })
    }
}

fn faults(asked: &Given) -> Result<Vec<f64>, SettingsError> {
    let mut faults = asked.shares(&FAULTS)?;
    if faults.len() > MOST_FAULTS {
        return Err(asked.error("holds too many shares", "write at most 20"));
    }
    // A healthy version is tried in any case.
    faults.retain(|fault| *fault > 0.0);
    faults.sort_by(f64::total_cmp);
    faults.dedup();
    Ok(faults)
}

fn format(output: &Given, out: Option<&str>) -> Result<Output, SettingsError> {
    let extension = out.and_then(|out| out.rsplit_once('.')).map(|(_, end)| end);
    let default = match extension {
        Some("html" | "htm") => Output::Html,
        Some("json") => Output::Json,
        _ => Output::Text,
    };
    let formats = [
        ("text", Output::Text),
        ("json", Output::Json),
        ("html", Output::Html),
    ];
    output.choice(default, &formats)
}

fn moment(until: &Given) -> Result<Option<Timestamp>, SettingsError> {
    let text = until.list();
    let Some(text) = text.first() else {
        return Ok(None);
    };
    let remedy = "write it like 2026-11-21T12:00:00Z";
    let at = text.parse().map_err(|_| until.error("is not a time", remedy))?;
    Ok(Some(at))
}

/// A duration that may be in days or weeks.
fn since(text: Option<String>) -> Result<Duration, SettingsError> {
    let hours = |text: &str| {
        let in_hours = |unit, hours: u64| {
            text.trim()
                .strip_suffix(unit)?
                .parse::<u64>()
                .ok()?
                .checked_mul(hours)
        };
        let hours = in_hours('d', 24).or_else(|| in_hours('w', 168))?;
        Some(format!("{hours}h"))
    };
    let text = text.map(|text| hours(&text).unwrap_or(text));
    Given::new("--since", "", text).duration(7 * DAY, 60_000..=400 * DAY)
}

fn bounds(args: &BacktestArgs) -> Result<Bounds, SettingsError> {
    let given = |flag, value: &Option<String>| Given::new(flag, "", value.clone());
    let deviation = given("--deviation", &args.deviation);
    let hold = given("--hold", &args.hold);
    let of_hold = |text: &str| {
        let span: Span = text.parse().ok()?;
        (Span::secs(1)..=Span::secs(720 * 3600))
            .contains(&span)
            .then_some(span)
    };
    let whole = |text: &str, range: RangeInclusive<u8>| text.parse().ok().filter(|n| range.contains(n));
    Ok(Bounds {
        deviation: range(&deviation, "0.1..1", |text| {
            text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0)
        })?,
        hold: range(&hold, "30s..10m", of_hold)?.unwrap_or((Span::secs(30), Span::secs(600))),
        first_weight: range(&given("--first-weight", &args.first_weight), "1..20", |text| {
            whole(text, 1..=100)
        })?
        .unwrap_or((1, 20)),
        steps: range(&given("--steps", &args.steps), "3..8", |text| {
            whole(text, 1..=100)
        })?
        .unwrap_or((3, 8)),
    })
}

/// `FROM..TO`, or one value for both.
fn range<T: PartialOrd + Copy>(
    given: &Given,
    example: impl Display,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<(T, T)>, SettingsError> {
    let list = given.list();
    let Some(text) = list.first() else {
        return Ok(None);
    };
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let both = read(from.trim())
        .zip(read(to.trim()))
        .filter(|(from, to)| from <= to);
    both.map(Some).ok_or_else(|| {
        given.error(
            "is not a range of usable values",
            format!("write for example {example}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> BacktestArgs {
        BacktestArgs {
            what: "-".to_owned(),
            ..BacktestArgs::default()
        }
    }

    #[test]
    fn without_flags_the_defaults_hold() {
        let settings = BacktestSettings::new(args()).unwrap();
        assert_eq!(
            (settings.starts, settings.seed, settings.max_queries),
            (200, 1, 4)
        );
        assert_eq!(settings.since, Duration::from_hours(7 * 24));
        assert_eq!(settings.faults, FAULTS);
        assert_eq!((settings.output, settings.canary), (Output::Text, Canary::Share));
        let bounds = settings.bounds.unwrap();
        assert_eq!(bounds.hold, (Span::secs(30), Span::secs(600)));
        assert_eq!((bounds.first_weight, bounds.steps), ((1, 20), (3, 8)));
    }

    #[test]
    fn what_is_typed_arrives() {
        let settings = BacktestSettings::new(BacktestArgs {
            since: Some("10d".to_owned()),
            until: Some("2026-11-21T12:00:00Z".to_owned()),
            faults: Some("20%,0,0.5%".to_owned()),
            hold: Some("1m".to_owned()),
            deviation: Some("0.1..1".to_owned()),
            out: Some("report.html".to_owned()),
            ..args()
        });
        let settings = settings.unwrap();
        assert_eq!(settings.since, Duration::from_hours(240));
        assert_eq!(settings.faults, [0.005, 0.2]);
        assert_eq!(settings.output, Output::Html);
        let bounds = settings.bounds.unwrap();
        assert_eq!(bounds.hold, (Span::secs(60), Span::secs(60)));
        assert_eq!(bounds.deviation, Some((0.1, 1.0)));
    }

    #[test]
    fn nonsense_is_refused_with_its_flag_and_a_remedy() {
        type Set = fn(&mut BacktestArgs, String);
        let cases: [(Set, &str, &str); 9] = [
            (|a, v| a.since = Some(v), "0s", "--since"),
            (|a, v| a.since = Some(v), "soon", "--since"),
            (|a, v| a.until = Some(v), "noon", "--until"),
            (
                |a, v| a.hold = Some(v),
                "10m..30s",
                "--hold: \"10m..30s\" is not a range",
            ),
            (
                |a, v| a.first_weight = Some(v),
                "0..20",
                "write for example 1..20",
            ),
            (|a, v| a.steps = Some(v), "3..x", "--steps"),
            (|a, v| a.deviation = Some(v), "NaN..1", "--deviation"),
            (|a, v| a.max_queries = Some(v), "0", "--max-queries"),
            (|a, v| a.canary = Some(v), "bird", "write share or pod"),
        ];
        for (set, value, words) in cases {
            let mut args = args();
            set(&mut args, value.to_owned());
            let told = BacktestSettings::new(args).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
