//! Sequential judging: canary against production, with a budget for false alarms that holds however often one looks
//! (analysis, sections 2 and 3). Pure: counts and instants come in, evidence goes out.

pub mod alarm;
pub mod counters;
pub mod counts;
pub mod design;
pub mod dispersion;
pub mod evidence;
pub mod expected;
pub mod pace;
pub mod planner;
pub mod policy;
pub mod recorded;
pub mod sight;
pub mod sign;

mod sums;
