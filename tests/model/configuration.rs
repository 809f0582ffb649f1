//! A configuration: what exists, what may go wrong, and what people may do. The full product of everything is too large, so
//! that each configuration has some of it.

use birdwatch::api::{BirdWatchSpec, Span};
use birdwatch::core::observation::Settings;

use super::objects::TICK;
use super::state::{Edit, LEVELS};

/// A spec with these steps, everything else in ticks too.
macro_rules! spec {
    ($steps:literal) => {
        concat!(
            "service: shop\n",
            "metrics: [{name: errors, query: 'errors{version=\"$(version)\"}', max: 1}]\n",
            "steps: [",
            $steps,
            "]\n",
            "checkInterval: 10s\n",
            "progressDeadline: 20s\n",
            "minCapacity: 1\n",
            "settle: 0s\n",
        )
    };
}

/// Four steps, the last of them longer.
pub(crate) const FOUR_STEPS: &str = spec!(
    "{weight: 25, hold: 10s}, {weight: 50, hold: 10s}, {weight: 75, hold: 10s}, {weight: 100, hold: 20s}"
);
/// Two steps, where what happens between is of more interest.
pub(crate) const TWO_STEPS: &str = spec!("{weight: 50, hold: 10s}, {weight: 100, hold: 10s}");
/// The same, held for two checks: in between, one may be unknown.
pub(crate) const LONG_STEPS: &str = spec!("{weight: 50, hold: 20s}, {weight: 100, hold: 20s}");
/// One step: the first raise is the last.
pub(crate) const ONE_STEP: &str = spec!("{weight: 100, hold: 10s}");
/// One step, held for two checks.
pub(crate) const LONG_STEP: &str = spec!("{weight: 100, hold: 20s}");

/// Which calls may arrive late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delays {
    Nothing,
    Labels,
    Raises,
    Anything,
}

/// What exists, what may go wrong, and what people may do.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is allowed or not, whatever the others are"
)]
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    /// The specs that a `BirdWatch` may have; all begin with the first.
    pub(crate) forms: Vec<String>,
    /// The annotations it may have; the first is none.
    pub(crate) verbs: Vec<&'static str>,
    pub(crate) birds: usize,
    pub(crate) operators: usize,
    /// Versions that come by themselves, in this order, at any moment.
    pub(crate) releases: Vec<u8>,
    /// What people may do, and how often in all.
    pub(crate) edits: (u8, Vec<Edit>),
    /// Prometheus may say bad, and may say nothing.
    pub(crate) bad: bool,
    pub(crate) unknown: bool,
    /// The last operator sees what its watches show, and that may be old; the others see everything at once.
    pub(crate) stale: bool,
    /// Calls may be lost on the way there, or on the way back.
    pub(crate) lossy: bool,
    /// Those that write a status may, and where a call is lost, time may pass before it is tried again: for as long as it likes.
    pub(crate) outage: bool,
    /// The calls that nobody waits for any more, and that may still arrive, as late as they like.
    pub(crate) delays: Delays,
    /// Operators may be killed.
    pub(crate) crashes: bool,
    /// How often leadership may move; the last call of one who leads no longer has met its fate when the next begins.
    pub(crate) moves: u8,
    /// Operators may sleep in the middle of a reconcile, or before it.
    pub(crate) slow: bool,
}

impl Configuration {
    /// One `BirdWatch`, one operator, one release, and Prometheus saying anything at any moment.
    pub(crate) fn new(name: &'static str, spec: &str) -> Self {
        Self {
            name,
            forms: vec![spec.to_owned()],
            verbs: vec![""],
            birds: 1,
            operators: 1,
            releases: vec![1],
            edits: (0, Vec::new()),
            bad: true,
            unknown: true,
            stale: false,
            lossy: false,
            outage: false,
            delays: Delays::Nothing,
            crashes: false,
            moves: 0,
            slow: false,
        }
    }

    pub(crate) fn spec(&self, form: u8) -> BirdWatchSpec {
        serde_saphyr::from_str(&self.forms[usize::from(form)]).unwrap()
    }

    /// Whether what is unknown for long is as good as bad.
    pub(crate) fn is_impatient(&self) -> bool {
        self.forms
            .iter()
            .any(|form| form.contains("ifUnknown: unhealthy"))
    }

    /// Whether a rollout may end badly: where Prometheus only says good and nobody touches anything, none does.
    pub(crate) fn can_go_wrong(&self) -> bool {
        self.bad || self.unknown && self.is_impatient() || !self.edits.1.is_empty()
    }

    /// The different weights of all steps.
    pub(crate) fn levels(&self) -> Vec<i64> {
        let forms = 0..u8::try_from(self.forms.len()).unwrap();
        let steps = forms.flat_map(|form| self.spec(form).steps.unwrap());
        let mut levels: Vec<i64> = steps.map(|step| i64::from(step.weight)).collect();
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() <= LEVELS, "{}", self.name);
        levels
    }

    /// The form without its pause.
    pub(crate) fn mended(&self, form: u8) -> u8 {
        let is_paused = |form: u8| self.forms[usize::from(form)].contains("paused: true");
        if is_paused(form) { 0 } else { form }
    }

    pub(crate) const fn settings() -> Settings {
        Settings {
            scrape_interval: TICK,
            propagation_delay: TICK,
            // An answer is fresh for two intervals, and two deadlines.
            query_timeout: Span::ZERO,
            notify: None,
        }
    }
}
