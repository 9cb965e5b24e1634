//! Who waits for whom: dependencies before what needs them, inhabitants before what holds them.

use std::time::Instant;

use super::Trouble;
use crate::model::finding::{Code, Finding, Resource};
use crate::model::object::ObjectId;
use crate::sync::engine::queue::{Class, Place};
use crate::sync::engine::{Command, Failure, Retry, State};
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::{Live, Owner};
use crate::sync::plan::order::namespace_of;
use crate::sync::plan::{Action, Declared, decide};

impl State {
    /// Whether something is still on its way: a short-lived failure, a Namespace that terminates, an object that waits
    /// for one that has not failed.
    pub(in crate::sync::engine) fn is_pending(&self) -> bool {
        let work = &self.work;
        !work.waiting.is_empty()
            || work.failures.values().any(|trouble| !trouble.is_told())
            || work.blocked.keys().any(|dependency| !self.has_failed(dependency))
    }

    /// Whether waiting for an object is in vain until somebody does something.
    pub(in crate::sync::engine) fn has_failed(&self, id: &ObjectId) -> bool {
        let told = self.work.failures.get(id).is_some_and(Trouble::is_told);
        let sick = self.live.get(id).is_some_and(|live| matches!(live.health, Health::Failed(_)));
        told || sick || self.work.conflicts.contains_key(id)
    }

    /// What an object still has to wait for.
    pub(super) fn unready(&self, id: &ObjectId) -> Option<ObjectId> {
        if !matches!(self.declared(id), Declared::Object(_)) {
            return None;
        }
        self.order.after(id).into_iter().find(|dependency| !self.is_ready(dependency))
    }

    fn is_ready(&self, id: &ObjectId) -> bool {
        let Some(live) = self.live.get(id).filter(|live| !live.terminating) else { return false };
        let declared = self.declared_form(id);
        if live.owner != Owner::Us && declared.as_ref().is_some_and(|declared| declared.implicit) {
            return true;
        }
        let as_declared = declared.is_none_or(|d| live.hash == Some(d.hash));
        as_declared && (id.is_namespace() || live.health == Health::Current || is_always_current(id))
    }

    /// The Namespace of an object, when it is ours and to be deleted.
    pub(super) fn doomed_namespace(&self, id: &ObjectId) -> Option<ObjectId> {
        let namespace = namespace_of(id)?;
        let live = self.live.get(&namespace)?;
        (decide(self.declared(&namespace), Some(live), &self.settings.sync) == Action::Delete).then_some(namespace)
    }

    /// Something of ours that would go with a Namespace or CRD that is to be deleted: it goes before, or keeps it.
    pub(super) fn inhabitant(&self, id: &ObjectId) -> Option<&ObjectId> {
        if !id.is_namespace() && !id.is_crd() {
            return None;
        }
        let moves = |other: &ObjectId, live: &Live| match decide(self.declared(other), Some(live), &self.settings.sync)
        {
            Action::Delete | Action::Abandon | Action::Wait => true,
            _ => matches!(self.declared(other), Declared::Object(_)),
        };
        self.inventory().find(|(other, live)| goes_with(other, id) && moves(other, live)).map(|(other, _)| other)
    }

    pub(super) fn not_empty(&mut self, id: ObjectId, inhabitant: ObjectId, now: Instant, out: &mut Vec<Command>) {
        if matches!(self.declared(&inhabitant), Declared::Object(_)) {
            let message = format!("skipped delete of {id}: {inhabitant} is still declared in it");
            let finding = Finding::new(Code::Applier, message)
                .hint("remove the objects in the Namespace too, or declare the Namespace again")
                .about(Resource::named(&id, "v1"));
            let place = Place::of(Class::Prune, &id, &self.order);
            self.failed(&id, Failure { finding, retry: Retry::Object }, place, now, out);
        } else {
            self.work.blocked.entry(inhabitant).or_default().insert(id);
        }
    }
}

/// Whether deleting a Namespace or CRD deletes `other`. Of a CRD only its name is at hand, `<plural>.<group>`; a plural
/// begins like its kind, but for the last letter.
fn goes_with(other: &ObjectId, id: &ObjectId) -> bool {
    if id.is_namespace() {
        return other.namespace() == id.name();
    }
    let Some((plural, group)) = id.name().split_once('.') else { return false };
    let kind = other.kind().to_lowercase();
    let stem = kind.get(..kind.len().saturating_sub(1)).unwrap_or(&kind);
    other.group() == group && plural.starts_with(stem)
}
