//! What to do about an object: the one decision that the first sync, a new commit, a drift event and a restart share.

pub mod guard;
pub mod order;

use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::model::metadata::{SyncId, SyncKind};
use crate::model::object::ObjectId;
use crate::sync::live::{Live, OnRemoval, Owner, Standing};

/// What a repository says about one object.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// Not a word.
    Absent,
    /// `managed: disabled`: it is to be released.
    Disabled,
    /// It shall be, but what it is cannot be told yet: its kind is unknown.
    Unknown,
    /// This is how it shall be.
    Object(&'a DeclaredObject),
}

impl<'a> Declared<'a> {
    /// What `set` says about `id`.
    pub fn of(set: &'a DeclaredSet, id: &ObjectId) -> Self {
        match set.objects.get(id) {
            Some(object) => Self::Object(object),
            None if set.disabled.contains(id) => Self::Disabled,
            None if set.withheld.contains_key(id) => Self::Unknown,
            None => Self::Absent,
        }
    }
}

/// Why an object is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is not there.
    Missing,
    /// It is there, but no sync's yet.
    Adopted,
    /// It is ours and declared differently now.
    Changed,
    /// Somebody changed these fields; none when ownership was wiped altogether.
    Drifted(Box<[String]>),
}

/// One step for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All is well.
    Nothing,
    /// Server-side apply.
    Apply(Cause),
    /// Bring its labels and annotations of ours up to date and leave the rest alone (`mutation: ignore`).
    Annotate,
    /// Read the whole object: its metadata does not say enough.
    Read,
    /// Delete exactly this incarnation and version.
    Delete,
    /// Take our metadata off and let it go.
    Abandon,
    /// It is being deleted; decide again when it is gone.
    Wait,
    /// Another sync manages it (KNV1060): its manager annotation.
    Conflict(Box<str>),
}

/// Decides about one object. `live` is `None` when it does not exist or nothing of ours is on it.
pub fn decide(declared: Declared<'_>, live: Option<&Live>, sync: &SyncId) -> Action {
    match (declared, live) {
        (Declared::Object(_), None) => Action::Apply(Cause::Missing),
        (Declared::Object(object), Some(live)) => keep(object, live, sync),
        (Declared::Disabled, Some(live)) if live.owner == Owner::Us => Action::Abandon,
        (Declared::Absent, Some(live)) => remove(live),
        (Declared::Disabled | Declared::Absent | Declared::Unknown, _) => Action::Nothing,
    }
}

fn keep(declared: &DeclaredObject, live: &Live, sync: &SyncId) -> Action {
    let current = live.hash == Some(declared.hash);
    match &live.owner {
        _ if live.terminating => Action::Wait,
        Owner::Other(_) | Owner::Nobody if declared.implicit => Action::Nothing,
        Owner::Other(manager) if !may_take_over(sync, manager) => Action::Conflict(manager.clone()),
        Owner::Us if declared.ignores_mutation() && current => Action::Nothing,
        _ if declared.ignores_mutation() => Action::Annotate,
        owner => match &live.standing {
            // Never ours, or let go since.
            Standing::Lost(_) if *owner != Owner::Us && (!live.applied || live.hash.is_none()) => {
                Action::Apply(Cause::Adopted)
            }
            Standing::Lost(paths) => Action::Apply(Cause::Drifted(paths.clone())),
            _ if live.hash.is_none() => Action::Apply(Cause::Adopted),
            _ if !current => Action::Apply(Cause::Changed),
            Standing::Unsure => Action::Read,
            Standing::Ours => Action::Nothing,
        },
    }
}

/// A RootSync takes objects over from RepoSyncs; otherwise who came first keeps them.
fn may_take_over(sync: &SyncId, manager: &str) -> bool {
    sync.kind == SyncKind::RootSync && !manager.starts_with(":root")
}

fn remove(live: &Live) -> Action {
    match (&live.owner, live.on_removal) {
        _ if live.terminating => Action::Wait,
        (Owner::Us, OnRemoval::Delete) if live.applied => Action::Delete,
        (Owner::Us, OnRemoval::Abandon) => Action::Abandon,
        _ => Action::Nothing,
    }
}
