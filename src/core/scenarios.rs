//! Lives of rollouts in the small world: one test a behaviour.

use super::decide::worth_writing;
use super::decision::Effect;
use super::observation::*;
use super::world::{STEPS, World, at, deployment, number, spec};
use crate::api::Span;
use crate::api::conditions::{ConditionType, holds};
use crate::api::status::{FailureReason, Notice, Outcome as End, Phase};

fn sick_above(percent: u8) -> impl Fn(&mut World) {
    move |world| {
        world.oracle = match percent {
            10 => |q, weight| {
                (
                    number(if q.side == Side::Canary && weight > 10 {
                        2.0
                    } else {
                        0.0
                    }),
                    1.0,
                )
            },
            _ => |q, weight| {
                (
                    number(if q.side == Side::Canary && weight > 0 {
                        2.0
                    } else {
                        0.0
                    }),
                    1.0,
                )
            },
        };
    }
}

mod again;
mod back;
mod candidates;
mod clocks;
mod counting;
mod evidence;
mod judging;
mod late;
mod life;
mod pace;
mod passed_over;
mod pauses;
mod people;
mod told;
mod upgrade;
