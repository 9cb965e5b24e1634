//! Objects that wait for other objects: those that need them to be ready, and Namespaces and CRDs that are deleted after
//! the objects in them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::model::backoff::Backoff;
use crate::model::duration::format_duration;
use crate::model::finding::{Code, Finding, Resource};
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::{Live, Owner};
use crate::sync::plan::order::{is_deleted_with, namespace_of};
use crate::sync::plan::{Action, Declared, decide};

use super::objects::{FailureRecord, Mark, Phase};
use super::queue::{QueuePlace, WorkClass};
use super::{Command, Failure, Notice, Retry, State};

/// The longest pause between two looks at an object of others.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

pub(super) fn claims() -> GroupKind {
    GroupKind::new("", "PersistentVolumeClaim")
}

impl State {
    /// `true` while something is on its way by itself: a failure that may pass, an object that is being deleted and will be
    /// made again, an object that waits for one that has not failed.
    pub(super) fn is_pending(&self) -> bool {
        let overdue = |id: &ObjectId| self.objects.notes(id).is_some_and(|notes| notes.overdue);
        self.objects.marked(Mark::Terminating).next().is_some()
            || self.objects.marked(Mark::Untold).any(|id| !self.is_stranger(id))
            || self.are_values_pending()
            || !self.schemas.is_empty()
            || self
                .objects
                .awaited()
                .filter(|(dependency, _)| !self.has_failed(dependency) && !self.is_stranger(dependency))
                .any(|(_, mut waiting)| waiting.any(|id| !overdue(id)))
    }

    /// `true` when waiting for the object is in vain until a user does something.
    fn has_failed(&self, id: &ObjectId) -> bool {
        let Some(tracked) = self.objects.get(id) else { return false };
        let notes = tracked.notes.as_deref();
        notes.is_some_and(|n| n.conflict.is_some() || n.failure.as_ref().is_some_and(FailureRecord::is_told))
            || tracked.live.as_ref().is_some_and(|live| matches!(live.health, Health::Failed(_)))
    }

    /// `true` for an object that is neither declared nor the sync's: no watch shows it.
    fn is_stranger(&self, id: &ObjectId) -> bool {
        matches!(self.declared(id), Declared::Absent) && !self.objects.is_recorded(id)
    }

    /// `true` for an object of others for which an object of the sync waits, and which may be read: what is outside of the namespace of a
    /// RepoSync is not, whatever its account may do.
    pub(super) fn is_awaited_stranger(&self, id: &ObjectId) -> bool {
        self.objects.is_awaited(id) && self.is_stranger(id) && self.settings.sync.covers(id)
    }

    /// The first object that has to be ready before this declared one is applied, and is not.
    pub(super) fn unready_dependency(&self, id: &ObjectId) -> Option<ObjectId> {
        if !matches!(self.declared(id), Declared::Object(_)) {
            return None;
        }
        let is_ready = |dependency: &ObjectId| {
            self.is_ready(dependency) && !(self.is_stranger(dependency) && self.takes_values_of(id, dependency))
        };
        self.in_force.order.after(id).into_iter().find(|dependency| !is_ready(dependency))
    }

    /// `true` if values of the other object are copied into this one. No watch shows when those of a stranger change.
    fn takes_values_of(&self, id: &ObjectId, other: &ObjectId) -> bool {
        self.in_force.order.sources(id).is_some_and(|sources| sources.contains(other))
    }

    fn is_ready(&self, id: &ObjectId) -> bool {
        let Some(live) = self.objects.live(id).filter(|live| !live.terminating) else { return false };
        let declared = self.declared_form(id);
        if live.owner == Owner::Us && self.objects.is_recorded(id) && declared.is_none() {
            return false;
        }
        // Objects can be in a Namespace whichever sync has it.
        if live.owner != Owner::Us && id.is_namespace() && declared.is_some() {
            return true;
        }
        let as_declared = declared.is_none_or(|declared| live.hash == Some(declared.hash));
        // The class of a claim may bind it when its first Pod comes, which may be what waits.
        let is_there = id.is_namespace() || (id.is_of(&claims()) && !matches!(live.health, Health::Failed(_)));
        as_declared && (is_there || live.health == Health::Current || is_always_current(id))
    }

    /// The object waits, from now or from an earlier moment on if it waited already.
    pub(super) fn wait_for(&mut self, id: &ObjectId, dependency: ObjectId, now: Instant) {
        let overdue_at = now + self.settings.reconcile_timeout;
        let waited = self.objects.change(id, |tracked| {
            tracked.notes_mut().overdue_at.get_or_insert(overdue_at);
            std::mem::replace(&mut tracked.phase, Phase::Waiting(dependency.clone()))
        });
        if !matches!(waited, Phase::Waiting(before) if before == dependency) {
            self.report.resources_changed();
        }
        if self.is_stranger(&dependency) {
            let may_look = self.settings.sync.covers(&dependency);
            let looked = !may_look || self.objects.notes(&dependency).is_some_and(|notes| notes.checks > 0);
            if may_look {
                self.look_at(&dependency, now);
            }
            if looked && !self.objects.notes(id).is_some_and(|notes| notes.overdue) {
                self.tell_overdue_wait(id);
            }
        }
    }

    /// Has an object of others read: at once, and again after pauses that grow.
    fn look_at(&mut self, id: &ObjectId, now: Instant) {
        if !matches!(self.objects.get(id).map_or(&Phase::Settled, |tracked| &tracked.phase), Phase::Settled) {
            return;
        }
        let checks = self.objects.change(id, |tracked| {
            let checks = &mut tracked.notes_mut().checks;
            *checks = checks.saturating_add(1);
            *checks - 1
        });
        if checks == 0 {
            self.objects.queue(id, QueuePlace::of(WorkClass::Repair, id, &self.in_force.order));
        } else {
            let pause = Backoff::pause(Duration::from_secs(1), LONGEST_LOOK, checks - 1);
            self.objects.set_phase(id, Phase::BackingOff(now + pause));
        }
    }

    /// The objects that wait for `id` are decided about again.
    pub(super) fn stop_waiting_for(&mut self, id: &ObjectId, now: Instant) {
        for waiting in self.objects.waiting_for(id) {
            self.evaluate(&waiting, now);
        }
    }

    /// The finding of an object that waits in vain: the object that it waits for failed or took too long.
    pub(super) fn waiting_finding(&self, id: &ObjectId) -> Option<Finding> {
        let tracked = self.objects.get(id)?;
        let Phase::Waiting(dependency) = &tracked.phase else { return None };
        if self.action(id) == Action::Delete {
            // The other object is told of.
            return None;
        }
        let overdue = tracked.notes.as_deref().is_some_and(|notes| notes.overdue);
        let timeout = format_duration(self.settings.reconcile_timeout);
        let (why, hint) = match (self.has_failed(dependency), overdue) {
            _ if self.is_stranger(dependency) && self.takes_values_of(id, dependency) => (
                "which is not declared here, and of which it takes values".to_owned(),
                "declare the other object in this sync, or correct the annotation \
                 config.kubernetes.io/apply-time-mutation",
            ),
            _ if self.is_stranger(dependency) && !self.settings.sync.covers(dependency) => (
                "which is outside of the namespace of this RepoSync, and is not looked at".to_owned(),
                "take the other object out of the annotation config.kubernetes.io/depends-on",
            ),
            _ if self.is_stranger(dependency) => (
                "which is not declared here and not ready on the cluster".to_owned(),
                "it is applied as soon as the other object is there; declare that, or correct the annotation \
                 config.kubernetes.io/depends-on",
            ),
            (true, _) => ("which failed".to_owned(), "mend the other object first"),
            (false, true) => (
                format!("which was not ready within {timeout}"),
                "see why the other object does not become ready; spec.override.reconcileTimeout allows it more time",
            ),
            (false, false) => return None,
        };
        let message = format!("skipped apply of {id}: it depends on {dependency}, {why}");
        Some(self.about(Finding::new(Code::Applier, message).hint(hint), id))
    }

    // ---- Namespaces and CRDs that are not declared any more ----

    /// The Namespace or the CRD of an object, when it is the sync's and is to be deleted.
    pub(super) fn doomed_container(&self, id: &ObjectId) -> Option<ObjectId> {
        let crds = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
        let plural = self.kinds.plural(id);
        let crds = self.objects.of_kind(&crds).map(|(crd, _)| crd).filter(|crd| is_deleted_with(id, plural, crd));
        namespace_of(id).into_iter().chain(crds.cloned()).find(|container| self.action(container) == Action::Delete)
    }

    /// A recorded object in a Namespace or CRD that no list has shown yet, because its kind cannot be listed: until it is
    /// shown, nothing says that it may go.
    pub(super) fn unlisted_in(&self, id: &ObjectId) -> Option<&ObjectId> {
        if !id.is_namespace() && !id.is_crd() {
            return None;
        }
        let goes_with = |other: &&ObjectId| {
            let plural = if id.is_crd() { self.kinds.plural(other) } else { None };
            self.kinds.may_exist(other) && is_deleted_with(other, plural, id)
        };
        self.unlisted().find(goes_with)
    }

    /// An object of the sync that would be deleted together with a Namespace or CRD: it goes before, or keeps it.
    pub(super) fn inhabitant(&self, id: &ObjectId) -> Option<&ObjectId> {
        if !id.is_namespace() && !id.is_crd() {
            return None;
        }
        let moves = |other: &ObjectId, live: &Live| match decide(self.declared(other), Some(live), &self.settings.sync)
        {
            Action::Delete | Action::Abandon | Action::Wait => true,
            _ => matches!(self.declared(other), Declared::Object(_)),
        };
        let goes_with = |other: &ObjectId| {
            let plural = if id.is_crd() { self.kinds.plural(other) } else { None };
            is_deleted_with(other, plural, id)
        };
        let inhabits = |(other, live): &(&ObjectId, &Live)| goes_with(other) && moves(other, live);
        self.objects.inventory().find(inhabits).map(|(other, _)| other)
    }

    /// An object of the sync that depends on this one and goes too: it has to be gone before. So has another sync before the rights that
    /// are deleted with it: it may take its objects along, for which it needs them, but does not keep its rights for longer than the
    /// reconcile timeout by that. Of objects that depend on each other none waits.
    pub(super) fn going_dependent(&self, id: &ObjectId) -> Option<&ObjectId> {
        let going = |id: &ObjectId| {
            let live = self.objects.get(id).and_then(|tracked| tracked.own());
            live.filter(|_| matches!(self.action(id), Action::Delete | Action::Abandon | Action::Wait))
        };
        let below = |id: &ObjectId| self.objects.live(id).and_then(|live| live.depends_on.as_deref()).unwrap_or(&[]);
        let depends = |dependent: &ObjectId, on: &ObjectId| {
            let (mut left, mut seen) = (below(dependent).to_vec(), BTreeSet::new());
            while let Some(next) = left.pop() {
                if next == *on {
                    return true;
                }
                if seen.insert(next.clone()) {
                    left.extend(below(&next).iter().cloned());
                }
            }
            false
        };
        let dependents = self.objects.marked(Mark::Dependent).filter(|other| below(other).contains(id));
        let is_overdue = self.objects.notes(id).is_some_and(|notes| notes.overdue);
        let syncs = if gives_rights(id) && !is_overdue { self.sync_objects() } else { Vec::new() };
        // An account of a RepoSync has rights in its namespace, or everywhere.
        let may_need = |sync: &&ObjectId| {
            let scope = SyncId::of_object(sync).and_then(|sync| sync.scope().map(str::to_owned));
            id.namespace().is_empty() || scope.is_none_or(|namespace| namespace == id.namespace())
        };
        let syncs = syncs.into_iter().filter(|other| may_need(other) && !self.is_gone_after_this(other));
        dependents.chain(syncs).filter(|other| going(other).is_some()).find(|other| !depends(id, other))
    }

    /// The deletion of a Namespace or CRD waits for an object in it. A declared one is an error, because it stays.
    pub(super) fn delete_after(&mut self, id: &ObjectId, inhabitant: ObjectId, now: Instant) {
        if matches!(self.declared(&inhabitant), Declared::Object(_)) {
            let message = format!("skipped delete of {id}: {inhabitant} is still declared in it");
            let finding = Finding::new(Code::Applier, message)
                .hint("remove the objects in the Namespace too, or declare the Namespace again")
                .about(Resource::named(id, "v1"));
            self.failed(id, Failure { finding, retry: Retry::Object, refused: false }, now);
        } else {
            let overdue_at = (gives_rights(id) && SyncId::of_object(&inhabitant).is_some())
                .then(|| now + self.settings.reconcile_timeout);
            self.prunes.forget_count(id);
            self.objects.change(id, |tracked| {
                tracked.phase = Phase::Waiting(inhabitant);
                if let Some(at) = overdue_at {
                    tracked.notes_mut().overdue_at.get_or_insert(at);
                }
            });
        }
    }

    /// An object that is abandoned keeps its Namespace and its CRD: deleting those would take the object along. So they are
    /// abandoned first.
    pub(super) fn abandon_after(&mut self, id: &ObjectId, container: ObjectId, now: Instant) {
        self.keep_for(&container, id);
        self.objects.set_phase(id, Phase::Waiting(container.clone()));
        self.evaluate(&container, now);
    }

    /// A Namespace or CRD is abandoned and not deleted, because this object stays.
    pub(super) fn keep_for(&mut self, container: &ObjectId, id: &ObjectId) {
        let kept = self.objects.change(container, |tracked| std::mem::replace(&mut tracked.notes_mut().keep, true));
        if !kept {
            self.commands.push(Command::Notice(Notice::Kept(container.clone(), id.clone())));
        }
    }
}

/// `true` for a role or a binding.
pub(super) fn gives_rights(id: &ObjectId) -> bool {
    id.group() == "rbac.authorization.k8s.io"
}

#[cfg(test)]
mod tests;
