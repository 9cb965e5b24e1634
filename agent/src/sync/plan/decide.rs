//! The one decision about one object: declared form and live record in, action out.

use crate::compile::declared::{DeclaredObject, DeclaredSet, Undeclared};
use crate::model::metadata::{ROOT_SCOPE, SyncId, SyncKind};
use crate::model::object::ObjectId;
use crate::sync::live::{FieldOwnership, Live, OnRemoval, Owner};

/// The repository's side of one object.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// The repository does not declare it.
    Absent,
    /// It is declared `managed: disabled`, or the sync goes without its objects: the sync gives it up and leaves it in the cluster.
    Disabled,
    /// It is declared, but the API server does not know its kind yet, or its values are sealed and cannot be opened, so nothing can be
    /// done.
    Unknown,
    /// It is declared, in this form.
    Object(&'a DeclaredObject),
}

impl<'a> Declared<'a> {
    /// Looks `id` up in a declared set.
    pub fn of(set: &'a DeclaredSet, id: &ObjectId) -> Self {
        match set.objects.get(id) {
            Some(object) => Self::Object(object),
            None if set.undeclared == Undeclared::GivenUp || set.disabled.contains(id) => Self::Disabled,
            None if set.withheld.contains_key(id) => Self::Unknown,
            None => Self::Absent,
        }
    }
}

/// The reason to apply an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It does not exist.
    Missing,
    /// It exists, and no sync manages it yet.
    Adopted,
    /// The sync manages it, and another form of it is declared now.
    Changed,
    /// Another client changed these fields, given as paths. None when our whole entry of `managedFields` is gone.
    Drifted(Box<[String]>),
}

/// One step for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object is as it shall be.
    Nothing,
    /// Server-side apply.
    Apply(Cause),
    /// Bring the sync's labels and annotations up to date and leave the rest alone (`mutation: ignore`).
    Annotate,
    /// Read the whole object: its metadata does not say enough.
    Read,
    /// Read the values of other objects for its declared form, and decide again. The engine postpones what is decided about a form
    /// that is not complete; [`decide`] never returns this.
    Fill,
    /// Delete it, with uid and version as preconditions.
    Delete,
    /// Take the sync's labels and annotations off and leave the object in the cluster.
    Abandon,
    /// It is being deleted; decide again when it is gone.
    Wait,
    /// Another sync manages it (KNV1060), with this manager annotation.
    Conflict(Box<str>),
}

/// Decides about one object. `live` is `None` when it does not exist or has no label or annotation of a sync.
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
        _ if live.in_doubt => Action::Read,
        Owner::Other(_) | Owner::Nobody if declared.implicit => Action::Nothing,
        // A Namespace belongs to the sync that declares it, whichever sync made it because of objects in it.
        Owner::Other(manager) if !live.implicit && !may_take_over(sync, manager) => Action::Conflict(manager.clone()),
        Owner::Us if declared.ignores_mutation() && current => Action::Nothing,
        _ if declared.ignores_mutation() => Action::Annotate,
        owner => match &live.fields {
            // The sync never managed it, or has given it up since.
            _ if *owner != Owner::Us && (!live.applied || !current) => Action::Apply(Cause::Adopted),
            FieldOwnership::Lost(paths) => Action::Apply(Cause::Drifted(paths.clone())),
            _ if live.hash.is_none() => Action::Apply(Cause::Adopted),
            _ if !current => Action::Apply(Cause::Changed),
            FieldOwnership::Unsure => Action::Read,
            FieldOwnership::Ours => Action::Nothing,
        },
    }
}

/// A RootSync takes objects over from RepoSyncs; otherwise the sync that came first keeps them.
fn may_take_over(sync: &SyncId, manager: &str) -> bool {
    sync.kind == SyncKind::RootSync && !manager.starts_with(ROOT_SCOPE)
}

fn remove(live: &Live) -> Action {
    match (&live.owner, live.on_removal) {
        _ if live.terminating => Action::Wait,
        (Owner::Us, OnRemoval::Delete) if live.applied => Action::Delete,
        (Owner::Us, OnRemoval::Abandon) => Action::Abandon,
        _ => Action::Nothing,
    }
}
