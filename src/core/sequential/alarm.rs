//! When evidence becomes a verdict: at the limit, 1 + C checks in a row (analysis, section 2).

pub use crate::api::evidence::Alarm;

impl Alarm {
    /// Takes in the log evidence after a check; `told` is whether the check said anything. Returns whether the canary
    /// is unhealthy: `log_evidence >= log_limit` at `1 + confirmations` telling checks in a row.
    ///
    /// A check that said nothing neither counts nor breaks the row: confirmations wait for the other side of a shared
    /// fault to show, and it cannot show where nothing was measured. NaN counts as such a check.
    pub fn note(&mut self, log_evidence: f64, told: bool, log_limit: f64, confirmations: u32) -> bool {
        if told && !log_evidence.is_nan() {
            // A float that JSON cannot hold would make the whole status unreadable.
            self.peak = self.peak.max(log_evidence.min(f64::MAX));
            self.streak = if log_evidence >= log_limit {
                self.streak.saturating_add(1)
            } else {
                0
            };
        }
        self.streak > confirmations
    }

    /// The anytime p: the smallest 1/E so far, 0 to 1. Under the null it is ever at most p with probability at most p.
    #[must_use]
    pub fn p(&self) -> f64 {
        (-self.peak.max(0.0)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: f64 = 4.6;

    #[test]
    fn the_limit_has_to_hold_for_one_check_more_than_confirmations() {
        let mut alarm = Alarm::default();
        let noted: Vec<bool> = [5.0, 4.6, 4.5, 9.0, 9.0, 9.0]
            .map(|log| alarm.note(log, true, LIMIT, 2))
            .into();
        assert_eq!(noted, [false, false, false, false, false, true]);
        let mut at_once = Alarm::default();
        assert!(at_once.note(LIMIT, true, LIMIT, 0));
    }

    #[test]
    fn a_check_that_says_nothing_neither_confirms_nor_clears() {
        let mut alarm = Alarm::default();
        assert!(!alarm.note(5.0, true, LIMIT, 1));
        for nothing in [(5.0, false), (0.0, false), (f64::NAN, true), (f64::NAN, false)] {
            assert!(!alarm.note(nothing.0, nothing.1, LIMIT, 1), "{nothing:?}");
        }
        assert!(alarm.note(5.0, true, LIMIT, 1));
        assert!(alarm.note(5.0, false, LIMIT, 1), "unhealthy stays unhealthy");
    }

    #[test]
    fn p_only_falls_and_never_leaves_its_range() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.p().to_bits(), 1.0_f64.to_bits());
        alarm.note(-3.0, true, LIMIT, 0);
        assert_eq!(alarm.p().to_bits(), 1.0_f64.to_bits());
        alarm.note(100.0_f64.ln(), true, LIMIT, 0);
        alarm.note(0.0, true, LIMIT, 0);
        assert!((alarm.p() - 0.01).abs() < 1e-12);
        alarm.note(f64::INFINITY, true, LIMIT, 0);
        assert_eq!(alarm.p().to_bits(), 0.0_f64.to_bits());
        let written = serde_json::to_string(&alarm).unwrap();
        assert_eq!(serde_json::from_str::<Alarm>(&written).unwrap(), alarm);
    }
}
