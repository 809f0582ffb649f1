//! What people may ask of a rollout by annotation, and what each verb means in each phase: one table, in code and docs.

use crate::api::conditions::{self, ConditionType};
use crate::api::status::{FailureReason, NoticeKind, Phase, Rollout, VerbStatus};

use super::blocks;
use super::candidates;
use super::end;
use super::line::{LONGEST, fit};
use super::promote;
use super::turn::Turn;

/// Longest value of the annotation, in characters.
const LONGEST_VALUE: usize = 100;
/// Values that are remembered, so that none acts twice.
const REMEMBERED: usize = 50;

/// A verb of the annotation `otomato.link/verb: <verb>/<token>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Go to 100 %.
    Promote,
    /// Give all traffic back.
    Rollback,
    /// Go on with a Frozen rollout.
    Resume,
    /// Start the version that ended last once more.
    Retry,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 4] = [Self::Promote, Self::Rollback, Self::Resume, Self::Retry];

    /// The verb as written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Resume => "resume",
            Self::Retry => "retry",
        }
    }
}

/// What a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing; the text says why.
    Refuse,
    /// Weight 100 as soon as there are pods for it, then the last hold.
    GoToFull,
    /// All traffic back to production.
    RollBack,
    /// The step's hold begins again.
    Resume,
    /// The version that ended last is a candidate once more.
    Retry,
}

/// What a verb means in a phase: what it does, and how that reads.
#[must_use]
pub const fn meaning(verb: Verb, phase: Phase) -> (Act, &'static str) {
    match (verb, phase) {
        (Verb::Promote, Phase::Pending | Phase::Baseline) => (
            Act::GoToFull,
            "goes straight to 100 % once the canary is available and the baseline recorded, and holds there",
        ),
        (Verb::Promote, Phase::Progressing) => (
            Act::GoToFull,
            "goes to 100 % as soon as there are pods for it, and holds there",
        ),
        (Verb::Promote, Phase::Frozen) => (Act::GoToFull, "ends the freeze, goes to 100 % and holds there"),
        (Verb::Promote, Phase::Promoting) => (Act::Refuse, "the promotion is under way already"),
        (Verb::Promote, Phase::RollingBack) => (
            Act::Refuse,
            "the rollout is on its way back; use retry afterwards",
        ),
        (Verb::Promote | Verb::Rollback, Phase::Idle | Phase::Promoted | Phase::RolledBack) => {
            (Act::Refuse, "no rollout is under way")
        }
        (Verb::Rollback, Phase::Pending | Phase::Baseline | Phase::Progressing | Phase::Frozen) => {
            (Act::RollBack, "gives all traffic back to production")
        }
        (Verb::Rollback, Phase::Promoting) => (
            Act::RollBack,
            "gives all traffic back, unless production's label is written already: then the promotion is finished",
        ),
        (Verb::Rollback, Phase::RollingBack) => (
            Act::RollBack,
            "goes ahead, even where production has no available pod",
        ),
        (Verb::Resume, Phase::Frozen) => (Act::Resume, "goes on at the same weight, with a new hold"),
        (Verb::Resume, _) => (
            Act::Refuse,
            "nothing is frozen (a pause ends with spec.paused: false)",
        ),
        (Verb::Retry, Phase::Idle | Phase::Promoted | Phase::RolledBack) => {
            (Act::Retry, "starts the version that ended last once more")
        }
        (Verb::Retry, Phase::Frozen) => (
            Act::Retry,
            "gives all traffic back, then starts the same version again",
        ),
        (Verb::Retry, _) => (Act::Refuse, "a rollout is under way"),
    }
}

/// The table of verbs by phase, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut lines = vec![
        format!(
            "| phase | {} |",
            Verb::ALL.map(|v| format!("`{}`", v.as_str())).join(" | ")
        ),
        format!("|---|{}", "---|".repeat(Verb::ALL.len())),
    ];
    for phase in Phase::ALL {
        let cells = Verb::ALL.map(|verb| match meaning(verb, phase) {
            (Act::Refuse, why) => format!("refused: {why}"),
            (_, what) => what.to_owned(),
        });
        lines.push(format!("| {} | {} |", phase.as_str(), cells.join(" | ")));
    }
    lines.join("\n") + "\n"
}

/// Reads `<verb>/<token>`.
fn parse(value: &str) -> Result<Verb, String> {
    // Before any of it is quoted.
    if value.chars().count() > LONGEST_VALUE {
        return Err(format!(
            "the value is too long: at most {LONGEST_VALUE} characters in all"
        ));
    }
    let names = || Verb::ALL.map(Verb::as_str).join(", ");
    let (word, token) = value.split_once('/').unwrap_or((value, ""));
    let Some(verb) = Verb::ALL.into_iter().find(|v| v.as_str() == word) else {
        return Err(format!(
            "{word:?} is no verb: use one of {}, as in promote/1",
            names()
        ));
    };
    if token.is_empty() {
        return Err(format!(
            "{word} needs a token, so that it acts once: write {word}/1, and another token next time"
        ));
    }
    Ok(verb)
}

/// Acts on the verb annotation, once for each value, bound to the rollout of that moment.
pub(super) fn hear(turn: &mut Turn<'_>, rollout: &mut Option<Rollout>) {
    let Some(value) = turn.seen.verb.as_deref().filter(|v| !v.is_empty()) else {
        return;
    };
    let shown: String = value.chars().take(LONGEST_VALUE).collect();
    let last = turn.next.verb.as_ref();
    if last.is_some_and(|last| last.value == shown) {
        return;
    }
    let is_used = last.is_some_and(|last| last.earlier.contains(&shown));
    let earlier = heard_before(last);
    let running = rollout.as_mut().filter(|r| r.ended.is_none());
    let outcome = if is_used {
        Err("it was used before and acts once: take another token".to_owned())
    } else {
        parse(value).and_then(|verb| apply(turn, running, verb))
    };
    let (accepted, message) = match outcome {
        Ok(message) => (true, message),
        Err(message) => (false, message),
    };
    if let Some(rollout) = rollout {
        let verdict = if accepted { "accepted" } else { "refused" };
        turn.tell(rollout, NoticeKind::Verb, format!("{shown} {verdict}: {message}"));
    }
    turn.next.verb = Some(VerbStatus {
        value: shown,
        rollout: rollout.as_ref().map(|r| r.id.clone()),
        accepted,
        message: fit(&message, LONGEST).into_owned(),
        at: turn.now,
        earlier,
    });
}

/// The values that act no more once there is a new one.
fn heard_before(last: Option<&VerbStatus>) -> Vec<String> {
    let Some(last) = last else { return Vec::new() };
    let mut earlier = last.earlier.clone();
    earlier.push(last.value.clone());
    let surplus = earlier.len().saturating_sub(REMEMBERED);
    earlier.split_off(surplus)
}

fn apply(turn: &mut Turn<'_>, rollout: Option<&mut Rollout>, verb: Verb) -> Result<String, String> {
    // Pending without a rollout waits for a version that is not there yet.
    let phase = if rollout.is_none() && turn.next.phase == Phase::Pending {
        Phase::Idle
    } else {
        turn.next.phase
    };
    let (act, text) = meaning(verb, phase);
    match (act, rollout) {
        (Act::Refuse, _) => return Err(text.to_owned()),
        (Act::Retry, Some(rollout)) if phase == Phase::Frozen => {
            end::fail(
                turn,
                rollout,
                FailureReason::RetryAsked,
                "a person asked to start again",
            );
        }
        (Act::Retry, _) => retry(turn)?,
        (_, None) => return Err("no rollout is under way".to_owned()),
        (Act::RollBack, Some(rollout)) if rollout.production_label_at.is_some() => {
            const FIRST: &str = "production's label is written already: the promotion is finished first";
            let waits = blocks::problem(turn).filter(|_| promote::waits(turn));
            return Err(waits.map_or_else(
                || FIRST.to_owned(),
                |problem| format!("{FIRST}, once this is mended: {problem}"),
            ));
        }
        (Act::RollBack, Some(rollout)) => end::fail(
            turn,
            rollout,
            FailureReason::RollbackAsked,
            "a person asked for it",
        ),
        (Act::Resume, Some(rollout)) => end::thaw(turn, rollout)?,
        (Act::GoToFull, Some(rollout)) if rollout.confirmed == 100 => {
            return Err("the canary is at 100 % already; its hold decides".to_owned());
        }
        (Act::GoToFull, Some(rollout)) => {
            if phase == Phase::Frozen {
                end::thaw(turn, rollout)?;
            }
            rollout.promote_asked = true;
        }
    }
    Ok(text.to_owned())
}

/// Takes a candidate whose rollout has ended off the lists that keep it from starting.
fn retry(turn: &mut Turn<'_>) -> Result<(), String> {
    let reverted = conditions::holds(&turn.next.conditions, ConditionType::ProductionReverted);
    let promoted = turn.next.promoted_version.as_ref().filter(|_| !reverted);
    let production = promote::production(turn).or(promoted).cloned();
    // A spec of which something else cannot be used names its canary all the same.
    let spec = turn.seen.spec.as_ref().ok();
    let wanted = spec.and_then(|spec| {
        spec.canary_version
            .as_ref()
            .or(spec.canary_version_alias.as_ref())
    });
    let wanted = wanted.map(String::as_str);
    let deployments = &turn.seen.deployments;
    let Some(at) = candidates::to_retry(&turn.next, deployments, production.as_deref(), wanted) else {
        return Err(match wanted {
            Some(version) => format!(
                "no rollout of {version}, which spec.canaryVersion names, has ended here, or it is in production"
            ),
            None => "no version has ended here that is not in production".to_owned(),
        });
    };
    let canary = turn.next.ended[at].canary.clone();
    // Without a spec that names them, the Deployments were not looked for.
    if turn.desired.is_ok() && !candidates::is_seen(deployments, &canary) {
        return Err(format!(
            "Deployment {}, with {} as it was released, is not there any more; name another version in spec.canaryVersion to retry \
             that",
            canary.deployment, canary.version
        ));
    }
    for ended in turn
        .next
        .ended
        .iter_mut()
        .filter(|e| candidates::same(&e.canary, &canary))
    {
        ended.retried = true;
    }
    if let Some(known) = &mut turn.next.known {
        known.retain(|k| !candidates::same(k, &canary));
    }
    Ok(())
}
