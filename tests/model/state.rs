//! One state of the small world, and what can happen in it. Plain data, and small: what is large is kept once in the
//! tables and named here by a number.

/// `BirdWatches` at most.
pub(crate) const BIRDS: usize = 2;
/// Operators at most.
pub(crate) const OPERATORS: usize = 2;
/// Different weights of steps at most.
pub(crate) const LEVELS: usize = 5;
/// Versions at most; the first is in production.
pub(crate) const VERSIONS: usize = 3;
/// An age, or a time to wait, that is this many ticks or more. It is above every threshold of every configuration.
pub(crate) const LONG: u8 = 3;

/// Ticks since something, or until it.
pub(crate) type Ticks = u8;
/// Place of something in one of the tables.
pub(crate) type Id = u32;

/// An object at a resource version. Versions are ranks: only their order among those that somebody still holds counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen<T> {
    pub(crate) is: T,
    pub(crate) version: u8,
}

/// A `BirdWatch` as the server holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bird {
    pub(crate) status: Id,
    /// Which of the configuration's specs it has.
    pub(crate) form: u8,
    /// Which of the configuration's annotations it has; 0: none.
    pub(crate) verb: u8,
    pub(crate) deleting: bool,
    pub(crate) finalizer: bool,
}

/// The Deployment of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pods {
    pub(crate) revision: u8,
    pub(crate) available: i32,
}

/// The Deployments, by version.
pub(crate) type AllPods = [Option<Pods>; VERSIONS];

/// Every object, as the server holds it or as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Objects {
    pub(crate) birds: [Option<Seen<Bird>>; BIRDS],
    pub(crate) route: Seen<Id>,
    pub(crate) rule: Seen<Id>,
    pub(crate) pods: Seen<AllPods>,
}

/// A kind of object, as watches tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Bird(u8),
    Route,
    Rule,
    Pods,
}

/// What Prometheus says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    Good,
    Bad,
    Unknown,
}

/// A check that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Answered {
    pub(crate) request: Id,
    pub(crate) asked: Ticks,
    pub(crate) said: Said,
}

/// An answer, for the promises to be checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Heard {
    pub(crate) request: Id,
    pub(crate) said: Said,
    /// The canary's weight by our own hand when it was asked.
    pub(crate) at: u8,
}

/// A status that is decided and not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) based_on: Id,
    pub(crate) status: Id,
    pub(crate) acted_upon: bool,
}

/// What an operator remembers of one `BirdWatch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memo {
    pub(crate) held: Option<Held>,
    pub(crate) last_write: Option<Ticks>,
    /// The status that is seen is the one it wrote last.
    pub(crate) wrote_it: bool,
    pub(crate) check: Option<Answered>,
    /// What is being asked, and since when.
    pub(crate) asking: Option<(Id, Ticks)>,
    /// Since when the canary is seen at 0.
    pub(crate) zero: Option<Ticks>,
    /// Who last wrote the routes, a person or not, is found out for the version that is seen; and so for the rule.
    pub(crate) routes_writer: Option<bool>,
    pub(crate) rule_writer: bool,
    /// No part of the operator, as what follows, but kept for the promises to be checked by: the canary's weight by our own hand
    /// when it asked.
    pub(crate) asked_at: u8,
    /// What it heard last.
    pub(crate) heard: Option<Heard>,
    /// Since when it has heard of the canary that nothing is known, where that may be as good as bad.
    pub(crate) blind: Option<Ticks>,
    /// The attempt that it has taken back last.
    pub(crate) condemned: Option<Id>,
}

/// A reconcile under way: a decision, and how far it is carried out.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is true or not, whatever the others are"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) thought: Id,
    /// Which of the decision's calls is on its way.
    pub(crate) at: u8,
    /// The `BirdWatch`, routes and rule that were decided on.
    pub(crate) bird: Seen<Bird>,
    pub(crate) route: Seen<Id>,
    pub(crate) rule: Seen<Id>,
    /// The routes, the newest known when the call on its way was sent.
    pub(crate) sent: Seen<Id>,
    /// The status to write, as time shifts it.
    pub(crate) next: Id,
    pub(crate) wake: Option<Ticks>,
    /// Something was changed: look again at once.
    pub(crate) changed: bool,
    /// A lowering was not answered: nothing but the status follows it.
    pub(crate) failed: bool,
    /// Its operator no longer leads: the call on its way is the last.
    pub(crate) orphan: bool,
    /// Since it was decided one who leads no longer has written a status, or a call has arrived that nobody waited for.
    pub(crate) crossed: bool,
}

/// An operator. What it sees and remembers may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operator {
    pub(crate) sees: Objects,
    pub(crate) memos: [Memo; BIRDS],
    /// A reconcile is asked for.
    pub(crate) due: [bool; BIRDS],
    /// It is asked for only because a call was lost: that may wait a little.
    pub(crate) waits: [bool; BIRDS],
    /// When the last reconcile asked to look again.
    pub(crate) wake: [Option<Ticks>; BIRDS],
    pub(crate) jobs: [Option<Job>; BIRDS],
}

/// A write that nobody waits for any more, and that may still reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Late {
    pub(crate) bird: u8,
    pub(crate) job: Job,
}

/// What is kept for the promises only: nothing in the world depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    /// What our last write gave the canary, in percent.
    pub(crate) level: u8,
    /// The answer that the status on the server rests on, for each `BirdWatch`.
    pub(crate) landed: [Option<Heard>; BIRDS],
    /// A person has asked for 100 %.
    pub(crate) promote: bool,
    /// For how long the canary has had at least the weight of each level of the configuration; no longer than any hold.
    pub(crate) held: [Ticks; LEVELS],
    /// How much of that may count as held, for each `BirdWatch`: [`counts`](super::passing) says what may.
    pub(crate) known: [[Ticks; LEVELS]; BIRDS],
    /// The promise that was broken, by its place in the list of them.
    pub(crate) broken: Option<u8>,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) server: Objects,
    pub(crate) operators: [Operator; OPERATORS],
    pub(crate) late: Option<Late>,
    pub(crate) rest: Rest,
}

/// What is small enough to be kept in each state as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rest {
    pub(crate) leader: Option<u8>,
    /// Nobody has led for so long that the lease has run out.
    pub(crate) is_free: bool,
    /// In which of the last ticks nobody has led: the lowest bit is the last of them.
    pub(crate) absences: u8,
    /// What people may still do.
    pub(crate) edits: u8,
    /// How often leadership may still move.
    pub(crate) moves: u8,
    /// Which of the configuration's releases have happened.
    pub(crate) released: u8,
    /// The last hand on the weights was a person's, as the managed fields of the object say.
    pub(crate) by_hand: bool,
    pub(crate) ghost: Ghost,
}

/// Everything, its large parts named by their places in the tables: what the checker stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) server: Id,
    pub(crate) operators: [Id; OPERATORS],
    pub(crate) late: Option<Id>,
    pub(crate) rest: Rest,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// The server does or refuses it, and the answer arrives.
    Answered,
    /// It is done, and the answer is lost.
    Unanswered,
    /// It never arrives.
    Lost,
    /// Nobody waits for it any more, and it may still arrive.
    Delayed,
}

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Edit {
    /// Another spec.
    Form(u8, u8),
    /// Another annotation.
    Verb(u8, u8),
    /// Another canary's weight.
    Weight(i64),
    /// Pods of a version that are available.
    Available(u8, i32),
    /// A version is made anew.
    Revise(u8),
    /// A version comes.
    Deploy(u8),
    /// A `BirdWatch` goes.
    Delete(u8),
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// An operator's watch shows it the newest object of a kind.
    See(u8, Kind),
    /// An operator begins a reconcile.
    Reconcile(u8, u8),
    /// A call of a reconcile meets its fate.
    Call(u8, u8, Fate),
    /// Prometheus answers.
    Answer(u8, u8, Said),
    /// An operator is killed and started again; what is on its way may still arrive, where it is kept.
    Crash(u8, bool),
    /// An operator begins to lead.
    Lead(u8),
    /// It leads no longer: what is on its way goes on, and nothing after it.
    Lose(u8),
    /// A delayed write arrives, or does not.
    Arrive(bool),
    /// The next version comes.
    Release,
    /// A person does something.
    Edit(Edit),
    /// People end pauses and mend specs, and every pod is there again.
    Mend,
    /// Time passes.
    Tick,
}
