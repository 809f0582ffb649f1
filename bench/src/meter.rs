//! What a contender uses over a span of time, measured from the outside and in the same way for each: requests by the
//! API server's audit log, processor time and memory by `/proc`, questions at the telemetry servers.

use std::{collections::BTreeMap, io};

use birdwatch_bed::{
    audit::{AuditLog, Entry},
    clock::Stopwatch,
};

use crate::{number::to_thousandths, process, results::Stage};

/// What is read at the beginning of a span and at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Questions to telemetry so far.
    pub(crate) queries: u64,
    /// Raises of weights so far.
    pub(crate) raises: u64,
}

/// A span of time that is being measured.
pub(crate) struct Meter {
    audit: AuditLog,
    mark: u64,
    user: String,
    /// Process ids, each with its seconds of processor time at the beginning.
    processes: Vec<(u32, f64)>,
    counts: Counts,
    begun: Stopwatch,
}

impl Meter {
    /// Begins a span. Of these processes; what another does that comes later is not counted, but its requests are.
    pub(crate) fn begin(audit: AuditLog, user: String, pids: &[u32], counts: Counts) -> io::Result<Self> {
        let mut processes = Vec::new();
        for pid in pids {
            process::forget_peak(*pid)?;
            processes.push((*pid, process::cpu_seconds(*pid)?));
        }
        Ok(Self {
            mark: audit.mark()?,
            audit,
            user,
            processes,
            counts,
            begun: Stopwatch::start(),
        })
    }

    /// Ends it.
    pub(crate) fn end(self, name: &str, counts: Counts) -> io::Result<Stage> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut stage = Stage {
            name: name.to_owned(),
            seconds: to_thousandths(seconds),
            queries: counts.queries - self.counts.queries,
            steps: counts.raises.saturating_sub(self.counts.raises),
            ..Stage::default()
        };
        for (pid, before) in &self.processes {
            let memory = process::memory(*pid)?;
            stage.cpu_seconds += process::cpu_seconds(*pid)? - before;
            stage.rss_mib += memory.now;
            stage.rss_peak_mib += memory.peak;
        }
        for value in [
            &mut stage.cpu_seconds,
            &mut stage.rss_mib,
            &mut stage.rss_peak_mib,
        ] {
            *value = to_thousandths(*value);
        }
        let mut requests = Requests::default();
        self.audit.each_since(self.mark, |entry| {
            if entry.user == self.user {
                requests.take(&entry);
            }
        })?;
        stage.busiest_second = requests.busiest();
        stage.requests = requests.by_name;
        Ok(stage)
    }
}

/// The requests of one user.
#[derive(Debug, Default)]
struct Requests {
    by_name: BTreeMap<String, u64>,
    /// By second since 1970; watches apart.
    by_second: BTreeMap<i64, u64>,
}

impl Requests {
    /// A watch counts when it is opened, everything else when it is answered: both are told of a watch.
    fn take(&mut self, entry: &Entry) {
        let is_watch = entry.verb == "watch";
        let counts = if is_watch {
            "ResponseStarted"
        } else {
            "ResponseComplete"
        };
        if entry.stage != counts {
            return;
        }
        *self.by_name.entry(name_of(entry)).or_default() += 1;
        if !is_watch {
            *self.by_second.entry(entry.time.as_second()).or_default() += 1;
        }
    }

    fn busiest(&self) -> u64 {
        self.by_second.values().copied().max().unwrap_or(0)
    }
}

/// Verb and resource, as in `patch birdwatches/status`; the path of what is no resource.
fn name_of(entry: &Entry) -> String {
    let Entry {
        verb,
        resource,
        subresource,
        uri,
        ..
    } = entry;
    if resource.is_empty() {
        let path = uri.split('?').next().unwrap_or_default();
        format!("{verb} {path}")
    } else if subresource.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource}/{subresource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(verb: &str, resource: &str, stage: &str, second: i64) -> Entry {
        Entry {
            time: jiff::Timestamp::from_second(second).unwrap(),
            stage: stage.into(),
            user: "u".into(),
            verb: verb.into(),
            group: String::new(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            uri: "/version?timeout=5s".into(),
            code: 200,
            user_agent: String::new(),
        }
    }

    #[test]
    fn a_watch_counts_once_and_in_no_second() {
        let mut requests = Requests::default();
        for entry in [
            entry("watch", "pods", "ResponseStarted", 1),
            entry("watch", "pods", "ResponseComplete", 1),
            entry("get", "pods", "ResponseComplete", 1),
            entry("get", "pods", "ResponseComplete", 2),
            entry("get", "pods", "ResponseComplete", 2),
            entry("get", "", "ResponseComplete", 3),
        ] {
            requests.take(&entry);
        }
        let counted: Vec<_> = requests
            .by_name
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        assert_eq!(counted, [("get /version", 1), ("get pods", 3), ("watch pods", 1)]);
        assert_eq!(requests.busiest(), 2);
    }

    #[test]
    fn a_subresource_is_part_of_the_name() {
        let mut patch = entry("patch", "birdwatches", "ResponseComplete", 1);
        patch.subresource = "status".into();
        assert_eq!(name_of(&patch), "patch birdwatches/status");
    }
}
