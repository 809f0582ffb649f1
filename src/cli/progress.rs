//! How far long work is, told to whoever waits.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::clock::Clock;

/// A line on standard error, for whoever waits: after three seconds, then every second on a terminal (in place) and
/// every ten elsewhere.
pub(super) struct Progress {
    what: String,
    all: usize,
    done: usize,
    clock: Clock,
    start: Instant,
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(super) fn new(what: &str, all: usize) -> Self {
        let clock = Clock::real();
        let start = clock.monotonic();
        Self {
            what: what.to_owned(),
            all,
            done: 0,
            clock,
            start,
            next: start + Duration::from_secs(3),
            terminal: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    pub(super) fn step(&mut self) {
        self.done += 1;
        let now = self.clock.monotonic();
        if now < self.next || self.done == self.all {
            return;
        }
        self.shown = true;
        self.next = now + Duration::from_secs(if self.terminal { 1 } else { 10 });
        let line = line(&self.what, self.done, self.all, now.duration_since(self.start));
        let (before, after) = if self.terminal { ("\r", "") } else { ("", "\n") };
        // Who cannot be told is not told.
        let _ = write!(std::io::stderr(), "{before}{line}{after}");
        let _ = std::io::stderr().flush();
    }

    pub(super) fn end(&self) {
        if self.shown && self.terminal {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

fn line(what: &str, done: usize, all: usize, since: Duration) -> String {
    let left = all.saturating_sub(done);
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs")]
    let seconds = since.as_secs_f64() * left as f64 / done.max(1) as f64;
    let percent = done * 100 / all.max(1);
    format!("{what}: {percent:>3} %, about {seconds:.0} s left  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_from_what_it_took() {
        assert_eq!(
            line("simulating", 25, 100, Duration::from_secs(10)).trim_end(),
            "simulating:  25 %, about 30 s left"
        );
        assert!(line("x", 0, 0, Duration::ZERO).contains("0 s left"));
    }
}
