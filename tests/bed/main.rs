//! Behaviours on real parts: one bed for all of these tests, a namespace each. Names of tests carry the letter of the
//! behaviour they show.

mod lives;
mod support;
