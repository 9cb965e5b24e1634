//! Objects that go over to a RepoSync: to one that declares what this sync is about to delete, if it may make the object itself.
//!
//! A tenant can declare a Role that it was given, and would keep it by that. So the API server is asked first, as the account of the
//! RepoSync, with a dry run of making the object as it is. If it refuses, the object is deleted as any other.

use std::time::Instant;

use crate::model::metadata::SyncId;
use crate::model::object::ObjectId;
use crate::sync::plan::guard::Deletions;

use super::{Command, State};

/// A RepoSync that declares an object, and whether it may make that; `None` before the answer.
pub(super) struct Heir {
    sync: SyncId,
    may: Option<bool>,
}

impl Heir {
    pub(super) fn is_unanswered(&self) -> bool {
        self.may.is_none()
    }
}

impl State {
    /// The RepoSync that declares an object of this sync.
    fn heir(&self, id: &ObjectId) -> Option<SyncId> {
        self.tenants().find(|(sync, held)| sync.covers(id) && held.declares(id)).map(|(sync, _)| sync)
    }

    /// `true` if the object goes over to a RepoSync.
    pub(super) fn has_heir(&self, id: &ObjectId) -> bool {
        self.prunes
            .heirs
            .get(id)
            .is_some_and(|heir| heir.may == Some(true) && self.heir(id).as_ref() == Some(&heir.sync))
    }

    /// `true` if a RepoSync declares the object of which the API server has not said whether it may make it.
    pub(super) fn may_have_heir(&self, id: &ObjectId) -> bool {
        let known = |heir: &SyncId| self.prunes.heirs.get(id).is_some_and(|it| it.sync == *heir && it.may.is_some());
        self.heir(id).is_some_and(|heir| !known(&heir))
    }

    /// Asks for the RepoSyncs that declare one of these objects. Returns `true` while answers are missing.
    pub(super) fn ask_for_heirs(&mut self, deletions: &Deletions) -> bool {
        let mut is_asking = false;
        for (id, _) in deletions {
            let Some(sync) = self.heir(id) else { continue };
            match self.prunes.heirs.get(id).filter(|heir| heir.sync == sync) {
                Some(heir) => is_asking |= heir.may.is_none(),
                None => {
                    self.prunes.heirs.insert(id.clone(), Heir { sync: sync.clone(), may: None });
                    self.commands.push(Command::AskHeir(id.clone(), sync));
                    is_asking = true;
                }
            }
        }
        is_asking
    }

    /// The API server has said whether a RepoSync may make the object.
    pub(super) fn heir_answered(&mut self, id: &ObjectId, sync: &SyncId, may: bool, now: Instant) {
        if let Some(heir) = self.prunes.heirs.get_mut(id).filter(|heir| heir.sync == *sync) {
            heir.may = Some(may);
            self.prunes.found();
            self.evaluate(id, now);
        }
    }
}
