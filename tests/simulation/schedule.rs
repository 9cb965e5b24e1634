//! A schedule: everything that happens in a world, as data, so that it can be generated from a seed and shrunk.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use crate::faults::{Fault, Kind, Requests, Target};
use crate::source::{Content, Form, OBJECTS, PLAIN, Special, needs};

/// A whole schedule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// Number of syncs.
    pub(crate) syncs: u8,
    /// The first one is a RootSync, and the others are RepoSyncs.
    pub(crate) tenants: bool,
    /// The objects that there may be, by their index in [`OBJECTS`].
    pub(crate) objects: Vec<u8>,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// The parts of the end of a schedule that others may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Once nothing fails any more, all comes to rest before anything is declared anew.
    pub(crate) rests: bool,
    /// The agent starts once more in the end, and writes nothing.
    pub(crate) restarts: bool,
}

/// One thing that happens. Numbers pick one of what there is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A request is performed and answered, or the answer of a performed one arrives.
    Answer(u8),
    /// A request is performed, and its answer is on its way.
    Perform(u8),
    /// A sync takes in so many of its events.
    Deliver(u8, u8),
    /// A watch takes what is new.
    Pump(u8),
    /// The controllers of the cluster act.
    React,
    /// Everything comes to its end, as far as it can without time.
    Run,
    /// So many milliseconds pass.
    Wait(u32),
    /// The repository of a sync has a new commit.
    Commit(u8, Content),
    /// The branch of a sync's repository goes back by so many commits.
    Rewind(u8, u8),
    /// A sync's repository cannot be read.
    Unreadable(u8),
    /// A sync looks at its repository.
    Poll(u8),
    /// An operator approves the newest commit of a sync.
    Approve(u8),
    /// An operator takes the approval of a sync back.
    Revoke(u8),
    /// The watch of a kind lists again, or breaks off.
    Expire(u8),
    /// A watch tells its last event again.
    Twice(u8),
    /// All objects are audited.
    Audit(u8),
    /// The agent ends and starts again. Those of its requests on their way whose bits are set are still performed.
    Crash(u8),
    /// A task of a sync breaks down: the sync alone starts again.
    BreakDown(u8),
    /// The account of a sync loses its rights on the kind of an object in its Namespace, but perhaps those to read.
    Withdraw(u8, u8, bool),
    /// The account of a sync has all of its rights again, and the agent may hear of that.
    Give(u8, bool),
    /// Something other than the agent writes.
    Act(Act, u8),
    /// From now on requests go wrong.
    Fault(Fault),
    /// No more faults.
    Mend,
    /// A backup of etcd is taken.
    Backup,
    /// The last backup of etcd is restored.
    Restore,
}

/// Writes of people and controllers to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Create it without a sync's stamp, if it is not there.
    Create,
    /// Change a declared field.
    Edit,
    /// Take a field over with a forced apply.
    Seize,
    /// Delete it.
    Delete,
    /// Take the part-of label off.
    Unlabel,
    /// Take all of the sync's labels and annotations off.
    Unstamp,
    /// Empty `managedFields`.
    Disown,
    /// Add or take off a finalizer.
    Finalizer,
    /// Add an owner that is not there.
    Owner,
    /// Make a copy of it with all of its labels and annotations, under another name.
    Copy,
    /// Make an object with the stamp of a sync in its place or over it.
    Forge,
    /// Name another sync as its manager.
    Steal,
    /// Write an entry with the agent's manager and operation Update, or apply under its name.
    Impersonate,
}

/// All of them.
pub(crate) const ACTS: [Act; 13] = [
    Act::Create,
    Act::Edit,
    Act::Seize,
    Act::Delete,
    Act::Unlabel,
    Act::Unstamp,
    Act::Disown,
    Act::Finalizer,
    Act::Owner,
    Act::Copy,
    Act::Forge,
    Act::Steal,
    Act::Impersonate,
];

/// Which sorts of steps a schedule has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) syncs: u8,
    pub(crate) faults: bool,
    /// How many of [`ACTS`].
    pub(crate) acts: usize,
    pub(crate) restores: bool,
    /// All syncs but the first one are RepoSyncs, and rights come and go.
    pub(crate) tenants: bool,
    pub(crate) sizes: Sizes,
}

/// How large the worlds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All have all objects, and each number of steps is as frequent as any other.
    Even,
    /// Most are small, so that more of them are played within a time.
    MostlySmall,
    /// Still smaller ones, of two steps at least, of which each part of the end is in one half.
    Short,
}

impl Scope {
    /// How many of [`OBJECTS`] there are: those in Namespaces of tenants come last.
    fn objects(self) -> u8 {
        if self.tenants { OBJECTS.len() as u8 } else { PLAIN }
    }

    /// The number of steps.
    fn length(self, rng: &mut Rng) -> usize {
        match self.sizes {
            Sizes::Even => rng.usize(10..=200),
            Sizes::MostlySmall => log_even(rng.f64(), 10.0, 200.0),
            Sizes::Short => log_even(rng.f64().powi(2), 2.0, 200.0),
        }
    }

    /// The objects of a world, among them all that one of them needs.
    fn chosen(self, rng: &mut Rng) -> Vec<u8> {
        let mut left = (0..self.objects()).collect::<Vec<_>>();
        if self.sizes == Sizes::Even {
            return left;
        }
        let share = rng.f64();
        let share = if self.sizes == Sizes::Short { share.powi(2) } else { share };
        let count = log_even(share, 1.0, left.len() as f64);
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            let index = left.swap_remove(rng.usize(0..left.len()));
            chosen.extend(needs(index));
            chosen.insert(index);
        }
        chosen.into_iter().collect()
    }

    fn end(self, rng: &mut Rng) -> End {
        match self.sizes {
            Sizes::Short => End { rests: rng.bool(), restarts: rng.bool() },
            Sizes::Even | Sizes::MostlySmall => End { rests: true, restarts: true },
        }
    }
}

/// A number from `least` to `most`: from a `share` that is even from 0 to 1, as often one from 10 to 20 as one from 20 to 40.
fn log_even(share: f64, least: f64, most: f64) -> usize {
    (least * (most / least).powf(share)).round() as usize
}

/// The schedule of a seed.
pub(crate) fn generate(seed: u64, scope: Scope) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let syncs = rng.u8(if scope.tenants { 2 } else { 1 }..=scope.syncs);
    // Some worlds are calm, so that there are long runs without a fault.
    let calm = rng.u8(0..4);
    let length = scope.length(&mut rng);
    let objects = &*scope.chosen(&mut rng);
    let mut steps = Vec::new();
    if scope.faults && rng.u8(0..4) == 0 {
        // From the first request of the agent on.
        steps.push(Step::Fault(fault(&mut rng, objects)));
    }
    steps.extend([Step::Commit(0, content(&mut rng, objects)), Step::Run]);
    while steps.len() < length {
        steps.push(step(&mut rng, scope, objects, calm));
    }
    Schedule { syncs, tenants: scope.tenants, objects: objects.to_vec(), steps, end: scope.end(&mut rng) }
}

fn step(rng: &mut Rng, scope: Scope, objects: &[u8], calm: u8) -> Step {
    match rng.u8(0..100) {
        0..24 => Step::Answer(rng.u8(..)),
        24..28 => Step::Perform(rng.u8(..)),
        28..42 => Step::Deliver(rng.u8(..), 1 + rng.u8(0..4)),
        42..52 => Step::Pump(rng.u8(..)),
        52..57 => Step::React,
        57..62 => Step::Run,
        62..68 => Step::Wait(wait(rng)),
        68..74 => Step::Commit(rng.u8(..), content(rng, objects)),
        74 => Step::Rewind(rng.u8(..), rng.u8(1..4)),
        75 => Step::Unreadable(rng.u8(..)),
        76..78 => Step::Poll(rng.u8(..)),
        78 if rng.u8(0..3) == 0 => Step::Revoke(rng.u8(..)),
        78 => Step::Approve(rng.u8(..)),
        79 => Step::Expire(rng.u8(..)),
        80 => Step::Twice(rng.u8(..)),
        81 => Step::Audit(rng.u8(..)),
        82 if rng.u8(0..4) == 0 => Step::BreakDown(rng.u8(..)),
        82 => Step::Crash([0, u8::MAX, rng.u8(..)][rng.usize(0..3)]),
        83..91 if scope.acts > 0 && calm != 0 => {
            Step::Act(ACTS[rng.usize(0..scope.acts.min(ACTS.len()))], pick(rng, objects))
        }
        91..95 if scope.faults && calm != 1 => Step::Fault(fault(rng, objects)),
        95 if scope.faults => Step::Mend,
        96 if scope.restores => Step::Backup,
        97 if scope.restores => Step::Restore,
        96..98 if scope.tenants => Step::Withdraw(rng.u8(..), pick(rng, objects), rng.bool()),
        98 if scope.tenants => Step::Give(rng.u8(..), rng.bool()),
        _ => Step::Run,
    }
}

fn wait(rng: &mut Rng) -> u32 {
    match rng.u8(0..4) {
        0 => rng.u32(1..300),
        1 => rng.u32(300..5_000),
        2 => rng.u32(5_000..60_000),
        _ => rng.u32(60_000..900_000),
    }
}

/// One of the objects of a world.
fn pick(rng: &mut Rng, objects: &[u8]) -> u8 {
    objects[usize::from(rng.u8(0..objects.len() as u8))]
}

fn content(rng: &mut Rng, all: &[u8]) -> Content {
    let mut objects = BTreeMap::new();
    let density = rng.u8(1..6);
    for index in all.iter().copied() {
        if rng.u8(0..6) < density {
            let special = match rng.u8(0..30) {
                0 => Special::IgnoreMutation,
                1 => Special::Detach,
                // A Namespace that is given up may have no managed objects.
                2 if ![0, 7].contains(&index) => Special::Disabled,
                _ => Special::None,
            };
            objects.insert(index, Form { version: rng.u8(0..3), chained: rng.u8(0..6) == 0, special });
        }
    }
    Content { objects, broken: rng.u8(0..12) == 0 }
}

fn fault(rng: &mut Rng, objects: &[u8]) -> Fault {
    let codes = [400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 503, 504];
    let kind = match rng.u8(0..9) {
        0 => Kind::Hangup,
        1 => Kind::Lost,
        2 => Kind::Cut,
        3 => Kind::Undecodable,
        4 => Kind::Panic,
        _ => Kind::Refuse(codes[rng.usize(0..codes.len())], [0, 1, 30, u32::MAX][rng.usize(0..4)]),
    };
    let target = match rng.u8(0..8) {
        0 => Target::All,
        1 => Target::Records,
        2 => Target::Statuses,
        3 => Target::Lists(objects[usize::from(rng.u8(..)) % objects.len()]),
        _ => Target::Objects(rng.u16(..) & rng.u16(..)),
    };
    let requests = match rng.u8(0..6) {
        0 => Requests::Reads,
        1 => Requests::Deletions,
        2 | 3 => Requests::Patches,
        _ => Requests::All,
    };
    Fault { requests, target, kind, times: if rng.u8(0..3) == 0 { 0 } else { rng.u8(1..4) } }
}
