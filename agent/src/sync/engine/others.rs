//! The other syncs of the cluster: an object that moves to a RootSync is handed over and not deleted, and a Namespace stays while
//! another RootSync has objects in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::GitStatus;
use crate::compile::declared::{DeclaredSet, Undeclared};
use crate::model::finding::{Code, Finding, Resource};
use crate::model::metadata::{ROOT_SCOPE, SyncId, SyncKind};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::live::{Live, Owner};
use crate::sync::plan::{Action, Declared};

use super::commit::Candidate;
use super::dependencies::{claims, gives_rights};
use super::objects::{Mark, Phase, Tracked};
use super::prune::ObjectCount;
use super::{Command, Failure, Restoring, Retry, SourceCommit, State};

/// The time for which the deletions of a commit wait until the other syncs of its repository have read it too: what it moves to
/// them they declare only then.
const READ_TOO: Duration = Duration::from_secs(10);
/// Number of RepoSyncs that are asked for an object that one of them may take over.
const HEIRS: usize = 4;

/// All syncs that there are, by their manager annotation.
pub type AllSyncs = BTreeMap<String, Holdings>;

/// The objects of a sync, as far as others have to heed them.
#[derive(Clone, Debug, Default)]
pub enum Holdings {
    /// It has just begun. Nothing is deleted until it has told.
    #[default]
    Untold,
    /// It cannot run, and its record cannot be read.
    Unreadable,
    /// These.
    Known(Arc<HeldObjects>),
}

/// The objects that a sync declares or still has.
#[derive(Clone, Debug, Default)]
pub struct HeldObjects {
    /// The source of the newest commit.
    git: Arc<GitStatus>,
    /// The newest commit that was compiled or refused; empty when none was.
    commit: String,
    /// The commit in force, and those that are to follow it.
    declared: Vec<Arc<DeclaredSet>>,
    /// Those of these commits that are of `git`. The newest one is not among them if it was refused.
    commits: Vec<String>,
    /// Recorded objects that none of these declares, and that are there or have not been listed.
    left: BTreeSet<ObjectId>,
}

impl HeldObjects {
    /// The objects of a record, of a sync that does not run.
    pub fn recorded(objects: BTreeSet<ObjectId>) -> Self {
        Self { left: objects, ..Self::default() }
    }

    /// `true` if the sync declares the object itself, and does not only need it for others.
    fn declares(&self, id: &ObjectId) -> bool {
        self.declared.iter().filter_map(|set| set.objects.get(id)).any(|object| !object.implicit)
    }

    /// `true` if the object is the sync's, or is to be. Labels and annotations alone prove nothing.
    fn has(&self, id: &ObjectId) -> bool {
        self.declared.iter().any(|set| set.objects.contains_key(id)) || self.left.contains(id)
    }

    /// Number of the objects, of the commit in force or recorded.
    fn number(&self) -> usize {
        self.declared.first().map_or(0, |set| set.objects.len()) + self.left.len()
    }

    /// The syncs among the objects.
    fn syncs(&self) -> impl Iterator<Item = SyncId> {
        let all = self.declared.iter().flat_map(|set| set.objects.keys()).chain(&self.left);
        all.filter_map(SyncId::of_object)
    }

    /// An object in a Namespace.
    fn object_in(&self, namespace: &ObjectId) -> Option<&ObjectId> {
        let sets = self.declared.iter().flat_map(|set| set.objects.keys().chain(&set.disabled));
        sets.chain(&self.left).find(|id| id.namespace() == namespace.name())
    }

    /// `true` if it refuses its newest commit, follows one ref with the other sync, and does not declare what this commit of that may
    /// give to it.
    fn refuses(&self, other: &SourceCommit) -> bool {
        let declares = |commit: &String| self.commits.contains(commit);
        let is_refused = !self.commit.is_empty() && !declares(&self.commit);
        is_refused && self.is_beside(&other.git) && !declares(&other.commit)
    }

    /// `true` if both follow one ref of one repository.
    fn is_beside(&self, git: &GitStatus) -> bool {
        (&self.git.repo, &self.git.revision, &self.git.branch) == (&git.repo, &git.revision, &git.branch)
    }
}

/// The other syncs.
#[derive(Default)]
pub(super) struct Others {
    /// `None` where there are none: a sync by flags, or before they are known.
    syncs: Option<Arc<AllSyncs>>,
    /// The objects of this sync that the others know of.
    shared: Option<Arc<HeldObjects>>,
    /// An object that they know of as left is gone since. They hear of it when nothing is on its way.
    is_stale: bool,
    /// A watch or a complete list has shown an object of this sync that they do not know of: they may take it over.
    is_more: bool,
    /// A list that is not complete has shown such an object.
    is_more_listed: bool,
    /// Deletions wait until then for syncs of the same repository.
    wait_until: Option<Instant>,
}

impl Others {
    /// `true` unless the manager is that of a sync that is not there any more, or that does not have the object.
    pub(super) fn may_have(&self, manager: &str, id: &ObjectId) -> bool {
        let Some(syncs) = &self.syncs else { return true };
        match syncs.get(manager) {
            Some(Holdings::Known(held)) => held.has(id),
            Some(Holdings::Untold | Holdings::Unreadable) => true,
            None => false,
        }
    }

    /// Number of the objects of this sync object; `None` as long as the sync has not told.
    pub(super) fn number_of(&self, object: &ObjectId) -> Option<ObjectCount> {
        let manager = SyncId::of_object(object)?.manager();
        // A sync by flags hears of no other one.
        let Some(syncs) = &self.syncs else { return Some(None) };
        match syncs.get(&manager) {
            None => Some(Some(0)),
            Some(Holdings::Untold) => None,
            Some(Holdings::Unreadable) => Some(None),
            Some(Holdings::Known(held)) => Some(Some(held.number())),
        }
    }

    /// The sync does not have the object any more.
    pub(super) fn lost(&mut self, id: &ObjectId) {
        self.is_stale |= self.shared.as_ref().is_some_and(|shared| shared.left.contains(id));
    }

    /// The object is the sync's, as a list or a watch shows it: an apply without an answer may have been carried out since.
    pub(super) fn gained(&mut self, id: &ObjectId, listed: bool) {
        let unknown = self.shared.as_ref().is_some_and(|shared| !shared.has(id));
        // A list may show many.
        *(if listed { &mut self.is_more_listed } else { &mut self.is_more }) |= unknown;
    }

    /// A list is complete.
    pub(super) fn listed(&mut self) {
        self.is_more |= std::mem::take(&mut self.is_more_listed);
    }

    /// Deletions wait until then.
    pub(super) fn wait_until(&self) -> Option<Instant> {
        self.wait_until
    }

    pub(super) fn wait_no_more(&mut self) {
        self.wait_until = None;
    }
}

/// The namespace of a RepoSync, by its manager annotation; `None` for a RootSync.
fn tenant(manager: &str) -> Option<&str> {
    (!manager.starts_with(ROOT_SCOPE)).then(|| manager.split('_').next().unwrap_or_default())
}

impl State {
    /// The other syncs that may have the objects of this one. RepoSyncs of different namespaces have nothing to do with each other.
    fn others(&self) -> impl Iterator<Item = (&str, &Holdings)> {
        let (scope, own) = (self.settings.sync.scope(), self.settings.sync.manager());
        let syncs = self.others.syncs.iter().flat_map(|syncs| syncs.iter());
        let meets =
            move |manager: &str| scope.is_none_or(|namespace| tenant(manager).is_none_or(|tenant| tenant == namespace));
        syncs
            .filter(move |(manager, _)| **manager != own && meets(manager))
            .map(|(manager, holdings)| (manager.as_str(), holdings))
    }

    fn known_others(&self) -> impl Iterator<Item = (&str, &HeldObjects)> {
        self.others().filter_map(|(manager, holdings)| match holdings {
            Holdings::Known(held) => Some((manager, &**held)),
            Holdings::Untold | Holdings::Unreadable => None,
        })
    }

    /// The syncs that may take over what this one deletes.
    fn followers(&self) -> impl Iterator<Item = (&str, &HeldObjects)> {
        let goes = self.in_force.declared.as_ref().is_some_and(|set| set.undeclared == Undeclared::Uninstalled);
        self.known_others().filter(move |_| !goes)
    }

    /// `true` for an object that is released instead of deleted: another sync declares it, or it holds something that stays.
    pub(super) fn is_kept(&self, id: &ObjectId) -> bool {
        self.objects.notes(id).is_some_and(|notes| notes.keep) || self.is_declared_elsewhere(id)
    }

    /// `true` if a RootSync declares the object, to which it goes over.
    pub(super) fn is_declared_elsewhere(&self, id: &ObjectId) -> bool {
        self.followers().any(|(manager, held)| tenant(manager).is_none() && held.declares(id))
    }

    /// `true` if another sync has the object, or is to have it.
    pub(super) fn is_of_another(&self, id: &ObjectId) -> bool {
        self.known_others().any(|(_, held)| held.has(id))
    }

    /// The RepoSyncs that declare an object that is deleted. It goes over to the first of them that may make it: by declaring what it
    /// was given, a tenant would keep it otherwise. With what gives rights it could be allowed to make just that.
    pub(super) fn heirs(&self, id: &ObjectId) -> Vec<SyncId> {
        if gives_rights(id) {
            return Vec::new();
        }
        let declares = |(manager, held): (&str, &HeldObjects)| {
            SyncId::repo_of(manager).filter(|sync| sync.covers(id) && held.declares(id))
        };
        self.followers().filter_map(declares).take(HEIRS).collect()
    }

    /// `true` while deletions wait for what the other syncs have to tell.
    pub(super) fn waits_for_others(&mut self, now: Instant) -> bool {
        // The objects of a RepoSync do not matter for a deletion; one that this sync declares is waited for below.
        let is_untold = |holdings: &Holdings| matches!(holdings, Holdings::Untold);
        if self.has_unknown_sync()
            || self.others().any(|(manager, holdings)| tenant(manager).is_none() && is_untold(holdings))
        {
            return true;
        }
        let source = &self.in_force.source;
        let is_late =
            |held: &HeldObjects| held.is_beside(&source.git) && !held.commit.is_empty() && held.commit != source.commit;
        let are_roots_late = self.known_others().any(|(manager, held)| tenant(manager).is_none() && is_late(held));
        if !are_roots_late && !self.are_own_tenants_late(is_late) {
            return false;
        }
        let since = *self.in_force.waiting_since.get_or_insert(now);
        self.others.wait_until = Some(since + READ_TOO).filter(|until| *until > now);
        self.others.wait_until.is_some()
    }

    /// `true` while a RepoSync that this sync declares, of the repository that this sync follows, has not read the commit. RepoSyncs that
    /// tenants have made delay nothing.
    fn are_own_tenants_late(&self, is_late: impl Fn(&HeldObjects) -> bool) -> bool {
        let Some(syncs) = &self.others.syncs else { return false };
        let is_of_repository = |id: &ObjectId| match self.declared(id) {
            Declared::Object(declared) => {
                let (body, own) = (declared.body(), self.in_force.source.git.repo.as_str());
                let repo = body.0.get("spec").and_then(|spec| spec.pointer("/git/repo"));
                repo.is_some_and(|repo| *repo == *own)
            }
            _ => false,
        };
        self.syncs_made(&sync_kind(SyncKind::RepoSync)).any(|(id, sync)| match syncs.get(&sync.manager()) {
            None | Some(Holdings::Untold) => is_of_repository(id),
            Some(Holdings::Known(held)) => is_late(held) && is_of_repository(id),
            Some(Holdings::Unreadable) => false,
        })
    }

    /// `true` while a RootSync that this sync has made is not among those that are known. What a commit moves to it, it declares a
    /// moment later.
    fn has_unknown_sync(&self) -> bool {
        let Some(syncs) = &self.others.syncs else { return false };
        self.syncs_made(&sync_kind(SyncKind::RootSync)).any(|(_, sync)| !syncs.contains_key(&sync.manager()))
    }

    /// The live syncs of a kind among the objects that this sync declares or has, without those that are being deleted.
    fn syncs_made(&self, kind: &GroupKind) -> impl Iterator<Item = (&ObjectId, SyncId)> {
        let stay = |tracked: &Tracked| tracked.live.as_ref().is_some_and(|live| !live.terminating);
        let made = self.objects.of_kind(kind).filter(move |(_, tracked)| stay(tracked));
        made.filter_map(|(id, _)| Some((id, SyncId::of_object(id)?)))
    }

    /// `true` for a sync that may be gone only after this one: this one is among its objects, or among those of one of them.
    pub(super) fn is_gone_after_this(&self, id: &ObjectId) -> bool {
        let (mut syncs, mut seen): (Vec<SyncId>, _) = (SyncId::of_object(id).into_iter().collect(), BTreeSet::new());
        while let Some(sync) = syncs.pop() {
            if sync == self.settings.sync {
                return true;
            }
            let manager = sync.manager();
            if seen.insert(sync) {
                let of_it = self.known_others().filter(|(other, _)| *other == manager);
                syncs.extend(of_it.flat_map(|(_, held)| held.syncs()));
            }
        }
        false
    }

    /// The failure of the deletion of a Namespace in which another RootSync has objects. RepoSyncs are in the Namespace themselves and
    /// go with it.
    pub(super) fn occupied(&self, id: &ObjectId) -> Option<Failure> {
        if !id.is_namespace() {
            return None;
        }
        let (why, hint) = self.others().filter(|(manager, _)| tenant(manager).is_none()).find_map(|(manager, holdings)| match holdings {
            Holdings::Untold => None,
            Holdings::Unreadable => Some((
                format!("the sync {manager:?} cannot run, and may have objects in it"),
                "mend the other sync, which says in its status why it does not run, or delete it",
            )),
            Holdings::Known(held) => held.object_in(id).map(|object| {
                let hint = "remove the objects from the source of the other sync first, or declare the Namespace there: \
                            it is handed over then";
                (format!("the sync {manager:?} has {object} in it"), hint)
            }),
        })?;
        let finding = Finding::new(Code::Applier, format!("skipped delete of {id}: {why}"))
            .hint(hint)
            .about(Resource::named(id, "v1"));
        Some(Failure { finding, retry: Retry::Soon, refused: false })
    }

    /// The failure of a deletion that takes data or other objects along, of an object that the commit may give to another sync, which refuses
    /// it: that declares the object as soon as its part of the repository is mended. A deletion that a user has approved does not wait for that.
    pub(super) fn not_taken_over(&self, deletion: &(ObjectId, Box<str>)) -> Option<Failure> {
        let goes = self.in_force.declared.as_ref().is_some_and(|set| set.undeclared != Undeclared::Pruned);
        if goes || self.prunes.is_approved(deletion) {
            return None;
        }
        let (id, _) = deletion;
        // All other objects are made anew by the other sync; what is lost with these stays so. One broken directory of a large repository
        // is not to keep everything that others remove.
        if !holders().iter().any(|kind| id.is_of(kind)) {
            return None;
        }
        let may_declare = |manager: &str| {
            let declared = self.object_of_sync(manager).map(|object| self.declared(object));
            match (declared, SyncId::repo_of(manager)) {
                // Its source goes with it.
                (Some(Declared::Absent), _) => false,
                (_, None) => true,
                (Some(Declared::Object(_)), Some(sync)) => sync.covers(id),
                // A tenant has made it.
                (_, Some(_)) => false,
            }
        };
        let source = &self.in_force.source;
        let (manager, held) =
            self.known_others().find(|(manager, held)| held.refuses(source) && may_declare(manager))?;
        let commit = &held.commit;
        let why = format!("the sync {manager:?} may take it over, and refuses commit {commit}");
        let hint = "mend the source of the other sync, whose status says what is wrong there, or delete that sync";
        let finding = Finding::new(Code::Applier, format!("skipped delete of {id}: {why}"))
            .hint(hint)
            .about(Resource::named(id, ""));
        Some(Failure { finding, retry: Retry::Object, refused: false })
    }

    /// The object of another sync, if it is an object of this one.
    fn object_of_sync(&self, manager: &str) -> Option<&ObjectId> {
        let is_it = |id: &&ObjectId| {
            self.objects.is_recorded(id) && SyncId::of_object(id).is_some_and(|sync| sync.manager() == manager)
        };
        self.sync_objects().into_iter().find(is_it)
    }

    /// Syncs came or went, or have other objects: what one left is there for those that declare it, and deletions that were
    /// not possible may be.
    pub(super) fn syncs_changed(&mut self, syncs: Arc<AllSyncs>, now: Instant) {
        let before = self.others.syncs.replace(Arc::clone(&syncs));
        let left: Vec<ObjectId> = if before.is_some_and(|before| before.keys().eq(syncs.keys())) {
            self.objects.marked(Mark::Conflict).cloned().collect()
        } else {
            self.objects.lives().map(|(id, _)| id.clone()).collect()
        };
        self.take_over_left(left, now);
        let left = self.others.shared.iter().flat_map(|shared| &shared.left);
        let released: Vec<ObjectId> = left.filter(|id| self.is_declared_elsewhere(id)).cloned().collect();
        for id in released {
            self.evaluate(&id, now);
        }
        if self.has_handed_over_held() {
            self.judge_again();
        }
        // One of them may have told how many objects go with it.
        let takes_along = |id: &ObjectId| self.objects.live(id).is_some_and(|live| live.takes_along);
        if self.sync_objects().into_iter().any(|id| takes_along(id) && self.action(id) == Action::Delete) {
            self.prunes.found();
        }
        let waits = |id: &ObjectId| {
            let live = self.objects.live(id);
            live.is_some_and(|live| self.not_taken_over(&(id.clone(), live.uid.clone())).is_some())
        };
        let is_unwanted = |id: &ObjectId| self.is_kept(id) || self.occupied(id).is_some() || waits(id);
        if self.objects.deletions_in_flight().any(is_unwanted) {
            self.withdraw_deletions();
        }
        let failed = holders().into_iter().flat_map(|kind| self.objects.of_kind(&kind).collect::<Vec<_>>());
        let failed = failed.filter(|(_, tracked)| matches!(tracked.phase, Phase::BackingOff(_)));
        let failed: Vec<ObjectId> =
            failed.map(|(id, _)| id.clone()).filter(|id| self.action(id) == Action::Delete).collect();
        for id in failed {
            self.objects.set_phase(&id, Phase::Settled);
            self.evaluate(&id, now);
        }
        let going = |id: &&ObjectId| self.objects.live(id).is_some_and(|live| live.terminating);
        let syncs: Vec<ObjectId> = self.sync_objects().into_iter().filter(going).cloned().collect();
        syncs.iter().for_each(|id| self.evaluate(id, now));
    }

    /// The syncs among the objects that the sync knows.
    pub(super) fn sync_objects(&self) -> Vec<&ObjectId> {
        let mut syncs = Vec::new();
        for kind in [SyncKind::RootSync, SyncKind::RepoSync].map(sync_kind) {
            syncs.extend(self.objects.of_kind(&kind).map(|(id, _)| id));
        }
        syncs
    }

    /// `true` for an object with the manager of a sync that is not there any more, or does not have the object.
    pub(super) fn is_ownerless(&self, id: &ObjectId, live: &Live) -> bool {
        matches!(&live.owner, Owner::Other(manager) if !self.others.may_have(manager, id))
    }

    fn take_over_left(&mut self, mut left: Vec<ObjectId>, now: Instant) {
        left.retain(|id| self.objects.live(id).is_some_and(|live| self.is_ownerless(id, live)));
        for id in left {
            self.objects.change(&id, |tracked| {
                if matches!(tracked.phase, Phase::BackingOff(_)) {
                    tracked.phase = Phase::Settled;
                }
            });
            self.look_again(&id, now);
        }
    }

    /// Tells the other syncs which objects are this one's, when that has changed since.
    pub(super) fn share(&mut self) {
        let is_read = !self.source.commit.is_empty() || !self.source.findings.is_empty();
        if self.others.syncs.is_none() || !is_read || self.restoring == Restoring::Asked {
            return;
        }
        let held = self.held.as_ref().and_then(|held| held.candidate.as_ref());
        let next = self.candidate.iter().chain(held);
        let declared = self.in_force.declared.iter().chain(next.clone().map(Candidate::declared));
        // Each step comes here: nothing is copied while nothing is new.
        let is_new = self.others.shared.as_ref().is_none_or(|shared| {
            (&shared.commit, &shared.git) != (&self.source.commit, &self.source.git)
                || !shared.declared.iter().map(Arc::as_ptr).eq(declared.clone().map(Arc::as_ptr))
        });
        if !is_new && !self.others.is_more && (!self.others.is_stale || !self.is_idle()) {
            return;
        }
        let declared: Vec<Arc<DeclaredSet>> = declared.cloned().collect();
        let sources = std::iter::once(&self.in_force.source).chain(next.map(Candidate::source));
        let sources = sources.filter(|source| source.git == self.source.git);
        let commits = sources.map(|source| source.commit.clone()).collect();
        (self.others.is_stale, self.others.is_more) = (false, false);
        let is_left = |id: &&ObjectId| !declared.iter().any(|set| set.objects.contains_key(*id));
        let left = self.there().filter(is_left).cloned().collect();
        let (git, commit) = (Arc::clone(&self.source.git), self.source.commit.clone());
        let held = Arc::new(HeldObjects { git, commit, declared, commits, left });
        self.others.shared = Some(Arc::clone(&held));
        self.commands.push(Command::Share(held));
    }
}

/// The kinds of objects whose deletion takes data or other objects along.
fn holders() -> [GroupKind; 3] {
    let definitions = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
    [GroupKind::new("", "Namespace"), definitions, claims()]
}

fn sync_kind(kind: SyncKind) -> GroupKind {
    GroupKind::new("configsync.gke.io", &kind.to_string())
}

#[cfg(test)]
mod tests;
