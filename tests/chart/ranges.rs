//! What the operator refuses as out of range, the chart refuses before: else the pods would crash again and again.

use std::collections::BTreeMap;

use birdwatch::cli::args::DrainArgs;
use birdwatch::cli::settings::{DrainSettings, Settings, SettingsError, Surroundings};
use birdwatch::cli::{Cli, Command};
use clap::{CommandFactory as _, Parser as _};

use crate::contract::parse;
use crate::helm::{render, try_render};

/// The flags with a range, and the value of the chart for each; without one, `extraArgs` alone can set it.
const FLAGS: &[(&str, Option<&str>)] = &[
    ("--admin-port", None),
    ("--concurrency", None),
    ("--lease-duration", Some("leaseDuration")),
    ("--propagation-delay", Some("propagationDelay")),
    ("--query-timeout", None),
    ("--scrape-interval", Some("scrapeInterval")),
    ("--shards", None),
    ("--timeout", Some("drain.timeoutSeconds")),
];

/// What the operator says to a flag.
fn said(flag: &str, value: &str) -> Result<DrainSettings, SettingsError> {
    let line = ["birdwatch", "drain", &format!("{flag}={value}")];
    let Ok(Cli {
        command: Command::Drain(args),
    }) = Cli::try_parse_from(line)
    else {
        panic!("{line:?} is not understood")
    };
    DrainSettings::new(args, Surroundings::default())
}

/// The range of each flag that has one, as the operator words it: `2s to 600s`.
fn ranges() -> BTreeMap<String, String> {
    let cli = Cli::command();
    let drain = cli.find_subcommand("drain").expect("the subcommand");
    let flags = drain.get_arguments().filter_map(clap::Arg::get_long);
    let ranges = flags.filter(|flag| *flag != "help").filter_map(|flag| {
        let flag = format!("--{flag}");
        let remedy = said(&flag, "99999h").err()?.remedy;
        let (_, range) = remedy.split_once(" from ")?;
        Some((flag, range.to_owned()))
    });
    ranges.collect()
}

#[test]
fn every_flag_with_a_range_is_known_here() {
    let ranges = ranges();
    let flags: Vec<_> = ranges.keys().map(String::as_str).collect();
    assert_eq!(flags, FLAGS.iter().map(|(flag, _)| *flag).collect::<Vec<_>>());
    assert!(DrainSettings::new(DrainArgs::default(), Surroundings::default()).is_ok());
}

#[test]
fn a_duration_within_the_operators_range_is_taken_and_one_beyond_it_refused_with_the_range() {
    let ranges = ranges();
    for (flag, value) in FLAGS {
        let Some(value) = value.filter(|value| !value.contains('.')) else {
            continue;
        };
        let range = &ranges[*flag];
        let (low, high) = range.split_once(" to ").expect("a range");
        for good in [low, high, "3.5s", "1m30s", "2500ms", "1m0.5s", "0.05h", "7"] {
            taken(&format!("{value}: {good}"), flag, good);
        }
        let (below, above) = (format!("0.{low}"), format!("{high}1ms"));
        for bad in [below.as_str(), above.as_str(), "0", "0s", "'0'", "100000", "2h"] {
            assert!(said(flag, bad.trim_matches('\'')).is_err(), "{flag}={bad}");
            refused(&format!("{value}: {bad}"), &[value, &format!("from {range}")]);
        }
        for odd in ["-5s", "30s1m", "1.5m30s", "1.5", "5 parsecs"] {
            assert!(said(flag, odd).is_err(), "{flag}={odd}");
            refused(&format!("{value}: '{odd}'"), &[value, range]);
        }
    }
}

#[test]
fn the_drain_jobs_time_is_within_the_operators_range() {
    for good in ["10", "3600"] {
        let values = format!("drain: {{timeoutSeconds: {good}}}");
        taken(&values, "--timeout", good);
    }
    refused("drain: {timeoutSeconds: 3601}", &["timeoutSeconds", "3,600"]);
    refused("drain: {timeoutSeconds: 0}", &["timeoutSeconds", "10"]);
}

/// The chart renders it, both pods' settings are read, and they are those of the flag.
fn taken(values: &str, flag: &str, text: &str) {
    let rendered = render(values);
    let expected = said(flag, text).unwrap_or_else(|error| panic!("{error}"));
    let Command::Run(run) = parse(&rendered, 0) else {
        panic!("the operator does not run")
    };
    let Command::Drain(drain) = parse(&rendered, 1) else {
        panic!("the Job does not drain")
    };
    let run = Settings::new(run, Surroundings::default()).unwrap_or_else(|error| panic!("{values}: {error}"));
    let drain = DrainSettings::new(drain, Surroundings::default())
        .unwrap_or_else(|error| panic!("{values}: {error}"));
    if flag == "--timeout" {
        assert_eq!(drain.timeout, expected.timeout, "{values}");
        return;
    }
    let read = |settings: &Settings| {
        let cluster = &settings.cluster;
        (
            cluster.scrape_interval,
            cluster.propagation_delay,
            settings.lease.timing.duration(),
        )
    };
    assert_eq!(read(&run), read(&expected.run), "{values}");
    assert_eq!(read(&drain.run).1, read(&expected.run).1, "{values}");
}

fn refused(values: &str, parts: &[&str]) {
    let Err(refusal) = try_render(values) else {
        panic!("accepted: {values}")
    };
    for part in parts {
        assert!(
            refusal.contains(part),
            "{values}: {part:?} is missing in\n{refusal}"
        );
    }
}
