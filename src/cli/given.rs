//! One flag with the text that was given for it, and how such texts are read: the errors name flag, value and remedy.

use jiff::SignedDuration;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

use crate::core::plan::names::is_dns_label;

/// A flag as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As typed: `--admin-port`.
    pub long: &'static str,
    /// Its environment variable; empty where there is none.
    pub env: &'static str,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.env {
            "" => f.write_str(self.long),
            env => write!(f, "{} (or {env})", self.long),
        }
    }
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {value:?} {problem}; {remedy}")]
pub struct SettingsError {
    /// The flag.
    pub flag: Flag,
    /// What was given. Never a secret.
    pub value: String,
    /// What is wrong with it, as the end of a sentence.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

const SHARE: &str = "write 0 to 1, or percent as in 0.1%";

fn share(text: &str) -> Option<f64> {
    let read = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&read).then_some(read)
}

type Read<T> = Result<T, SettingsError>;

/// One flag with what was given for it. A value of nothing but spaces is none.
pub(super) struct Given {
    flag: Flag,
    value: Option<String>,
}

impl Given {
    pub(super) fn new(long: &'static str, env: &'static str, value: Option<String>) -> Self {
        let value = value
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty());
        Self {
            flag: Flag { long, env },
            value,
        }
    }

    pub(super) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> SettingsError {
        let value = self.value.clone().unwrap_or_default();
        SettingsError {
            flag: self.flag,
            value,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        self.value.as_deref()
    }

    pub(super) fn text(self) -> Option<String> {
        self.value
    }

    pub(super) fn list(&self) -> Vec<String> {
        let parts = self.value.iter().flat_map(|value| value.split(','));
        parts
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()
    }

    pub(super) fn choice<T: Copy>(&self, default: T, choices: &[(&str, T)]) -> Read<T> {
        let Some(text) = &self.value else {
            return Ok(default);
        };
        choices
            .iter()
            .find(|(name, _)| name == text)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                self.error(
                    "is not one of the choices",
                    format!("write {}", names.join(" or ")),
                )
            })
    }

    pub(super) fn number(&self, default: u16, range: RangeInclusive<u16>) -> Read<u16> {
        let Some(text) = &self.value else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (low, high) = range.into_inner();
                self.error(
                    "is not a number in range",
                    format!("write a whole number from {low} to {high}"),
                )
            })
    }

    /// A whole number of any type.
    pub(super) fn whole<T: FromStr + PartialOrd + fmt::Display>(
        &self,
        default: T,
        range: RangeInclusive<T>,
    ) -> Read<T> {
        let Some(text) = &self.value else {
            return Ok(default);
        };
        let read = text.parse().ok().filter(|number| range.contains(number));
        let (low, high) = range.into_inner();
        read.ok_or_else(|| {
            let remedy = format!("write a whole number from {low} to {high}");
            self.error("is not a whole number in range", remedy)
        })
    }

    /// A number; none where none was given.
    pub(super) fn real(&self, range: RangeInclusive<f64>) -> Read<Option<f64>> {
        let Some(text) = &self.value else {
            return Ok(None);
        };
        let read = text.parse().ok().filter(|number| range.contains(number));
        read.map(Some).ok_or_else(|| {
            let (low, high) = range.into_inner();
            let remedy = format!("write a number from {low} to {high}");
            self.error("is not a number in range", remedy)
        })
    }

    /// A share of 0 to 1, or in percent; none where none was given.
    pub(super) fn share(&self) -> Read<Option<f64>> {
        let read = self.value.as_deref().map(|text| share(text).ok_or(()));
        read.transpose().map_err(|()| self.error("is not a share", SHARE))
    }

    /// Shares separated by commas.
    pub(super) fn shares(&self, default: &[f64]) -> Read<Vec<f64>> {
        if self.value.is_none() {
            return Ok(default.into());
        }
        let of = |part: String| {
            share(&part).ok_or_else(|| self.error(format!("holds {part:?}, which is not a share"), SHARE))
        };
        self.list().into_iter().map(of).collect()
    }

    /// A duration as text (`90s`, `1m30s`, `500ms`) or whole seconds; default and range in milliseconds.
    pub(super) fn duration(&self, default: u64, range: RangeInclusive<u64>) -> Read<Duration> {
        let Some(text) = &self.value else {
            return Ok(Duration::from_millis(default));
        };
        let read = match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => text
                .parse::<SignedDuration>()
                .ok()
                .map(|d| Duration::try_from(d).unwrap_or_default()),
        };
        let (low, high) = range.into_inner();
        let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
        match read {
            Some(duration) if (low..=high).contains(&duration) => Ok(duration),
            Some(_) => Err(self.error(
                "is out of range",
                format!("write a duration from {low:?} to {high:?}"),
            )),
            None => {
                let remedy = "write for example 90s, 1m30s or 500ms; a bare number is seconds";
                Err(self.error("is not a duration", remedy))
            }
        }
    }

    /// An http or https URL with a host. A slash at the end makes no difference.
    pub(super) fn url(&self, default: &str) -> Read<Url> {
        let text = self.value.as_deref().unwrap_or(default);
        if text.contains(['@', '?']) {
            // Not shown: it may hold a password or a key. Nor used: later messages show the URL.
            let hidden = Self {
                flag: self.flag,
                value: Some("(hidden)".to_owned()),
            };
            let remedy = "write the URL without; a servers file can refer to credentials";
            return Err(hidden.error("has credentials or a query in it", remedy));
        }
        let url = Url::parse(text.trim_end_matches('/')).ok();
        url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                self.error(
                    "is not an http or https URL",
                    format!("write for example {default}"),
                )
            })
    }

    pub(super) fn address(&self, default: Ipv4Addr) -> Read<IpAddr> {
        let Some(text) = &self.value else {
            return Ok(default.into());
        };
        let remedy = "write for example 0.0.0.0, 127.0.0.1 or ::";
        text.parse()
            .map_err(|_| self.error("is not an IP address", remedy))
    }

    pub(super) fn namespaces(&self) -> Read<Vec<String>> {
        let mut names = self.list();
        if let Some(bad) = names.iter().find(|name| !is_dns_label(name)) {
            let problem = format!("holds {bad:?}, which is not the name of a namespace");
            let remedy = "write names of lower-case letters, digits and dashes, separated by commas";
            return Err(self.error(problem, remedy));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    pub(super) fn namespace(&self, default: &str) -> Read<String> {
        let name = self.value.as_deref().unwrap_or(default);
        let remedy = "write at most 63 lower-case letters, digits and dashes";
        is_dns_label(name)
            .then(|| name.to_owned())
            .ok_or_else(|| self.error("is not a name", remedy))
    }

    pub(super) fn dns_name(&self, default: &str) -> Read<String> {
        let name = self.value.as_deref().unwrap_or(default);
        let good = name.len() <= 253 && name.split('.').all(is_dns_label);
        let remedy = "write lower-case letters, digits, dashes and dots";
        good.then(|| name.to_owned())
            .ok_or_else(|| self.error("is not a DNS name", remedy))
    }
}
